"""Provisioning a board over its serial line: the application, the settings and the key go onto it, and the receiver
hears its first heartbeat under that key.

Every step looks at the board and the store, never at a record of an earlier run: a run that was killed anywhere is
finished by running it again.
"""

import time
from contextlib import suppress

from bongsu.errors import BongsuError
from bongsu.install import application, on_board
from bongsu.install.application import BOOT, LIB, MAIN, Application, File
from bongsu.install.boards import Board
from bongsu.install.bundle import json_bytes
from bongsu.install.link import BoardLink, LinkError
from bongsu.install.on_board import BoardFacts, Identity
from bongsu.install.provision_words import (
    STEPS,
    Beat,
    Network,
    Orders,
    Progress,
    Provisioned,
    ProvisionError,
    Registry,
    Request,
)
from bongsu.install.transfer import Files

__all__ = ["STEPS", "Network", "Progress", "ProvisionError", "Provisioned", "Registry", "Request", "provision"]

_LOOK_S = 1.0
_GUARD_S = 180  # nothing that is done on the board takes a minute
_NODE_JSON, _CA = "/node.json", "/ca.der"


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
        self._copied: list[File] = []
        self._count = 0  # files that belong on the board
        self._secrets: list[str] = []

    def go(self) -> Provisioned:
        """All of it."""
        started = time.monotonic()
        made = application.application()
        facts = self._stop()
        application.require_fit(made, facts.mpy, facts.version)
        before = on_board.settings(self._link) if facts.fs == "ok" else {}
        if before.get("node") != facts.mac:
            before = {}
        board = self._registry.board(self._request, facts.chip, _text(before.get("board")))
        self._registry.check(facts.mac, self._request, board)
        networks = self._networks(board, facts)
        reformatted = self._file_system(facts)
        files = Files(self._link, unpacks=facts.unpacks)
        there = self._application(made, files)
        identity = on_board.identity(self._link)
        orders = self._registry.settle(facts.mac, self._request, board, identity)
        self._settings(orders, networks, files, there, before.get("provisioned_s"))
        identity = self._key(orders, identity)
        beat = self._start(facts.mac, identity)
        return Provisioned(
            node_id=facts.mac,
            board=board.name,
            epoch=orders.epoch,
            new_key=orders.key is not None,
            registered=orders.registered,
            reformatted=reformatted,
            bytes_copied=sum(len(file.content) for file in self._copied),
            copied=len(self._copied),
            files=self._count,
            app_hash=made.hash,
            machine=facts.machine,
            micropython=facts.version,
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

    def _networks(self, board: Board, facts: BoardFacts) -> list[dict[str, str]]:
        """As node.json has them."""
        wifi = self._request.wifi
        if wifi is not None:
            found = [{"ssid": one.ssid, **({"psk": one.passphrase} if one.passphrase else {})} for one in wifi]
        else:
            found = on_board.wifi_networks(self._link) if facts.fs == "ok" else []
        if not found and board.bearers == ("wifi",):
            raise ProvisionError(
                "no Wi-Fi network is named, and the board knows none",
                "Name it: --wifi SSID=FILE (FILE holds the passphrase), or --wifi SSID for an open one.",
            )
        self._secrets += [network["psk"] for network in found if network.get("psk")]
        return found

    # -- what it gets

    def _application(self, made: Application, files: Files) -> dict[str, str]:
        """boot.py first: from then on there are 3 s for service. Returns the hashes of all that is on the board."""
        files.tidy()
        there = files.hashes(LIB, [BOOT, MAIN, _CA, _NODE_JSON])
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
            self._copied += lib.copy
        if made.main in outer:
            self._put(files, made.main)
        self._progress("application", max(total, 1), max(total, 1))
        return there

    def _settings(
        self,
        orders: Orders,
        networks: list[dict[str, str]],
        files: Files,
        there: dict[str, str],
        provisioned_s: object,
    ) -> None:
        """ca.der and node.json. One that differs in nothing but the time of provisioning stays."""
        self._progress("settings", 0, 1)
        document = {**orders.node_json, "wifi": networks}
        self._secrets += [document["broker"]["password"], document["broker"]["client_id"]]
        node_json = File.of(_NODE_JSON, json_bytes(document))
        if isinstance(provisioned_s, int) and provisioned_s <= document["provisioned_s"]:
            as_before = File.of(_NODE_JSON, json_bytes({**document, "provisioned_s": provisioned_s}))
            if there.get(_NODE_JSON) == as_before.sha256:
                node_json = as_before
        for file in (File.of(_CA, orders.ca_der), node_json):
            self._count += 1
            if there.get(file.path) != file.sha256:
                self._put(files, file, secret=True)
        self._progress("settings", 1, 1)

    def _put(self, files: Files, file: File, *, secret: bool = False) -> None:
        files.put(file, secret=secret)
        self._copied.append(file)

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
                "Start it (bongsu receiver run), then run this again; or do not wait: --no-wait",
            )
        wait_s = self._request.wait_s
        started = time.monotonic()
        words = ""
        while (waited_s := time.monotonic() - started) < wait_s:
            self._progress("heartbeat", int(waited_s), int(wait_s))
            words = self._last_words(_LOOK_S) or words
            beat = self._registry.beat(node_id, identity.epoch)
            if beat is not None and beat.counter >= identity.counter:
                self._progress("heartbeat", int(wait_s), int(wait_s))
                return beat
        raise ProvisionError(
            f"node {node_id} is provisioned, and was not heard in {wait_s:.0f} s"
            + (f"; it says: {words}" if words else ""),
            f"Look at its log: bongsu device logs --port {self._link.url}",
        )

    def _last_words(self, timeout_s: float) -> str:
        """What the node complains of, without what must not be shown; "" if it does not."""
        words = ""
        try:
            for line in self._link.lines(timeout_s):
                parts = line.split(" ", 2)
                if len(parts) == 3 and parts[1] in ("W", "E"):
                    words = parts[2]
        except LinkError as err:
            words = err.message  # it may run on, unplugged here and powered there
        for secret in self._secrets:
            words = words.replace(secret, "***")
        return words


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
