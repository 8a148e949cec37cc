"""A port that the installer has no right to: the kernel says no, to the command as a process of its own."""

import ctypes
import os
import pty
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image_parts import real_image
from tests.registry_parts import bongsu, bongsu_process, on_this_engine

UNIT = "hannae/a-07"
END_S = 60.0
_SOMEBODY = 65534
_PR_CAPBSET_DROP = 24
# By these root passes over the rights of files.
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


def _as_the_rest_of_us() -> None:
    """Tests may run as root; what this process starts then has no more rights to files than anybody."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            if libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


@pytest.fixture
def port() -> Iterator[str]:
    """Somebody else's."""
    ours, theirs = pty.openpty()
    try:
        name = os.ttyname(theirs)
        if os.geteuid() == 0:
            os.chown(name, _SOMEBODY, -1)
        os.chmod(name, 0o600 if os.geteuid() == 0 else 0)
        yield name
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A market with one shop and no node."""
    folder = tmp_path / "data"
    assert bongsu("init", "--data", folder, *on_this_engine(folder)).code == 0
    assert bongsu("site", "add", "hannae", "--name", "한내시장", "--data", folder).code == 0
    assert bongsu("unit", "add", UNIT, "--name", "가게", "--data", folder).code == 0
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("flash", "--board", "esp32-devkitc"),
        ("provision", "--board", "esp32-devkitc", "--unit", UNIT, "--wifi", "market", "--broker-ip", "192.0.2.10"),
        ("commission", "--board", "esp32-devkitc", "--unit", UNIT, "--wifi", "market", "--broker-ip", "192.0.2.10"),
        ("logs",),
    ],
    ids=lambda words: str(words[0]),
)
def test_a_port_that_may_not_be_opened_changes_nothing_and_says_what_to_run(
    data: Path, port: str, words: tuple[str, ...]
) -> None:
    more = ("--image", real_image()) if words[0] in ("flash", "commission") else ()
    with bongsu_process(
        "--data", data, "device", *words, "--port", port, *more, preexec_fn=_as_the_rest_of_us
    ) as process:
        out, err = process.communicate(timeout=END_S)
    assert process.returncode == 1, out + err
    assert (
        f"{port}: no permission to open it" in err
        and f"next: Make it yours until it is plugged in anew: sudo chown $USER {port}" in err
    )
    assert "Traceback" not in out + err
    assert bongsu("node", "list", "--data", data, "--json").out.strip() == "[]"
