"""`make demo` and `make test` look at the machine first: a missing piece is named with the line that mends it."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = "sudo apt-get install -y git make python3-venv"


def _program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder that stands in for PATH, with all that the check needs on a good machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "cut", "git", "make", "uname", "getconf"):
        (folder / name).symlink_to(shutil.which(name) or "/bin/false")
    (folder / "python3").symlink_to(sys.executable)
    return folder


def _check(tools: Path, python: str = "python3") -> subprocess.CompletedProcess[str]:
    script = [str(tools / "sh"), str(ROOT / "tools" / "check_machine.sh"), python]
    return subprocess.run(script, env={"PATH": str(tools)}, capture_output=True, text=True, timeout=30, check=False)


def test_a_good_machine_passes_in_silence(tools: Path) -> None:
    done = _check(tools)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("missing", ["git", "python3"])
def test_a_missing_program(tools: Path, missing: str) -> None:
    (tools / missing).unlink()
    done = _check(tools)
    assert done.returncode == 2
    assert missing in done.stderr
    assert done.stderr.splitlines()[-1] == DEBIAN


def test_venv_without_ensurepip(tools: Path) -> None:
    (tools / "python3").unlink()
    _program(tools, "python3", 'case "$2" in *ensurepip*) exit 1;; *) echo 3.11;; esac')
    done = _check(tools)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, DEBIAN)
    assert "venv" in done.stderr


@pytest.mark.parametrize("version", ["3.10", "3.15", "2.7"])
def test_another_python(tools: Path, version: str) -> None:
    _program(tools, "python9", f"echo {version}")
    done = _check(tools, "python9")
    assert done.returncode == 2
    assert f"python9 is {version}" in done.stderr
    assert "PYTHON=" in done.stderr


@pytest.mark.parametrize(("flag", "answer"), [("-s", "Darwin"), ("-m", "aarch64")])
def test_another_platform(tools: Path, flag: str, answer: str) -> None:
    real = os.path.realpath(tools / "uname")
    (tools / "uname").unlink()
    _program(tools, "uname", f'[ "$1" = {flag} ] && echo {answer} || {real} "$1"')
    done = _check(tools)
    assert done.returncode == 2
    assert answer in done.stderr


@pytest.mark.parametrize(("answer", "code"), [("glibc 2.27", 2), ("glibc 2.28", 0), ("glibc 2.41", 0), ("", 2)])
def test_the_c_library(tools: Path, answer: str, code: int) -> None:
    (tools / "getconf").unlink()
    _program(tools, "getconf", f"echo {answer}")
    assert _check(tools).returncode == code


def test_make_stops_with_that_line_before_it_makes_anything(tools: Path, tmp_path: Path) -> None:
    copy = tmp_path / "a checkout"
    (copy / "tools").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "tools/check_machine.sh"):
        shutil.copy(ROOT / name, copy / name)
    (tools / "git").unlink()
    done = subprocess.run(
        [str(tools / "make"), "demo"],
        cwd=copy,
        env={"PATH": str(tools), "SHELL": str(tools / "sh")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert DEBIAN in done.stderr
    assert not (copy / ".venv").exists()
