"""Files onto a board: hashes, what goes over the line, a flash that is full, power that fails in any write."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bongsu.install import application
from bongsu.install.application import LIB, File
from bongsu.install.link import LinkError
from bongsu.install.transfer import NEW, OLD, Files, FlashFull
from tests.board_bench import Bench, PowerCut, formatted

_TEXT = b"".join(b"line %d of a file\n" % i for i in range(2000))


def _lib(**contents: bytes) -> tuple[File, ...]:
    return tuple(File.of(f"{LIB}/{name.replace('__', '/')}", content) for name, content in contents.items())


OLD_LIB = _lib(same=b"same" * 300, pkg__changed=b"old", pkg__gone=b"x", pkg__deep__gone=b"y")
NEW_LIB = _lib(same=b"same" * 300, pkg__changed=b"new", pkg__added=_TEXT, other__empty=b"")


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A board that has the old /lib."""
    formatted(tmp_path / "board", blocks=64)
    with Bench(tmp_path / "board") as bench:
        _replace(bench, OLD_LIB)
    return tmp_path / "board"


def _replace(bench: Bench, lib: tuple[File, ...], unpacks: bool = True) -> list[int]:
    files = Files(bench, unpacks=unpacks)
    files.tidy()
    done: list[int] = []
    plan = application.plan(lib, files.hashes(LIB))
    files.need_room(plan)
    files.replace_lib(plan, done.append)
    return done


def _is(bench: Bench, lib: tuple[File, ...]) -> bool:
    return Files(bench, unpacks=True).hashes(LIB) == {file.path: file.sha256 for file in lib}


@pytest.mark.parametrize("unpacks", [True, False])
@pytest.mark.parametrize("plain", [True, False])
def test_a_folder_becomes_another(board: Path, unpacks: bool, plain: bool) -> None:
    """Whatever the board lacks; and nothing is left beside it."""
    with Bench(board, plain=plain) as bench:
        done = _replace(bench, NEW_LIB, unpacks)
        assert _is(bench, NEW_LIB)
        assert done == sorted(done) and done[-1] == sum(len(f.content) for f in NEW_LIB if f.path != f"{LIB}/same")
        assert Files(bench, unpacks=True).hashes(NEW) == Files(bench, unpacks=True).hashes(OLD) == {}


def test_what_is_there_does_not_go_over_the_line(board: Path) -> None:
    with Bench(board) as bench:
        _replace(bench, NEW_LIB)
        sent = len("".join(bench.ran))
        assert application.plan(NEW_LIB, Files(bench, unpacks=True).hashes(LIB)).is_done
    with Bench(board) as bench:
        _replace(bench, (*NEW_LIB[:3], File.of(f"{LIB}/other/empty", b"!")))
        assert len("".join(bench.ran)) < sent - 1000  # the long file stayed


def test_a_full_flash_leaves_the_old_folder(tmp_path: Path) -> None:
    """Found before anything is written; and if it is only found in writing, what was written is taken away."""
    formatted(tmp_path / "board", blocks=48)
    noise = bytes(i * i * 7919 >> 8 & 0xFF for i in range(40 * 4096))  # does not pack
    with Bench(tmp_path / "board") as bench:
        _replace(bench, OLD_LIB)
        with pytest.raises(FlashFull, match="KB are free, and .* are needed"):
            _replace(bench, _lib(big=noise))
        files = Files(bench, unpacks=True)
        plan = application.plan(_lib(big=noise), files.hashes(LIB))
        with pytest.raises(FlashFull, match="what was on it is as before") as full:
            files.replace_lib(plan, lambda size: None)
        assert full.value.next_step
        with pytest.raises(FlashFull):
            files.put(File.of("/node.json", noise))
        assert _is(bench, OLD_LIB) and files.hashes(NEW, ["/node.json", "/node.json.new"]) == {}
        _replace(bench, NEW_LIB)  # there is room again
        assert _is(bench, NEW_LIB)


def test_what_arrives_is_looked_at(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte that was changed on its way is found before anything takes another's place."""
    real = Files._packed
    monkeypatch.setattr(Files, "_packed", lambda self, data: real(self, data[:-1] + b"?"))
    with Bench(board) as bench:
        with pytest.raises(LinkError, match="/lib.new/.* did not arrive whole"):
            _replace(bench, NEW_LIB)
        with pytest.raises(LinkError, match="main.py.new did not arrive whole"):
            Files(bench, unpacks=True).put(File.of("/main.py", b"pass"))
        assert _is(bench, OLD_LIB) and Files(bench, unpacks=True).hashes(NEW, ["/main.py", "/main.py.new"]) == {}


def _cuts(board: Path, tmp_path: Path, do: Callable[[Bench], object]) -> Iterator[Path]:
    """Copies of the board, in each of which the power failed in another write of `do`; those of its end all."""
    with Bench(shutil.copytree(board, tmp_path / "whole")) as bench:
        before = bench.writes()
        do(bench)
        last = bench.writes() - before
    for write in [*range(1, last - 20, 17), *range(max(1, last - 20), last + 1)]:
        copy = shutil.copytree(board, tmp_path / "cut", dirs_exist_ok=True)
        with Bench(copy, cut_after=write) as bench, pytest.raises(PowerCut):
            do(bench)
        yield copy


def test_power_may_fail_in_any_write(board: Path, tmp_path: Path) -> None:
    """The board has the old folder or the new one, whole; and the next run makes it the new one."""
    found = []
    for copy in _cuts(board, tmp_path, lambda bench: _replace(bench, NEW_LIB)):
        with Bench(copy) as bench:
            Files(bench, unpacks=True).tidy()
            found.append(_is(bench, NEW_LIB))
            assert found[-1] or _is(bench, OLD_LIB)
            _replace(bench, NEW_LIB)
            assert _is(bench, NEW_LIB)
    assert len(found) > 20 and found == sorted(found) and set(found) == {True, False}


def test_a_file_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    board = formatted(tmp_path / "board", blocks=64)
    old, new = File.of("/main.py", b"old" * 2000), File.of("/main.py", b"new" * 3000)
    with Bench(board) as bench:
        Files(bench, unpacks=True).put(old)
    found = []
    for copy in _cuts(board, tmp_path, lambda bench: Files(bench, unpacks=True).put(new)):
        with Bench(copy) as bench:
            found.append(Files(bench, unpacks=True).hashes(files=["/main.py"])["/main.py"])
    assert len(found) > 5 and set(found) <= {old.sha256, new.sha256}
