"""The unmodified firmware on virtual boards with a real broker over TLS: from the fire to the receipt, and through
the radio's troubles."""

import queue
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from bongsu.resources import resources
from bongsu.sim.board import VirtualBoard
from bongsu.sim.link import LinkProxy
from bongsu_wire import frame, kinds, payload, topics
from bongsu_wire.ccm import CcmKey
from tests.board_parts import EPOCH, KEY, NODE, PINS, bundle
from tests.link_parts import Ca, Nats

DEADLINE_S = 30.0
SERVER_MS = 1_790_000_000_000


class Centre:
    """A receiver of a few lines: checks frames, keeps events, receipts them if told to."""

    def __init__(self, port: int, ca_file: Path) -> None:
        self.events: queue.Queue[payload.Event] = queue.Queue()
        self.beats: queue.Queue[payload.Heartbeat] = queue.Queue()
        self.counters: list[int] = []
        self.receipts = True
        self._key = CcmKey(KEY)
        self._counter = 0
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.tls_set(str(ca_file))
        self._client.on_connect = lambda client, *_: client.subscribe("bongsu/v1/up/#", qos=1)
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _take(self, client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        header = frame.parse(message.payload)
        plain = frame.open_frame(self._key, header)
        self.counters.append(header.counter)
        numbers = []
        if header.kind == kinds.UP_EVENT:
            event = payload.decode_event(plain)
            self.events.put(event)
            numbers = [event.number]
        elif header.kind == kinds.UP_HEARTBEAT:
            self.beats.put(payload.decode_heartbeat(plain))
        if self.receipts:
            self._counter += 1
            receipt = payload.encode_receipt(payload.Receipt(SERVER_MS, header.counter, numbers))
            down = frame.seal_down(self._key, kinds.DOWN_RECEIPT, EPOCH, header.node, self._counter, 1, receipt)
            client.publish(topics.down(NODE), down)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Market:
    """A broker, a centre and one board on a link, at ten times the speed."""

    def __init__(self, folder: Path) -> None:
        ca = Ca(folder)
        certificate = ca.server()
        self.broker = Nats(folder, tls=certificate)
        self.broker.start()
        self.centre = Centre(self.broker.port, ca_file(folder, ca))
        self.link = LinkProxy("127.0.0.1", self.broker.port)
        self.board = VirtualBoard(folder / "board", node_id=NODE, speed=10.0)
        self.board.flash(resources().firmware)
        self.board.provision(bundle({"port": self.link.port, "tls": True}, ca.der))
        self.board.link = self.link

    def close(self) -> None:
        self.board.close()
        self.link.close()
        self.centre.close()
        self.broker.kill()


def ca_file(folder: Path, ca: Ca) -> Path:
    """The CA's certificate as PEM, for paho."""
    import ssl

    path = folder / "ca.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(ca.der))
    return path


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    made = Market(tmp_path)
    yield made
    made.close()


def test_fire_to_receipt_over_tls(market: Market) -> None:
    board = market.board
    board.power_on()
    board.wait_log(r"mqtt state=up", DEADLINE_S)
    beat = market.centre.beats.get(timeout=DEADLINE_S)
    assert beat.reset_cause == 1 and beat.temp_dk == 2942
    start = board.now_s + 2
    board.set_scenario([(start, 21, 0), (start, 62, 0)])
    alarm = board.wait_log(r" alarm event=", DEADLINE_S)
    receipt = board.wait_log(f"receipt event={alarm.fields['event']} ", DEADLINE_S, since=alarm)
    event = market.centre.events.get(timeout=DEADLINE_S)
    assert (event.kind, event.phenomena, event.number) == (kinds.ALARM, kinds.HEAT, int(alarm.fields["event"]))
    assert event.sustained_ms >= 5000 and receipt.index > alarm.index
    assert board.pins()[PINS["siren"]] == 1
    assert board.scans == 0


def test_alarm_of_a_board_without_wifi_arrives_later_and_once(market: Market) -> None:
    board = market.board
    board.power_on()
    board.wait_log(r"mqtt state=up", DEADLINE_S)
    board.set_wifi(False)
    board.wait_log(r"wifi state=down", DEADLINE_S)
    start = board.now_s + 1
    board.set_scenario([(start, 21, 0), (start, 21, 0.09)])
    alarm = board.wait_log(r" alarm event=", DEADLINE_S)
    stored = board.wait_log(r"journal event=", DEADLINE_S, since=alarm.index)
    assert market.centre.events.empty()
    board.set_wifi(True)
    board.wait_log(f"receipt event={alarm.fields['event']} ", DEADLINE_S, since=stored)
    event = market.centre.events.get(timeout=DEADLINE_S)
    assert (event.kind, event.phenomena, event.number) == (kinds.ALARM, kinds.SMOKE, int(alarm.fields["event"]))
    assert event.age_ms > 0
    assert board.reset_causes == ["power_on"]


def test_counters_go_on_after_a_power_cut_before_the_receipt(market: Market) -> None:
    board = market.board
    market.centre.receipts = False
    board.power_on()
    board.wait_log(r"mqtt state=up", DEADLINE_S)
    start = board.now_s + 1
    board.set_scenario([(start, 21, 0), (start, 62, 0)])
    board.wait_log(r"sent event=", DEADLINE_S)
    number = market.centre.events.get(timeout=DEADLINE_S).number
    board.power_off()
    market.centre.receipts = True
    mark = board.mark()
    board.power_on()
    board.wait_log(f"receipt event={number} ", DEADLINE_S, since=mark)
    again = market.centre.events.get(timeout=DEADLINE_S)
    assert again.number == number and again.age_ms == payload.AGE_UNKNOWN
    assert len(set(market.centre.counters)) == len(market.centre.counters)
