"""A session that nobody comes back to is ended, at NATS and at Mosquitto: what it held is gone, and so is it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import select, update

from bongsu.receiver.broker_link import external_login
from bongsu.receiver.broker_sessions import BrokerSessionError, remove_session
from bongsu.receiver.config import Config, load
from bongsu.receiver.init_data import MASTER_KEY_NAME
from bongsu.receiver.keys import load_master
from bongsu.receiver.mqtt_edge import BrokerLogin
from bongsu.receiver.store import open_store, schema
from bongsu_wire import topics
from tests.broker_parts import NO_MOSQUITTO, Mosquitto, Nats, await_true, free_ports, use_broker
from tests.receiver_parts import DEADLINE_S, Market, make_market


@contextmanager
def broker(kind: str, folder: Path, market: Market) -> Iterator[None]:
    """The broker, named in the market's receiver.toml."""
    if kind == "mosquitto" and NO_MOSQUITTO is not None:
        pytest.skip(NO_MOSQUITTO)
    with Mosquitto(folder) if kind == "mosquitto" else Nats(folder) as made:
        made.start(market)
        yield


def receiver_login(config: Config) -> BrokerLogin:
    """The one receiver's."""
    store = open_store(config.store_url)
    with store.read() as conn:
        row = conn.execute(select(schema.receiver)).one()
    store.close()
    return external_login(config, load_master(config.data_dir / MASTER_KEY_NAME), row.sender, row.mqtt_client_id)


class Visit:
    """One visit to the receiver's persistent session: whether it was there, and what it brings."""

    def __init__(self, login: BrokerLogin) -> None:
        self.present: bool | None = None
        self.heard: list[bytes] = []
        self.subscribed = False
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=login.client_id, clean_session=False)
        self.client.username_pw_set(login.user, login.password)
        self.client.on_connect = self._connected
        self.client.on_subscribe = self._ready
        self.client.on_message = lambda _c, _d, message: self.heard.append(bytes(message.payload))
        self.client.connect(login.host, login.port, 20)
        self.client.loop_start()
        await_true(lambda: self.subscribed, "no SUBACK")

    def _connected(self, client: mqtt.Client, _d: Any, flags: Any, _reason: Any, _props: Any) -> None:
        self.present = flags.session_present
        client.subscribe(topics.UP_EVENTS_FILTER, 1)

    def _ready(self, *_: Any) -> None:
        self.subscribed = True

    def leave(self) -> None:
        """End the visit; the session stays."""
        self.client.disconnect()
        self.client.loop_stop()


def send(market: Market, login: BrokerLogin, data: bytes) -> None:
    """A node's message, acknowledged by the broker."""
    bundle = market.bundles[0]
    own = bundle.node_json["broker"]
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=own["client_id"])
    client.username_pw_set(own["user"], own["password"])
    client.connect(login.host, login.port, 20)
    client.loop_start()
    client.publish(topics.up_events(bundle.node_id), data, 1).wait_for_publish(DEADLINE_S)
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("kind", ["nats", "mosquitto"])
def test_a_removed_session_and_what_it_held_are_gone(tmp_path: Path, kind: str) -> None:
    market = make_market(tmp_path / "data", 1)
    with broker(kind, tmp_path / "broker", market):
        config = load(market.data / "receiver.toml")
        login = receiver_login(config)
        Visit(login).leave()
        send(market, login, b"kept")
        back = Visit(login)
        await_true(lambda: back.heard, "the session kept nothing")
        assert back.present
        back.leave()
        send(market, login, b"lost")
        store = open_store(config.store_url)
        with store.write() as conn:  # as `bongsu receiver retire` does before it
            conn.execute(update(schema.receiver).values(retired_ms=1))
        store.close()
        assert remove_session(config, login.client_id)
        after = Visit(login)
        send(market, login, b"after")
        await_true(lambda: after.heard, "nothing came")
        after.leave()
        assert not after.present and after.heard == [b"after"]


def test_a_broker_that_is_not_there_is_said(tmp_path: Path) -> None:
    market = make_market(tmp_path / "data", 0)
    use_broker(market.data, [f"mqtt://127.0.0.1:{port}" for port in free_ports(2)])
    config = load(market.data / "receiver.toml")
    with pytest.raises(BrokerSessionError, match="Connection refused") as raised:
        remove_session(config, receiver_login(config).client_id)
    assert raised.value.next_step
    with pytest.raises(BrokerSessionError, match="no receiver has this client id"):
        remove_session(config, "r-unknown")


def test_an_embedded_broker_needs_none(tmp_path: Path) -> None:
    assert not remove_session(load(make_market(tmp_path / "data", 0).data / "receiver.toml"), "r-any")
