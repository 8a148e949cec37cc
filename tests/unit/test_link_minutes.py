"""The minute before an alarm on the node's side: after the alarm's receipt, until its own, and never in its way."""

from typing import Any

import pytest

from bongsu_node.link.minutes import ALARMS, REPEAT_MS, Minutes
from bongsu_node.link.uplink import Uplink
from bongsu_wire import frame, kinds, measured, payload
from bongsu_wire.ccm import CcmKey
from tests.sensing_parts import PERIOD

NODE = bytes.fromhex("a0b1c2d3e4f5")
KEY = CcmKey(bytes(16))


class Identity:
    epoch, node, node_text, key = 1, NODE, NODE.hex(), KEY

    def __init__(self) -> None:
        self.counter = 0
        self.refuses = False

    def next_counter(self) -> int:
        if self.refuses:
            raise OSError(5)
        self.counter += 1
        return self.counter


class Journal:
    def __init__(self) -> None:
        self.waiting: dict[int, bytes] = {}

    def pending(self) -> list[int]:
        return sorted(self.waiting)

    def entry(self, number: int) -> bytes:
        return self.waiting[number]

    def remove(self, number: int) -> None:
        self.waiting.pop(number, None)


class Mqtt:
    connected = True

    def __init__(self) -> None:
        self.sent: list[tuple[int, int, bytes]] = []  # kind, counter, payload

    def takes(self, urgent: bool) -> bool:
        return True

    def retry_now(self) -> None: ...

    def publish(self, topic: str, data: bytes, qos: int, urgent: bool = False) -> Any:
        header = frame.parse(data)
        self.sent.append((header.kind, header.counter, frame.open_frame(KEY, header)))
        return self

    def withdraw(self) -> None: ...


class Clock:
    def server_time(self, server_ms: int) -> None: ...


class Node:
    def __init__(self) -> None:
        self.now = PERIOD - 20_000  # the ticks wrap on the way
        self.identity, self.journal, self.mqtt = Identity(), Journal(), Mqtt()
        self.lines: list[str] = []
        self.uplink = Uplink(
            self.identity,
            self.journal,
            self.mqtt,
            Clock(),
            payload.Heartbeat,
            on_receipt=lambda numbers, server_ms: None,
            on_command=lambda command, header: kinds.ANSWER_DONE,
            log=lambda level, tag, text: self.lines.append(text),
            ticks_ms=lambda: self.now % PERIOD,
        )
        self._down = 0

    def alarm(self, number: int, parts: int = 2) -> None:
        self.journal.waiting[number] = payload.encode_event(payload.Event(number, kinds.ALARM, kinds.SMOKE))
        made = [measured.History(number, 1000, parts, n, [kinds.Q_SMOKE_E4], [n]) for n in range(parts)]
        self.uplink.keep_minute(number, [measured.encode_history(part) for part in made])

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            self.uplink.step()
            self.now += 250

    def receipt(self, answers: int, numbers: list[int]) -> None:
        self._down += 1
        body = payload.encode_receipt(payload.Receipt(1_790_000_000_000, answers, numbers))
        self.uplink.receive("", frame.seal_down(KEY, kinds.DOWN_RECEIPT, 1, NODE, self._down, 1, body))

    def histories(self) -> list[tuple[int, int, int]]:
        """(counter, event, first row) of each part that was sent."""
        parts = [(c, measured.decode_history(data)) for kind, c, data in self.mqtt.sent if kind == kinds.UP_HISTORY]
        return [(counter, part.number, part.first) for counter, part in parts]

    def counters(self, kind: int) -> list[int]:
        return [counter for k, counter, _ in self.mqtt.sent if k == kind]


def test_it_goes_out_after_the_alarms_receipt_and_until_its_own() -> None:
    node = Node()
    node.alarm(7)
    node.run(60)
    assert node.histories() == []
    node.receipt(node.counters(kinds.UP_EVENT)[-1], [7])
    node.run(1)
    (first, _, _), (second, _, _) = sent = node.histories()
    assert [(number, row) for _, number, row in sent] == [(7, 0), (7, 1)]
    node.receipt(first, [])
    node.run(REPEAT_MS / 1000 - 2)
    assert len(node.histories()) == 2
    node.run(3)
    assert [(number, row) for _, number, row in node.histories()[2:]] == [(7, 1)]
    node.uplink.link_changed(True, "")
    node.run(1)
    assert [(number, row) for _, number, row in node.histories()[3:]] == [(7, 1)]
    node.receipt(second, [])  # of a connection that ended: proves nothing of the newest sending
    node.receipt(node.histories()[-1][0], [])
    node.run(120)
    assert len(node.histories()) == 4 and len(node.uplink._minutes) == 0


def test_a_number_store_that_refuses_costs_the_history_and_not_the_link() -> None:
    node = Node()
    node.alarm(7)
    node.run(1)
    node.receipt(node.counters(kinds.UP_EVENT)[-1], [7])
    node.identity.refuses = True
    node.run(5)  # raises nothing: the task goes on
    assert node.histories() == [] and any("history=7" in line for line in node.lines)
    node.identity.refuses = False
    node.alarm(8, parts=1)
    node.run(1)
    assert 8 in [payload.decode_event(data).number for kind, _, data in node.mqtt.sent if kind == kinds.UP_EVENT]
    node.run(25)
    assert [(number, row) for _, number, row in node.histories()] == [(7, 0), (7, 1)]


@pytest.mark.parametrize("alarms", [ALARMS, ALARMS + 1, 20])
def test_the_newest_alarms_keep_theirs_and_memory_is_bounded(alarms: int) -> None:
    minutes = Minutes()
    for number in range(1, alarms + 1):
        for _ in range(2):  # the same again replaces it
            minutes.keep(number, [b"a", b"b"])
    assert len(minutes) == 2 * ALARMS
    assert {part[0] for part in minutes._parts} == set(range(alarms - ALARMS + 1, alarms + 1))
