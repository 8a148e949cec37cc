"""State flashed: the chip, its image, and what is wired to it, before anything of ours is on it."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from bongsu.install.link import BoardLink
from tests.hil.bench import Bench

# One board, one process; a chip takes minutes to be erased and written.
pytestmark = [pytest.mark.xdist_group("hil"), pytest.mark.timeout(900)]

LM75_ADDRESS = 0x48

# AES as CCM is built of: of what every stock image has, CBC for the tag and ECB for the key stream.
_CRYPTO = """
import json
from binascii import hexlify
from cryptolib import aes
key, block = bytes(range(16)), bytes(range(32))
texts = aes(key, 1).encrypt(block), aes(key, 2, bytes(16)).encrypt(block)
print(json.dumps([hexlify(text).decode() for text in texts]))
"""
_MODULES = """
import json
missing = []
for name in 'asyncio cryptolib esp32 hashlib json machine micropython network socket ssl struct vfs'.split():
    try:
        __import__(name)
    except ImportError:
        missing.append(name)
print(json.dumps(missing))
"""
_I2C = """
import json, machine
bus = machine.I2C(0, scl=machine.Pin({scl}), sda=machine.Pin({sda}), freq=100000)
print(json.dumps([bus.scan(), list(bus.readfrom_mem({address}, 0, 2)) if {address} in bus.scan() else []]))
"""
_FILE = """
import json, os
with open('/hil.tmp', 'wb') as f:
    f.write(bytes(range(256)) * 8)
os.rename('/hil.tmp', '/hil.txt')
with open('/hil.txt', 'rb') as f:
    same = f.read() == bytes(range(256)) * 8
os.remove('/hil.txt')
print(json.dumps(same))
"""
_NVS_WRITE = """
import esp32
n = esp32.NVS('hil')
n.set_blob('b', b'kept over a reset')
n.commit()
"""
_NVS_READ = """
import esp32, json
n = esp32.NVS('hil')
b = bytearray(32)
size = n.get_blob('b', b)
n.erase_key('b')
n.commit()
print(json.dumps(bytes(b[:size]).decode()))
"""
_TICKS = """
import json, time
a = time.ticks_ms()
time.sleep_ms(300)
print(json.dumps([time.ticks_diff(time.ticks_ms(), a), time.ticks_add(0, -1)]))
"""


@pytest.fixture
def link(bench: Bench) -> Any:
    with bench.to("flashed").link() as made:
        yield made


def test_flashing_says_what_was_written_and_verified(bench: Bench) -> None:
    """The image is the board's; what stands on the chip was read back."""
    bench.to("flashed")
    if bench.flashed is None:
        pytest.skip("the board runs MicroPython already, so it was not flashed: --hil-flash does it anew")
    assert len(bench.flashed["sha256"]) == 64
    assert len(bench.flashed["mac"]) == 12


def test_the_chip_is_the_boards(bench: Bench, link: BoardLink) -> None:
    """What answers is MicroPython on this board's chip, with a MAC to be the node's id (zeros: no eFuse was burnt)."""
    facts = link.facts()
    assert facts.platform == "esp32"
    assert bench.board.chip.name.replace("esp32", "") in facts.machine.lower().replace("-", "")
    assert len(bytes.fromhex(facts.mac)) == 6


def test_every_module_that_a_node_needs_is_in_the_image(link: BoardLink) -> None:
    assert link.value(_MODULES) == []


def test_aes_is_aes(link: BoardLink) -> None:
    key, block = bytes(range(16)), bytes(range(32))
    expected = [
        Cipher(algorithms.AES(key), mode).encryptor().update(block).hex()
        for mode in (modes.ECB(), modes.CBC(bytes(16)))
    ]
    assert link.value(_CRYPTO) == expected


def test_the_thermometer_answers(bench: Bench, link: BoardLink) -> None:
    if not any(text.split(",")[0] == "lm75" for text in bench.options.sensors):
        pytest.skip("no LM75 is fitted (--hil-sensor)")
    pins = bench.board.pins
    code = _I2C.format(scl=pins["i2c_scl"], sda=pins["i2c_sda"], address=LM75_ADDRESS)
    found, raw = link.value(code)
    assert LM75_ADDRESS in found, f"at the pins of {bench.board.name} answer {found}, not 0x48"
    temp_c = int.from_bytes(bytes(raw), "big", signed=True) / 256
    assert -55 <= temp_c <= 125


def test_files_are_kept(link: BoardLink) -> None:
    assert link.value(_FILE) is True


def test_values_in_nvs_outlive_a_reset(bench: Bench) -> None:
    bench.to("flashed")
    with bench.link() as link:
        link.run(_NVS_WRITE)
        link.restart()
        link.service()
        assert link.value(_NVS_READ) == "kept over a reset"


def test_ticks_count_milliseconds_and_wrap(link: BoardLink) -> None:
    """30 bits, as DESIGN section 6 has it; a chip sleeps as long as it was told."""
    slept, before_zero = link.value(_TICKS)
    assert 290 <= slept <= 3000
    assert before_zero == 2**30 - 1


def test_secrets_are_not_echoed(link: BoardLink) -> None:
    """The line shows what code prints, and not the code: so a key can be written over it."""
    assert json.loads(link.run("secret = 'not to be seen'\nprint('1')", secret=True)) == 1
