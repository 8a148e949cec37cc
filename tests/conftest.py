"""What holds for every test: it leaves no process behind (deadline and warnings are set in pyproject.toml).

A process that lasts longer than one test (an interpreter or broker shared by a module) belongs to a fixture of that
scope: pytest sets those up before the check below takes its first look.
"""

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import postgres_parts, sensor_play

# How long a process that has been told to end may take, before it counts as left behind.
ENDING_S = 5.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """The store's engine."""
    parser.addoption(
        "--engine",
        choices=("sqlite", "postgresql"),
        default="sqlite",
        help="Engine of every store that tests make; with postgresql only the tests that make one are run.",
    )
    hil = parser.getgroup("hil", "hardware in the loop: tests/hil on the board behind a port")
    hil.addoption("--hil", action="store_true", help="Run tests/hil only.")
    hil.addoption("--port", metavar="URL", help="The board's port, any pyserial URL (default: a virtual board).")
    hil.addoption("--board", default="esp32-devkitc", metavar="B", help="What it is (bongsu board list).")
    hil.addoption("--hil-wifi", metavar="SSID[=FILE]", help="Its Wi-Fi (default: the strongest open network).")
    hil.addoption("--hil-host", metavar="IP", help="This machine as the board sees it (default: found by trying).")
    hil.addoption("--hil-bind", default="127.0.0.1", metavar="IP", help="Where the receiver for it listens.")
    hil.addoption("--hil-flash", action="store_true", help="Flash it also if it runs MicroPython already.")
    hil.addoption("--hil-image", type=Path, metavar="FILE", help="The image to flash (default: the board's own).")
    hil.addoption("--hil-sensor", action="append", default=[], metavar="TYPE[,..]", help="One on it (default: lm75).")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --hil: nothing but tests/hil."""
    here = Path(__file__).parent
    outside = here in collection_path.parents and here / "hil" not in (collection_path, *collection_path.parents)
    return True if config.getoption("--hil") and outside else None


def _require_board(name: str) -> None:
    """Say once that there is no such board, and not in every test."""
    from bongsu.errors import BongsuError
    from bongsu.install.boards import load_board

    try:
        load_board(name)
    except BongsuError as err:
        raise pytest.UsageError(f"--board: {err.message}. {err.next_step}") from None


def pytest_configure(config: pytest.Config) -> None:
    """Tell the helpers; and children may be interrupted, also where a shell put the tests into the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--port") and not config.getoption("--hil"):
        raise pytest.UsageError("--port is the board's of the tests in tests/hil: say --hil as well")
    if config.getoption("--hil"):
        _require_board(config.getoption("--board"))
    postgres_parts.choose(config.getoption("--engine"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On PostgreSQL: only tests that touch a store, and none that is about SQLite itself."""
    if not postgres_parts.on_postgresql():
        return
    kept = [item for item in items if _touches_store(item) and item.get_closest_marker("sqlite") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


def _touches_store(item: Any) -> bool:
    source = item.path.read_text(encoding="utf-8")
    return any(name in source for name in ("receiver_parts", "registry_parts", "postgres_parts"))


@pytest.fixture(scope="session", autouse=True)
def _own_folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Images and bytecode are kept for the session, and the user's cache, pins and locks stay as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        if not request.config.getoption("--port"):  # a real port may be in use by a command outside
            patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("locks")))
        yield


@pytest.fixture(scope="module")
def sensor_players() -> Iterator[None]:
    """Both interpreters for sensor_play.play()."""
    with sensor_play.both():
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_parts.Server]:
    """The PostgreSQL server of this process."""
    with postgres_parts.serving() as server:
        yield server


@pytest.fixture(autouse=True, scope="session")
def _engine(request: pytest.FixtureRequest) -> None:
    """On PostgreSQL the server runs before the first test."""
    if postgres_parts.on_postgresql():
        request.getfixturevalue("postgres")


@pytest.fixture(autouse=True)
def _own_databases() -> Iterator[None]:
    """What databases a test made go with it."""
    server = postgres_parts.running()
    before = server.made() if server is not None else frozenset()
    yield
    server = postgres_parts.running()
    if server is not None:
        server.drop_all(before)


def _children() -> set[psutil.Process]:
    return {p for p in psutil.Process().children(recursive=True) if _counts(p)}


def _counts(process: psutil.Process) -> bool:
    """The database server belongs to the session, and its processes come and go as it likes."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.name() != "postgres"
    except psutil.NoSuchProcess:
        return False


def _is_of(process: psutil.Process, others: set[psutil.Process]) -> bool:
    """Whether one of the others started it, as a browser that lasts longer than the test starts helpers."""
    try:
        return bool(set(process.parents()) & others)
    except psutil.Error:
        return False


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid}: {' '.join(process.cmdline())}"
    except psutil.Error:
        return f"{process.pid}: gone by now"


@pytest.fixture(autouse=True)
def no_process_left_behind() -> Iterator[None]:
    """Fail the test if a process that it started still runs when it is over; end that process, so that only this test
    fails."""
    before = _children()
    yield
    new = {p for p in _children() - before if not _is_of(p, before)}
    _, left = psutil.wait_procs(new, timeout=ENDING_S)
    if not left:
        return
    names = [_describe(p) for p in left]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=ENDING_S)
    pytest.fail("left running: " + "; ".join(names))
