"""Provisioning a board over its serial line: the application, the settings and the key go onto it, and the receiver
hears its first heartbeat under that key.

Every step looks at the board and the store, never at a record of an earlier run: a run that was killed anywhere is
finished by running it again.
"""

import time
from contextlib import suppress

from bongsu.errors import BongsuError
from bongsu.install import application, on_board, settings_file, silence
from bongsu.install.application import BOOT, LIB, MAIN, Application, File
from bongsu.install.boards import Board
from bongsu.install.link import BoardLink, LinkError
from bongsu.install.on_board import BoardFacts, Identity
from bongsu.install.provision_words import (
    NAME_A_NETWORK,
    STEPS,
    TAKEN_OVER,
    Beat,
    Network,
    Orders,
    Progress,
    Provisioned,
    ProvisionError,
    Registry,
    Request,
)
from bongsu.install.settings_file import Standing
from bongsu.install.silence import Complaints
from bongsu.install.transfer import Files

__all__ = [
    "STEPS",
    "TAKEN_OVER",
    "Network",
    "Progress",
    "ProvisionError",
    "Provisioned",
    "Registry",
    "Request",
    "provision",
]

_LOOK_S = 1.0
_GUARD_S = 180  # nothing that is done on the board takes a minute
_CA = "/ca.der"


def provision(
    link: BoardLink, registry: Registry, request: Request, progress: Progress = lambda step, done, total: None
) -> Provisioned:
    """Provision the board behind an open link. It runs afterwards, also if this fails.

    Raises ProvisionError, LinkError, RegistryError and other BongsuErrors, none of which holds a secret.
    """
    try:
        return _Run(link, registry, request, progress).go()
    except BaseException:
        with suppress(BongsuError, OSError):
            link.restart()  # what is on it goes on, as before
        raise


class _Run:
    """One provisioning. The steps in their order are in `go`."""

    def __init__(self, link: BoardLink, registry: Registry, request: Request, progress: Progress) -> None:
        self._link = link
        self._registry = registry
        self._request = request
        self._progress = progress
        self._copied = self._bytes = 0  # files that went over the line
        self._count = 0  # those that belong on the board
        self._secrets: list[str] = []
        self._networks = 0  # that it knows when it starts

    def go(self) -> Provisioned:
        """All of it."""
        started = time.monotonic()
        self._progress("compile", 0, 1)
        made = application.application()
        self._progress("compile", 1, 1)
        facts = self._stop()
        application.require_fit(made, facts.mpy, facts.version)
        standing = settings_file.read(self._link) if facts.fs == "ok" else None
        if standing is not None and not standing.is_of(facts.mac):
            standing = None
        before = standing.board if standing is not None else None
        board = self._registry.board(self._request, facts.chip, before if isinstance(before, str) else None)
        self._registry.check(facts.mac, self._request, board)
        self._require_networks(board, standing)
        reformatted = self._file_system(facts)
        files = Files(self._link, unpacks=facts.unpacks)
        there = self._application(made, files)
        identity = on_board.identity(self._link)
        orders = self._registry.settle(facts.mac, self._request, board, identity)
        self._settings(orders, files, there)
        identity = self._key(orders, identity)
        beat = self._start(facts.mac, identity)
        return Provisioned(
            node_id=facts.mac,
            board=board.name,
            epoch=orders.epoch,
            new_key=orders.key is not None,
            registered=orders.registered,
            reformatted=reformatted,
            bytes_copied=self._bytes,
            copied=self._copied,
            files=self._count,
            app_hash=made.hash,
            machine=facts.machine,
            micropython=facts.version,
            taken_over=orders.taken_over,
            took_ms=round((time.monotonic() - started) * 1000),
            heard_ms=time.time_ns() // 1_000_000 if beat else None,
            rssi_dbm=beat.rssi_dbm if beat else None,
        )

    # -- the board as it is

    def _stop(self) -> BoardFacts:
        self._progress("service", 0, 1)
        self._link.service()
        self._link.guard(_GUARD_S)
        facts = self._link.facts()
        self._progress("service", 1, 1)
        wanted = self._request.node_id
        if wanted is not None and wanted != facts.mac:
            raise ProvisionError(
                f"{self._link.url}: the board there is {facts.mac}, not {wanted}",
                "Plug in the right board, or name this one.",
            )
        if facts.platform != "esp32":
            raise ProvisionError(
                f"{self._link.url}: the board there is no ESP32: {facts.machine or facts.platform}", "Plug in another."
            )
        return facts

    def _file_system(self, facts: BoardFacts) -> bool:
        """True if it had to be made anew."""
        if facts.fs == "ok":
            return False
        self._progress("format", 0, 1)
        if facts.fs == "none" or not on_board.make_file_system(self._link):
            raise ProvisionError(
                f"{self._link.url}: the board has no place for files, or it does not work",
                "Flash it anew: bongsu device flash. If it stays so, its flash is worn out: take another board.",
            )
        self._progress("format", 1, 1)
        return True

    def _require_networks(self, board: Board, standing: Standing | None) -> None:
        wifi = self._request.wifi
        known = len(wifi) if wifi is not None else standing.networks if standing is not None else 0
        self._networks = known
        if not known and board.bearers == ("wifi",):
            raise ProvisionError(
                "no Wi-Fi network is named, and the board knows none",
                NAME_A_NETWORK,
            )

    # -- what it gets

    def _application(self, made: Application, files: Files) -> dict[str, str]:
        """boot.py first: from then on there are 3 s for service. Returns the hashes of all that is on the board."""
        files.tidy()
        there = files.hashes(LIB, [BOOT, MAIN, _CA])
        lib = application.plan(made.lib, {path: it for path, it in there.items() if path.startswith(f"{LIB}/")})
        outer = [file for file in (made.boot, made.main) if there.get(file.path) != file.sha256]
        done, total = 0, lib.size + sum(len(file.content) for file in outer)
        self._count += len(made.files)
        self._progress("application", done, total)
        if not lib.is_done:
            files.need_room(lib)
        for file in outer:
            if file is made.boot:
                self._put(files, file)
                done += len(file.content)
                self._progress("application", done, total)
        if not lib.is_done:
            files.replace_lib(lib, lambda size: self._progress("application", done + size, total))
            self._copied += len(lib.copy)
            self._bytes += lib.size
        if made.main in outer:
            self._put(files, made.main)
        self._progress("application", max(total, 1), max(total, 1))
        return there

    def _settings(self, orders: Orders, files: Files, there: dict[str, str]) -> None:
        """ca.der and node.json."""
        self._progress("settings", 0, 1)
        ca = File.of(_CA, orders.ca_der)
        if there.get(_CA) != ca.sha256:
            self._put(files, ca)
        wifi = self._request.wifi
        standing = settings_file.read(self._link)
        document = {name: value for name, value in orders.node_json.items() if name != "wifi"}
        if wifi is not None or not standing.networks or not standing.is_of(document["node"]):
            document["wifi"] = [network.entry() for network in wifi or ()]
        self._secrets += [network.passphrase for network in wifi or () if network.passphrase]
        self._secrets += [document["broker"]["password"], document["broker"]["client_id"]]
        size = settings_file.write(self._link, files, document, standing)
        self._bytes += size
        self._copied += bool(size)
        self._count += 2
        self._progress("settings", 1, 1)

    def _put(self, files: Files, file: File) -> None:
        files.put(file)
        self._copied += 1
        self._bytes += len(file.content)

    def _key(self, orders: Orders, identity: Identity | None) -> Identity:
        """The identity that the board has now."""
        self._progress("key", 0, 1)
        if orders.key is not None:
            on_board.write_key(self._link, orders.epoch, orders.key)
            identity = on_board.identity(self._link)
            if identity and identity.proof and not identity.is_of(orders.key):
                identity = None
        if identity is None or identity.epoch != orders.epoch:
            raise ProvisionError(f"{self._link.url}: the board did not keep its key", "Run this again.")
        self._progress("key", 1, 1)
        return identity

    # -- the board as it runs

    def _start(self, node_id: str, identity: Identity) -> Beat | None:
        self._progress("restart", 0, 1)
        self._link.restart()
        self._progress("restart", 1, 1)
        return self._first_beat(node_id, identity) if self._request.wait_s else None

    def _first_beat(self, node_id: str, identity: Identity) -> Beat:
        """The first one since the restart: all counters before it are below those that the board begins with now."""
        why = self._registry.unheard()
        if why:
            raise ProvisionError(
                f"node {node_id} is provisioned, and nobody hears it: {why}",
                "Start it (bongsu receiver run), then run this again. Without one: bongsu device provision --no-wait",
            )
        wait_s = self._request.wait_s
        started = time.monotonic()
        heard = Complaints([network.ssid for network in self._request.wifi or ()], self._networks)
        while (waited_s := time.monotonic() - started) < wait_s:
            said = self._shown(heard.said)
            self._progress(f"heartbeat: {said}" if said else "heartbeat", int(waited_s), int(wait_s))
            self._listen(heard)
            beat = self._registry.beat(node_id, identity.epoch)
            if beat is not None and beat.counter >= identity.counter:
                self._progress("heartbeat", int(wait_s), int(wait_s))
                return beat
            if refused := heard.refused:
                raise ProvisionError(f"node {node_id} is provisioned, but {refused}", self._advice(refused))
        words = self._shown(heard.words)
        raise ProvisionError(
            f"node {node_id} is provisioned, and was not heard in {wait_s:.0f} s"
            + (f"; it says: {words}" if words else ""),
            self._advice(words),
        )

    def _advice(self, words: str) -> str:
        return f"{silence.next_step(words)}Look at its log: bongsu device logs --port {self._link.url}"

    def _listen(self, heard: Complaints) -> None:
        try:
            for line in self._link.lines(_LOOK_S):
                heard.hear(line)
        except LinkError as err:
            heard.words = err.message  # it may run on, unplugged here and powered there

    def _shown(self, words: str) -> str:
        """Without what must not be shown, or a terminal would obey."""
        words = on_board.plain(words)
        for secret in self._secrets:
            words = words.replace(secret, "***")
        return words
