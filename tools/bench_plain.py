"""The flow as it is usually written in Python: paho's own acknowledgement, sqlite3, requests; measured beside Bongsu.

usage: bench_plain.py BROKER_PORT SINK_PORT DATABASE; prints "ready"
"""

import signal
import sqlite3
import sys
import threading
from typing import Any

import paho.mqtt.client as mqtt
import requests
from paho.mqtt.enums import CallbackAPIVersion


def main(broker_port: int, sink_port: int, database: str) -> None:
    """Pass alarms on until SIGTERM."""
    store = sqlite3.connect(database, check_same_thread=False)
    store.execute("CREATE TABLE IF NOT EXISTS alarm (node TEXT PRIMARY KEY, frame BLOB)")
    session = requests.Session()
    session.trust_env = False
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="plain", clean_session=False)

    def on_connect(connected: mqtt.Client, *_: Any) -> None:
        connected.subscribe("bongsu/v1/up/+/e", qos=1)

    def on_subscribe(*_: Any) -> None:
        print("ready", flush=True)

    def on_message(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        node = message.topic.split("/")[3]
        store.execute("INSERT OR IGNORE INTO alarm VALUES (?, ?)", (node, message.payload))
        store.commit()
        body = {"type": "plain.alarm", "data": {"node": node}}
        session.post(f"http://127.0.0.1:{sink_port}/", json=body, timeout=10).raise_for_status()

    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    client.connect("127.0.0.1", broker_port)
    client.loop_start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    client.disconnect()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
