"""Size and heap of every firmware module, measured: mpy-cross, then imported one by one under MicroPython.

    python tools/size_report.py [--markdown] [--budget-kb 100]

flash: bytes of the .mpy file, compiled as it goes onto a board. heap: bytes that stay allocated after the import and a
collection, the modules that it imports being there already; the last row is what the running application holds beyond
its modules, on the virtual board, with an alarm raised and sent over a TLS session that stands (whose own memory is
ESP-IDF's on an ESP32, and not counted). The interpreter here has words of 64 bits, an
ESP32's are 32: everything that is not bytecode or text takes half there, so the estimate is bytecode + (heap -
bytecode) / 2 (MicroPython's 32-bit build for WebAssembly agreed within 1 %). No figure is from an ESP32. Exits 1 if the
estimate for the whole application is over the budget.

Modules are those of a board, into which others are linked (bongsu.install.linking): those are listed at the end.
A module that the application gives back after its start counts with what it leaves behind (its names). Drivers of
sensors that the default settings do not name are listed apart. The run proves both: it fails if such a module is there.
"""

import argparse
import ast
import contextlib
import datetime as dt
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bongsu.install import bytecode, linking
from bongsu.install.boards import load_board
from bongsu.install.bundle import Bundle
from bongsu.receiver import certificates
from bongsu.resources import resources
from bongsu.sim import micropython
from bongsu.sim.board import VirtualBoard

# Modules of the chip that the unix port lacks: they take no heap on an ESP32 (they are in its flash).
CHIP = ("machine", "network", "esp32")

# Modules of MicroPython itself that firmware may import; written in Python or C, they take some heap.
FROZEN = ("asyncio", "binascii", "cryptolib", "errno", "gc", "json", "os", "select", "socket", "ssl", "struct", "time")

# Loaded for the start only, and given back (bongsu_node.app).
GIVEN_BACK = (
    "bongsu_node.start",
    "bongsu_node.rotation",
    "bongsu_node.sensing.entry",
    "bongsu_node.sensing.limits",
    "bongsu_node.sensing.tuning",
)
# MicroPython keeps names in tables that double, from 20 (py/qstr.c): this many fill the first five.
NAMES_MOST = 620
# Under bongsu_node.sensing, every module that is not named here is the driver of a sensor; nodes load those that their
# settings name.
SENSING = "bongsu_node.sensing"
SENSING_CORE = ("entry", "limits", "tuning")
DEFAULT_DRIVERS = ("lm75", "smoke_head", "adc", "i2c_sensor")  # and what they share with others

# Imports each name of argv[1:], in this order, and prints {name: bytes}.
MEASURE = """
import gc, json, micropython, sys
class Chip:
    def __getattr__(self, name):
        return Chip()
    def __call__(self, *args, **kw):
        return Chip()
for name in %(chip)r:
    sys.modules[name] = Chip()
def allocated():
    gc.collect()
    gc.collect()
    return gc.mem_alloc()
heap = {}
for name in sys.argv[1:]:
    heap[name] = 0  # so that the table itself does not grow while it measures
for name in sys.argv[1:]:
    before = allocated()
    __import__(name)
    for given_back in %(given_back)r:
        if given_back in sys.modules:
            del sys.modules[given_back]
            package, _, module = given_back.rpartition(".")
            delattr(sys.modules[package], module)
    heap[name] = allocated() - before
micropython.qstr_info()
print(json.dumps(heap))
"""


# Replaces main.py: imports all that the application imports sooner or later, runs it, and looks at the heap after
# RUN_S.
RUN_S = 30
RUNNING = """
import gc, sys
import binascii, cryptolib, errno, esp32, json, machine, network, os, select, socket, ssl, struct, time
import asyncio
%(imports)s
for given_back in %(given_back)r:
    if given_back in sys.modules:
        del sys.modules[given_back]
        package, _, module = given_back.rpartition(".")
        delattr(sys.modules[package], module)
def held():
    gc.collect()
    gc.collect()
    return gc.mem_alloc()
modules = held()
async def look():
    await asyncio.sleep(%(run_s)d)
    running = held()
    wrong = [name for name in %(absent)r if name in sys.modules]
    print("0 I heap modules=%%d running=%%d wrong=%%s" %% (modules, running, ",".join(wrong)))
async def both():
    asyncio.create_task(look())
    await app.Node().run()
from bongsu_node import app
asyncio.run(both())
"""
NODE = "020000000001"


@dataclass(frozen=True)
class Row:
    """One module: bytes of .mpy, bytes of heap here, and the ESP32 estimate of the latter. counts: in the total."""

    name: str
    flash: int
    heap: int
    counts: bool = True

    @property
    def esp32(self) -> int:
        """Estimated heap in bytes with words of 32 bits."""
        text = min(self.flash, self.heap)
        return text + (self.heap - text) // 2


def imports(text: str) -> Iterator[str]:
    """Dotted names that a module imports when it is loaded (not those inside functions)."""
    for node in _top_level(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _top_level(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _top_level(child)


def in_import_order(modules: dict[str, str]) -> list[str]:
    """Names of the sources `modules`, so that each comes after all that it imports, and after its package."""
    order: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in order or name in above or name not in modules:
            return
        parents = [name.rsplit(".", i)[0] for i in range(name.count("."), 0, -1)]
        for other in [*parents, *imports(modules[name])]:
            visit(other, (*above, name))
        order.append(name)

    for name in sorted(modules):
        visit(name, ())
    return order


def compile_all(firmware: Path, out: Path) -> dict[str, int]:
    """Compile every module of the packages, and main.py and boot.py, into `out`; bytes of .mpy by module name."""
    compiled = bytecode.compile_packages(firmware, out)
    for inner in (Path("boot.py"), Path("main.py")):
        if (firmware / inner).is_file():
            compiled[inner] = out / inner.with_suffix(".mpy")
            bytecode.compile_file(firmware / inner, compiled[inner], inner.name)
    return {bytecode.module_name(inner): target.stat().st_size for inner, target in compiled.items()}


def measure_heap(folder: Path, names: list[str]) -> tuple[dict[str, int], int]:
    """Bytes of heap by module, imported in this order from folder/lib by the real interpreter; how many names it then
    holds.
    """
    program = folder / "measure.py"
    program.write_text(MEASURE % {"chip": CHIP, "given_back": GIVEN_BACK})
    done = subprocess.run(
        micropython.command("-X", "heapsize=4M", str(program), *names),
        env={**micropython.environment(), "MICROPYPATH": "lib:.frozen"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    try:
        *_, qstrs, heaps = done.stdout.splitlines()
        heap: dict[str, int] = json.loads(heaps)
        held = int(qstrs.split("n_qstr=")[1].split(",")[0])
    except (IndexError, ValueError):
        raise SystemExit(f"a module does not import under MicroPython:\n{done.stdout}{done.stderr}") from None
    return heap, held


def is_optional(name: str) -> bool:
    """True for the driver of a sensor that the default settings do not name."""
    package, _, module = name.rpartition(".")
    return package == SENSING and module not in SENSING_CORE + DEFAULT_DRIVERS


def measure_running(firmware: Path, names: list[str]) -> int:
    """Bytes of heap that the running application holds beyond its modules, on a virtual board."""
    used = [name for name in names if not is_optional(name)]
    absent = (*GIVEN_BACK, *(name for name in names if is_optional(name)))
    ca = certificates.make_ca(dt.datetime.now(dt.UTC))
    with (
        tempfile.TemporaryDirectory() as folder,
        Broker(ca, Path(folder)) as broker,
        VirtualBoard(Path(folder) / "board", node_id=NODE, speed=8) as board,
    ):
        copy = Path(folder) / "firmware"
        shutil.copytree(firmware, copy, ignore=shutil.ignore_patterns("__pycache__"))
        imports = "\n".join(f"import {name}" for name in used)
        words = {"imports": imports, "run_s": RUN_S, "absent": absent, "given_back": GIVEN_BACK}
        (copy / "main.py").write_text(RUNNING % words)
        board.flash(copy, mpy=True)
        board.provision(bundle(ca, broker.port))
        board.set_scenario([(0, 24, 0), (10, 24, 0), (12, 80, 0)])
        board.power_on()
        board.wait_log(" sent event=", 60)
        line = board.wait_log(" heap modules=", 60)
    if line.fields["wrong"]:
        raise SystemExit(f"the running application holds modules that it should not: {line.fields['wrong']}")
    return int(line.fields["running"]) - int(line.fields["modules"])


class Broker:
    """As much of an MQTT broker over TLS as keeps a node connected: it agrees to everything. A context manager."""

    def __init__(self, ca: certificates.Pair, folder: Path) -> None:
        pair = certificates.make_server(ca)
        pem = folder / "broker.pem"
        pem.write_bytes(pair.key_pem() + pair.cert_pem())
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> "Broker":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the board is switched off, and then this ends
            while True:
                connection, _ = self._socket.accept()
                with self._context.wrap_socket(connection, server_side=True) as tls, tls.makefile("rb") as packets:
                    while first := packets.read(1):
                        tls.sendall(self._answer(first[0], self._body(packets)))

    @staticmethod
    def _body(packets: BinaryIO) -> bytes:
        length = shift = 0
        while True:
            (digit,) = packets.read(1)
            length |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                return packets.read(length)

    @staticmethod
    def _answer(first: int, body: bytes) -> bytes:
        kind = first & 0xF0
        if kind == 0x30 and first & 0x06:  # PUBLISH with QoS 1: its identifier follows the topic
            at = 2 + int.from_bytes(body[:2], "big")
            return b"\x40\x02" + body[at : at + 2]
        subscribed = b"\x90\x03" + body[:2] + b"\x00"
        return {0x10: b"\x20\x02\x00\x00", 0x80: subscribed, 0xC0: b"\xd0\x00"}.get(kind, b"")


def bundle(ca: certificates.Pair, port: int) -> Bundle:
    """A node's settings, with the broker on `port` of this machine."""
    login = {"user": f"n-{NODE}", "password": "x" * 32, "client_id": "x" * 22}
    place = {"ip": "127.0.0.1", "port": port, "tls": True, "server_hostname": certificates.BROKER_NAME}
    settings = {
        "v": 1,
        "node": NODE,
        "site": "size",
        "unit": "a-01",
        "wifi": [{"ssid": "market", "psk": "a passphrase"}],
        "broker": {**place, **login},
        "board": "esp32-devkitc",
        "pins": load_board("esp32-devkitc").pins,
        "heartbeat_s": 45,
        "provisioned_s": 1_790_000_000,
    }
    return Bundle(
        NODE, 1, bytes(16), settings, x509.load_pem_x509_certificate(ca.cert_pem()).public_bytes(Encoding.DER)
    )


def frozen_imports(modules: dict[str, str]) -> list[str]:
    """MicroPython's own modules that the firmware imports as a whole, in functions too."""
    used: set[str] = set()
    for text in modules.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                used.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                used.add(node.module or "")
    return [name for name in FROZEN if name in used]


def report(firmware: Path) -> tuple[list[Row], int]:
    """Rows in import order, and how many names the application has, without drivers that the default settings do not
    name. The first row is MicroPython's own modules; main and boot, which run at once, show no heap.
    """
    modules = bytecode.modules(firmware)
    # What a node may do without comes last: MicroPython's tables grow with what it has.
    order = sorted(in_import_order(modules), key=is_optional)
    frozen = frozen_imports(modules)
    with tempfile.TemporaryDirectory() as folder:
        sizes = compile_all(firmware, Path(folder) / "lib")
        heap, _ = measure_heap(Path(folder), [*frozen, *order])
        _, names = measure_heap(Path(folder), [*frozen, *(name for name in order if not is_optional(name))])
    rows = [Row("(asyncio and other frozen modules)", 0, sum(heap[name] for name in frozen))]
    rows += [Row(name, sizes[name], heap[name], not is_optional(name)) for name in order]
    rows += [Row(name, sizes[name], 0) for name in ("boot", "main") if name in sizes]
    rows.append(Row("(state of the running application)", 0, measure_running(firmware, order)))
    return rows, names


def _label(row: Row) -> str:
    if row.name in GIVEN_BACK:
        return f"{row.name} (given back after the start)"
    return row.name if row.counts else f"{row.name} (loaded only where fitted)"


def linked_sizes(firmware: Path) -> list[tuple[str, str, int]]:
    """(module on the board, what is linked into it, bytes of .mpy that this would have by itself), in their order."""
    texts = bytecode.reduced({inner: (firmware / inner).read_text() for inner in bytecode.sources(firmware)})
    sources = {bytecode.module_name(inner): text for inner, text in texts.items()}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "alone.py"), Path(folder, "alone.mpy")
        for host in linking.hosts():
            for member in linking.members_of(host):
                source.write_text(sources[member])
                bytecode.compile_file(source, target, "alone")
                found.append((host, member, target.stat().st_size))
    return found


def table(rows: list[Row], markdown: bool) -> str:
    """The rows and their sum as text, aligned or as a Markdown table; what does not count comes after the sum."""
    head = ("module", "flash B", "heap B, 64 bit", "heap B, ESP32 estimate")
    counted = [r for r in rows if r.counts]
    total = (
        "total", sum(r.flash for r in counted), sum(r.heap for r in counted), sum(r.esp32 for r in counted)
    )  # fmt: skip
    cells = [(_label(r), r.flash, r.heap, r.esp32) for r in counted] + [total]
    cells += [(_label(r), r.flash, r.heap, r.esp32) for r in rows if not r.counts]
    if markdown:
        lines = ["| " + " | ".join(head) + " |", "|---|--:|--:|--:|"]
        return "\n".join(lines + [f"| {n} | {f:,} | {h:,} | {e:,} |" for n, f, h, e in cells])
    width = max(len(name) for name, *_ in cells)
    lines = [f"{head[0]:<{width}} {head[1]:>9} {head[2]:>15} {head[3]:>23}"]
    return "\n".join(lines + [f"{n:<{width}} {f:>9,} {h:>15,} {e:>23,}" for n, f, h, e in cells])


def main(arguments: list[str]) -> int:
    """Print the report; 1 if the estimate is over the budget."""
    parser = argparse.ArgumentParser(description="size and heap of every firmware module")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--budget-kb", type=int, default=100, help="most heap of the whole application on an ESP32, KB")
    options = parser.parse_args(arguments)
    rows, names = report(resources().firmware)
    print(table(rows, options.markdown))
    print(
        f"\n{names:,} names; MicroPython's table of them doubles beyond {NAMES_MOST:,}, some 4 KB of an ESP32's heap."
    )
    for host, member, flash in linked_sizes(resources().firmware):
        print(f"{member}: linked into {host}; {flash:,} B of flash by itself")
    used_kb = sum(r.esp32 for r in rows if r.counts) / 1024
    if used_kb > options.budget_kb:
        print(f"over budget: {used_kb:.1f} KB of heap, at most {options.budget_kb} KB", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
