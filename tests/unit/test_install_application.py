"""The application: the same on every machine, kept once it is compiled, and refused where it does not fit."""

from pathlib import Path

import pytest

from bongsu.install import application, bytecode
from bongsu.install.application import Application, ApplicationError, File
from bongsu.install.compiled import cache_folder, compiled
from bongsu.resources import resources

FILES = tuple(File.of(f"/lib/{name}", name.encode()) for name in ("a", "b", "c"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return cache_folder()


@pytest.fixture(scope="module")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A firmware that compiles in no time."""
    folder = tmp_path_factory.mktemp("firmware")
    for name in ("bongsu_wire", "bongsu_node"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"WHO = {name!r}\n")
    (folder / "boot.py").write_text("print('boot')\n")
    (folder / "main.py").write_text("import bongsu_node\n")
    return folder


def test_a_plan_says_what_goes_and_what_stays() -> None:
    on_board = {"/lib/a": FILES[0].sha256, "/lib/b": "0" * 64, "/lib/z": "1" * 64}
    plan = application.plan(FILES, on_board)
    assert (plan.copy, plan.keep, plan.remove) == (FILES[1:], FILES[:1], ("/lib/z",))
    assert plan.size == 2 and not plan.is_done
    assert application.plan(FILES, {file.path: file.sha256 for file in FILES}).is_done


def test_the_application_is_whole_and_small() -> None:
    """Under 250 KB, with boot.py and main.py, and its hash is of all of it."""
    made = application.application()
    paths = [file.path for file in made.files]
    assert paths[0] == "/boot.py" and paths[-1] == "/main.py" and len(set(paths)) == len(paths)
    assert {"/lib/bongsu_node/app.mpy", "/lib/bongsu_wire/__init__.mpy"} <= set(paths)
    assert 40_000 < sum(len(file.content) for file in made.files) < 250_000
    assert made.boot.content == (resources().firmware / "boot.py").read_bytes()
    assert "content" not in repr(made.boot)


def test_compiling_is_done_once(cache: Path, firmware: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until anything that it is made of changes; a file in the cache that is not whole is made anew."""
    first = compiled(firmware)
    assert "bongsu_node/__init__.mpy" in first
    (kept,) = cache.iterdir()
    made: list[Path] = []
    real = bytecode.compile_packages
    monkeypatch.setattr(bytecode, "compile_packages", lambda f, out: made.append(out) or real(f, out))  # type: ignore[func-returns-value]
    assert compiled(firmware) == first and not made
    kept.write_bytes(kept.read_bytes()[:-40])
    assert compiled(firmware) == first and len(made) == 1
    (firmware / "main.py").write_text("import bongsu_wire\n")
    assert compiled(firmware) and len(made) == 2 and len(list(cache.iterdir())) == 1


def test_without_a_cache_it_is_compiled_each_time(
    tmp_path: Path, firmware: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert compiled(firmware) == compiled(firmware)


@pytest.mark.parametrize(("mpy", "says"), [(5 | 3 << 8, "bytecode of version 5"), (0, "runs no bytecode")])
def test_bytecode_that_does_not_fit_is_refused(mpy: int, says: str) -> None:
    made = Application((), FILES[0], FILES[0], "", 6)
    with pytest.raises(ApplicationError, match=says) as refused:
        application.require_fit(made, mpy, "1.18.0")
    assert "device flash" in refused.value.next_step
    application.require_fit(made, 6 | 3 << 8 | 10 << 10, "1.25.0")  # the chip's native code does not matter
