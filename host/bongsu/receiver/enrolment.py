"""The store's side of provisioning a board that is at hand: registering it, its settings, its key, and whether it has
been heard.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from bongsu.install import board_choice, sensors
from bongsu.install.boards import Board
from bongsu.install.on_board import Identity
from bongsu.install.provision_words import Beat, Orders, Request
from bongsu.receiver import fitting, keys, node_health, provision, registry
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.store import schema
from bongsu.receiver.wake import NoAnswer, ask_state

Transaction = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True)
class Enrolment:
    """As install.provision.Registry. reading, writing, trying: transactions of the store, the last one undone at its
    end; data: the data folder; alone: one receiver, the one of this folder, hears everything; now_ms: UTC.
    """

    reading: Transaction
    writing: Transaction
    trying: Transaction
    master: keys.MasterKey
    broker: provision.BrokerAddress
    ca_der: bytes
    data: Path
    alone: bool
    actor: str
    now_ms: Callable[[], int]

    def board(self, request: Request, chip: str, before: str | None) -> Board:
        """Which board it is. Raises BoardError."""
        return board_choice.choose(request.board, before, chip, request.role, self.data)

    def check(self, node_id: str, request: Request, board: Board) -> None:
        """Raise what would hinder `settle`: it is done, and undone."""
        with self.trying() as conn:
            self._settle(conn, node_id, request, board, None)

    def settle(self, node_id: str, request: Request, board: Board, identity: Identity | None) -> Orders:
        """One transaction: register, keep the settings, make a key unless the board has the newest one."""
        with self.writing() as conn:
            return self._settle(conn, node_id, request, board, identity)

    def _settle(
        self, conn: Connection, node_id: str, request: Request, board: Board, identity: Identity | None
    ) -> Orders:
        now_ms = self.now_ms()
        registered = self._register(conn, node_id, request, now_ms)
        more = [sensors.parse(text) for text in request.sensors]
        settings = provision.settings_for(
            conn,
            self.master,
            node_id=node_id,
            broker=self.broker,
            board=board,
            wifi=[],
            now_ms=now_ms,
            profile=request.profile,
            wish=fitting.Wish(more, request.only_sensors, request.reading_s),
            role=request.role,
        )
        newest = keys.newest_key(conn, self.master, node_id, now_ms)
        if newest and identity and identity.epoch == newest.epoch and identity.is_of(newest.key):
            epoch, key, said = newest.epoch, None, f"epoch {newest.epoch} stays"
        else:
            made = keys.make_node_key(conn, self.master, node_id, now_ms, identity.epoch if identity else 0)
            epoch, key, said = made.epoch, made.key, f"epoch {made.epoch}"
        provision.note(conn, node_id, f"{said}, {settings.said}", actor=self.actor, now_ms=now_ms)
        foreign = key is not None and not self._is_ours(conn, node_id, identity)
        return Orders(epoch, key, settings.node_json, self.ca_der, registered, foreign)

    def _is_ours(self, conn: Connection, node_id: str, identity: Identity | None) -> bool:
        """Also of a board that has no key, or cannot prove which."""
        if identity is None or not identity.proof:
            return True
        return keys.is_ours(conn, self.master, node_id, identity.epoch, identity.is_of)

    def _register(self, conn: Connection, node_id: str, request: Request, now_ms: int) -> bool:
        """True if the board was not registered. Raises RegistryError."""
        found = conn.execute(select(schema.node).where(schema.node.c.id == node_id)).mappings().first()
        unit = request.unit
        if found is None and unit is not None:
            registry.add_node(conn, node_id=node_id, unit=unit, label=request.label, now_ms=now_ms)
            detail = f"unit {unit[0]}/{unit[1]}"
            registry.audit(
                conn, actor=self.actor, action="node.add", subject=f"node:{node_id}", detail=detail, now_ms=now_ms
            )
            return True
        if found is None:
            raise RegistryError(
                f"the board {node_id} is not registered",
                f"Name its unit by --unit SITE/UNIT, or register it: bongsu node add {node_id} --unit SITE/UNIT",
            )
        if unit is not None and found["unit_id"] is None and found["state"] != "retired":
            registry.assign_node(conn, node_id=node_id, unit=unit)
        elif unit is not None and unit != (found["site_id"], found["unit_id"]) and found["state"] != "retired":
            raise RegistryError(
                f"node {node_id} is registered in {found['site_id']}/{found['unit_id']}",
                f"Leave --unit out, or move it: bongsu node move {node_id} {unit[0]}/{unit[1]}",
            )
        return False

    def beat(self, node_id: str, epoch: int) -> Beat | None:
        """The newest heartbeat under this key that the store has, None: none yet."""
        live, window = schema.node_live.c, schema.node_window.c
        query = select(window.high, live.heartbeat).join(schema.node_live, live.node_id == window.node_id)
        with self.reading() as conn:
            found = conn.execute(query.where(window.node_id == node_id, window.epoch == epoch)).first()
        if found is None or not found.heartbeat:
            return None
        return Beat(found.high, node_health.rssi_dbm(found.heartbeat))

    def unheard(self) -> str:
        """Why nobody hears a node, as far as is known; "" else."""
        if not self.alone:
            return ""
        try:
            return "" if ask_state(self.data) is not None else "no receiver runs"
        except NoAnswer:
            return "the receiver does not answer"
