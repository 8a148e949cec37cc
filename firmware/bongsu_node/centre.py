"""The way to the centre: Wi-Fi, MQTT and the exchange of frames, made of link/ for one node."""

from time import ticks_diff, ticks_ms

import network

from bongsu_node.link.bearers import WifiSupervisor
from bongsu_node.link.mqtt import MqttClient
from bongsu_node.link.uplink import Uplink
from bongsu_node.upkeep import health
from bongsu_node.upkeep.commands import Commands
from bongsu_wire.topics import down


class Centre:
    """`node`: the app's Node, provisioned. start() gives the tasks to a supervisor; wlan: for the signal strength."""

    def __init__(self, node) -> None:
        self._node = node
        self._tls = node.config.broker["tls"]
        self._room = health.TlsRoom(health.idf_free_kb, ticks_ms, ticks_diff, node.log)
        self.wlan = network.WLAN(network.STA_IF)
        self.mqtt = MqttClient(
            node.config.broker,
            _read("/ca.der") if self._tls else None,
            None,
            self._may_dial,
            node.log,
            down_topic=down(node.identity.node_text),
        )
        self.wifi = WifiSupervisor(
            self.wlan,
            node.config.wifi,
            self._may_block,
            node.log,
            link_works=lambda: self.mqtt.connected,
            on_change=self._wifi_changed,
        )
        commands = Commands(
            node.response, node.siren, node.reset, node.set_profile, node.rotate_key, node.safe_mode, ticks_ms, node.log
        )
        self.uplink = Uplink(
            node.identity,
            node.journal,
            self.mqtt,
            node.clock,
            node.status,
            on_receipt=lambda numbers, server_ms: None,  # the lamp looks at the journal
            on_command=commands.obey,
            log=node.log,
            heartbeat_ms=node.config.heartbeat_s * 1000,
        )

    def start(self, start) -> None:
        """Start the tasks by `start(name, make_coro, limit_ms)`; limits some times over what each promises to keep."""
        start("wifi", self.wifi.run, 60_000)
        start("mqtt", self.mqtt.run, 60_000)
        start("uplink", self.uplink.run, 90_000)

    def _may_block(self) -> bool:
        return not self._node.watch.judge.rising

    def _may_dial(self) -> bool:
        return self.wifi.up and self._may_block() and (not self._tls or self._room.enough())

    def _wifi_changed(self, up: bool) -> None:
        if up:
            self.mqtt.retry_now()


def _read(path: str):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None
