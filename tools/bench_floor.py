"""The floor that the receiver is measured against: the least code that keeps an alarm and passes it on.

One paho subscriber (QoS 1, manual acknowledgement), one fsync'd SQLite insert, one POST on a connection kept alive, one
acknowledgement, each after the other. No keys, no frames, no incidents, no retries.

usage: bench_floor.py BROKER_PORT SINK_PORT DATABASE; prints "ready"
"""

import http.client
import json
import signal
import sqlite3
import sys
import threading
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion


def main(broker_port: int, sink_port: int, database: str) -> None:
    """Pass alarms on until SIGTERM."""
    store = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    store.execute("PRAGMA journal_mode=WAL")
    store.execute("PRAGMA synchronous=FULL")
    store.execute("CREATE TABLE alarm (node TEXT PRIMARY KEY, frame BLOB)")
    station = http.client.HTTPConnection("127.0.0.1", sink_port)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="floor", clean_session=False, manual_ack=True)

    def on_connect(connected: mqtt.Client, *_: Any) -> None:
        connected.subscribe("bongsu/v1/up/+/e", qos=1)

    def on_subscribe(*_: Any) -> None:
        print("ready", flush=True)

    def on_message(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        node = message.topic.split("/")[3]
        store.execute("INSERT OR IGNORE INTO alarm VALUES (?, ?)", (node, message.payload))
        station.request("POST", "/", json.dumps({"type": "floor.alarm", "data": {"node": node}}))
        station.getresponse().read()
        client.ack(message.mid, message.qos)

    client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
    client.connect("127.0.0.1", broker_port)
    client.loop_start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    client.disconnect()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
