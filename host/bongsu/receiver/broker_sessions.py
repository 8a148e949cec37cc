"""Ends a receiver's session at the broker: that of one retired, or one left for a new id.

A session that nobody comes back to keeps every message for its receiver until the broker's store is full, and nobody
can connect any more. Whoever connects under its client id with a clean session ends it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import select

from bongsu.errors import BongsuError
from bongsu.receiver.broker_link import external_login
from bongsu.receiver.config import Config
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master
from bongsu.receiver.mqtt_edge import BrokerLogin
from bongsu.receiver.store import open_store, schema

_ANSWER_S = 5.0
_NEXT_STEP = "Is the broker running? Run it again when it is."


class BrokerSessionError(BongsuError):
    """The session may still be at the broker."""


def remove_session(config: Config, client_id: str) -> bool:
    """End the session of the receiver with this MQTT client id, by its own login, which the broker must still know.

    False if there is nothing to do: a broker that a receiver starts itself forgets all sessions at each start. Raises
    BrokerSessionError, and what the store and the master key raise.
    """
    if config.broker.mode == "embedded":
        return False
    store = open_store(config.store_url)
    try:
        with store.read() as conn:
            table = schema.receiver
            sender = conn.execute(select(table.c.sender).where(table.c.mqtt_client_id == client_id)).scalar()
    finally:
        store.close()
    if sender is None:
        raise BrokerSessionError("no receiver has this client id", "Look at: bongsu receiver list")
    drop_session(external_login(config, load_master(config.data_dir / MASTER_KEY_NAME), sender, client_id))
    return True


def drop_session(login: BrokerLogin) -> None:
    """End the session of `login.client_id`, at the first address that answers. Raises BrokerSessionError."""
    wrong = ""
    for host, port in ((login.host, login.port), *login.more):
        try:
            with _clean_session(replace(login, host=host, port=port)):
                return
        except (OSError, BrokerSessionError) as err:
            wrong = f"{host}:{port}: {err}"
    raise BrokerSessionError(f"the session could not be ended at {wrong}", _NEXT_STEP)


@contextmanager
def _clean_session(login: BrokerLogin) -> Iterator[None]:
    answered = threading.Event()
    said: list[str] = []

    def on_connect(_client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _props: Any) -> None:
        if reason.is_failure:
            said.append(str(reason))
        answered.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=login.client_id, clean_session=True)
    client.username_pw_set(login.user, login.password)
    if login.tls is not None:
        client.tls_set_context(login.tls)
    client.on_connect = on_connect
    client.connect_timeout = _ANSWER_S
    client.connect(login.host, login.port, int(_ANSWER_S))
    client.loop_start()
    try:
        if not answered.wait(_ANSWER_S):
            raise BrokerSessionError("no answer", _NEXT_STEP)
        if said:
            raise BrokerSessionError(f"refused: {said[0]}", "Is its login still in the broker's configuration?")
        yield
    finally:
        client.disconnect()
        client.loop_stop()
