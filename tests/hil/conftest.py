"""The board under test: behind --port, or else the virtual board, blank at first."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.hil.bench import Bench, Options
from tests.hil.rig import virtual_bench


@pytest.fixture(autouse=True)
def no_process_left_behind() -> None:
    """In place of the check of tests/conftest.py: the receiver is killed and started again, and outlives the test that
    did so. The bench ends it.
    """


@pytest.fixture(scope="session")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The bench, in state off; a test asks for what it needs: bench.to("flashed")."""
    option = request.config.getoption
    folder = tmp_path_factory.mktemp("hil")
    port = option("--port")
    with ExitStack() as stack:
        if port is None:
            made = stack.enter_context(virtual_bench(folder, option("--board")))
        else:
            sensors = tuple(option("--hil-sensor")) or Options.sensors
            made = Bench(
                Options(
                    port,
                    option("--board"),
                    wifi=option("--hil-wifi"),
                    host=option("--hil-host"),
                    bind=option("--hil-bind"),
                    flash=option("--hil-flash"),
                    image=option("--hil-image"),
                    sensors=sensors,
                ),
                folder,
            )
        stack.callback(made.close)
        yield made
