"""Private files of the data folder: whole, readable by their owner alone, also if two write at once."""

import stat
import threading
from pathlib import Path

import pytest

from bongsu.receiver import broker_files


def test_many_at_once_write_whole_files_and_leave_nothing(tmp_path: Path) -> None:
    """As commands beside a running receiver do with the audit's head."""
    path = tmp_path / "audit.head"
    texts = [f"{number}\n" * 2000 for number in range(8)]
    failed: list[BaseException] = []

    def write(text: str) -> None:
        try:
            for _ in range(20):
                broker_files.write_private(path, text)
        except BaseException as err:
            failed.append(err)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert path.read_text() in texts
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in tmp_path.iterdir()] == ["audit.head"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.head"
    broker_files.write_private(path, "1\n")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broker_files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        broker_files.write_private(path, "2\n")
    assert path.read_text() == "1\n"
    assert [found.name for found in tmp_path.iterdir()] == ["audit.head"]
