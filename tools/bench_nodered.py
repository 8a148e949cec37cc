"""The same flow in Node-RED: mqtt in (QoS 1) -> sqlite node -> http request; installed by npm into a folder."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

VERSION = "4"
_INSTALL_S = 600
# Runs when Node-RED is up: the broker node connects with a session that stays.
_FUNCTION = """\
const node_id = msg.topic.split('/')[3];
msg.node_id = node_id;
msg.params = { $node: node_id, $frame: msg.payload.toString('hex') };
return msg;
"""
_REPORT = """\
msg.headers = { 'content-type': 'application/json' };
msg.payload = { type: 'nodered.alarm', data: { node: msg.node_id } };
return msg;
"""


class Absent(Exception):
    """Node-RED cannot be had; the message says why."""


def install(folder: Path) -> Path:
    """Node-RED and its sqlite node in `folder`, by npm; the program's file. Raises Absent."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Absent("node and npm are not installed")
    program = folder / "node_modules" / "node-red" / "red.js"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(folder)]
        try:
            done = subprocess.run(
                [*words, f"node-red@{VERSION}", "node-red-node-sqlite"],
                check=False,
                capture_output=True,
                text=True,
                timeout=_INSTALL_S,
            )
        except subprocess.TimeoutExpired:
            raise Absent(f"npm did not end within {_INSTALL_S} s") from None
        if done.returncode or not program.exists():
            raise Absent(f"npm cannot install it: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    return program


def write_flow(user_dir: Path, installed: Path, broker_port: int, sink_port: int, ui_port: int) -> None:
    """Settings and flow into Node-RED's user folder."""
    user_dir.mkdir(exist_ok=True)
    (user_dir / "settings.js").write_text(
        f"module.exports = {{ uiPort: {ui_port}, uiHost: '127.0.0.1', flowFile: 'flows.json', httpAdminRoot: false,"
        f" nodesDir: '{installed}/node_modules/node-red-node-sqlite', logging: {{ console: {{ level: 'info' }} }},"
        " credentialSecret: false, telemetry: { enabled: false } };\n"
    )
    (user_dir / "flows.json").write_text(json.dumps(_flow(user_dir, broker_port, sink_port)))


def _flow(user_dir: Path, broker_port: int, sink_port: int) -> list[dict[str, Any]]:
    tab = {"id": "tab", "type": "tab", "label": "alarms"}
    broker: dict[str, Any] = {"id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": str(broker_port)}
    broker |= {"clientid": "nodered", "cleansession": False, "keepalive": "60", "protocolVersion": "4"}
    store = {"id": "db", "type": "sqlitedb", "db": str(user_dir / "alarms.db"), "mode": "RWC"}
    at = {"z": "tab", "x": 0, "y": 0}
    insert = "INSERT OR IGNORE INTO alarm VALUES ($node, $frame)"
    return [
        tab,
        broker,
        store,
        {"id": "make", "type": "inject", "once": True, "onceDelay": 0, "wires": [["table"]], "props": [], **at},
        {"id": "table", "type": "sqlite", "mydb": "db", "sqlquery": "fixed", "wires": [[]], **at}
        | {"sql": "CREATE TABLE IF NOT EXISTS alarm (node TEXT PRIMARY KEY, frame TEXT)"},
        {"id": "in", "type": "mqtt in", "topic": "bongsu/v1/up/+/e", "qos": "1", "broker": "broker", **at}
        | {"datatype": "buffer", "inputs": 0, "wires": [["key"]]},
        {"id": "key", "type": "function", "func": _FUNCTION, "outputs": 1, "wires": [["keep"]], **at},
        {
            "id": "keep",
            "type": "sqlite",
            "mydb": "db",
            "sqlquery": "prepared",
            "sql": insert,
            "wires": [["body"]],
            **at,
        },
        {"id": "body", "type": "function", "func": _REPORT, "outputs": 1, "wires": [["post"]], **at},
        {"id": "post", "type": "http request", "method": "POST", "ret": "txt", "persist": True, "wires": [[]], **at}
        | {"url": f"http://127.0.0.1:{sink_port}/", "paytoqs": "ignore"},
    ]
