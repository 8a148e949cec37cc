"""Wi-Fi supervision against a model of the interface: several networks, loss, a stuck interface; it never scans and
never touches the node."""

from collections.abc import Callable
from typing import Any

import pytest

from bongsu_node.link.bearers import WifiSupervisor

STEP_MS = 500
WRAP = 1 << 30


class Wlan:
    """A model of network.WLAN in station mode: joins a network of `reachable` some time after connect(). It has no
    scan(): to call it fails."""

    PM_NONE = 0

    def __init__(self, world: "World") -> None:
        self._world = world
        self.reachable: set[str] = set()
        self.stuck = False
        self.on = False
        self.trying: tuple[str, int] | None = None
        self.tried: list[str] = []
        self.switched: list[tuple[int, bool]] = []
        self.refuses: str | None = None
        self.why = 201

    def status(self) -> int:
        return self.why

    def active(self, on: bool) -> None:
        self.on = on
        self.switched.append((self._world.elapsed_ms, on))
        if not on:
            self.stuck = False
            self.trying = None

    def connect(self, ssid: str, psk: str) -> None:
        assert self.on
        if self.refuses:
            raise OSError(self.refuses)
        self.tried.append(ssid)
        self.trying = (ssid, self._world.elapsed_ms)

    def disconnect(self) -> None:
        self.trying = None

    def config(self, **_: Any) -> None:
        raise ValueError("unknown config param")

    def isconnected(self) -> bool:
        if self.trying is None or self.stuck:
            return False
        ssid, since = self.trying
        return ssid in self.reachable and self._world.elapsed_ms - since >= 2_000


class World:
    def __init__(self, *ssids: str, start: int = 0, link_works: Callable[[], bool] | None = None) -> None:
        self.elapsed_ms = 0
        self._start = start
        self.rising = False
        self.changes: list[bool] = []
        self.log: list[str] = []
        self.wlan = Wlan(self)
        self.supervisor = WifiSupervisor(
            self.wlan,
            [{"ssid": s, "psk": "secret-psk"} for s in ssids],
            lambda: not self.rising,
            lambda level, tag, text: self.log.append(f"{level} {tag} {text}"),
            link_works=link_works,
            on_change=self.changes.append,
            ticks_ms=lambda: (self._start + self.elapsed_ms) % WRAP,
        )

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 1000) // STEP_MS):
            self.supervisor.step()
            self.elapsed_ms += STEP_MS


@pytest.mark.parametrize("start", [0, WRAP - 5_000])
def test_it_joins_the_first_network_and_says_so(start: int) -> None:
    world = World("market", "spare", start=start)
    world.wlan.reachable = {"market", "spare"}
    world.run(10)
    assert world.supervisor.up
    assert world.wlan.tried == ["market"]
    assert world.changes == [True]
    assert world.log == ["I wifi state=up net=0"]


def test_it_falls_back_to_the_next_network_and_comes_back_to_the_one_it_lost() -> None:
    world = World("market", "spare")
    world.wlan.reachable = {"spare"}
    world.run(20)
    assert world.wlan.tried == ["market", "spare"]
    assert world.supervisor.up
    world.wlan.reachable = set()
    world.run(3)
    assert world.changes == [True, False]
    world.wlan.reachable = {"spare", "market"}
    world.run(5)
    assert world.wlan.tried == ["market", "spare", "spare"]
    assert world.changes == [True, False, True]


def test_it_says_of_a_network_that_it_cannot_join_how_the_driver_ended() -> None:
    world = World("a", "b")
    world.wlan.why = 202
    world.run(60)
    assert world.log[:2] == ["W wifi unjoined net=0 status=202", "W wifi unjoined net=1 status=202"]


def test_a_short_gap_is_none() -> None:
    world = World("market")
    world.wlan.reachable = {"market"}
    world.run(10)
    world.wlan.reachable = set()
    world.run(0.5)
    world.wlan.reachable = {"market"}
    world.run(10)
    assert world.changes == [True]


def test_without_any_network_it_tries_for_ever_at_most_45_s_apart_and_restarts_the_interface_now_and_then() -> None:
    world = World("market")
    world.run(3_600)
    assert len(world.wlan.tried) >= 3_600 // 47
    # Three rounds of 15 s and a pause of 15 to 30 s; the first pauses are short.
    assert 3_600 // (3 * 45) <= world.supervisor.restarts <= 3_600 // (3 * 30) + 2
    world.wlan.reachable = {"market"}
    world.run(50)
    assert world.supervisor.up


def test_a_stuck_interface_is_restarted() -> None:
    world = World("market")
    world.wlan.reachable = {"market"}
    world.run(10)
    world.wlan.stuck = True
    world.run(120)
    assert world.supervisor.up
    assert world.supervisor.restarts == 1


def test_a_network_that_the_driver_refuses_keeps_no_other_from_being_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """A passphrase, say, that it takes for none."""
    world = World("market", "backup")
    connect = world.wlan.connect

    def picky(ssid: str, psk: str) -> None:
        if ssid == "market":
            raise OSError("Wifi Password Error")
        connect(ssid, psk)

    monkeypatch.setattr(world.wlan, "connect", picky)
    world.wlan.reachable = {"backup"}
    world.run(60)
    assert world.supervisor.up


def test_a_driver_that_raises_is_restarted_and_no_end() -> None:
    world = World("market")
    world.wlan.reachable = {"market"}
    world.wlan.refuses = "Wifi Internal State Error"
    world.run(30)
    assert world.supervisor.restarts >= 5
    world.wlan.refuses = None
    world.run(10)
    assert world.supervisor.up


def test_joined_but_useless_it_tries_another_network_ever_more_patiently() -> None:
    world = World("market", "spare", link_works=lambda: False)
    world.wlan.reachable = {"market", "spare"}
    world.run(179)
    assert world.wlan.tried == ["market"]
    world.run(20)
    assert world.wlan.tried == ["market", "spare"]
    world.run(300)
    assert world.supervisor.restarts == 1, "the second time it waits twice as long"
    world.run(24 * 3_600)
    assert world.supervisor.restarts <= 3 + 24 * 2


def test_nothing_blocks_while_a_criterion_rises() -> None:
    world = World("market")
    world.rising = True
    world.run(60)
    assert world.wlan.switched == []
    world.rising = False
    world.run(5)
    world.rising = True
    world.run(300)
    tried = len(world.wlan.tried)
    world.run(300)  # no network in reach: it keeps trying, but leaves the interface alone
    assert len(world.wlan.tried) >= tried + 6
    assert [on for _, on in world.wlan.switched] == [True]
    world.rising = False
    world.run(50)
    assert [on for _, on in world.wlan.switched] == [True, False, True]


def test_no_secret_is_logged() -> None:
    world = World("market")
    world.run(300)
    assert not any("secret-psk" in line for line in world.log)


def test_a_radio_that_refuses_a_setting_is_used_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an ESP32 has no words for, MicroPython raises as a RuntimeError."""

    def refuse(*_: Any, **_more: Any) -> None:
        raise RuntimeError("Wifi Unknown Error 0x0102")

    monkeypatch.setattr(Wlan, "config", refuse)
    world = World("market")
    world.wlan.reachable = {"market"}
    world.run(10)
    assert world.supervisor.up and world.supervisor.restarts == 0


def test_a_radio_that_refuses_to_leave_what_it_has_not_joined_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    """ESP-IDF's ESP_FAIL, "other Wi-Fi internal errors", is a RuntimeError too; what counts is whether it joins."""

    def refuse(_: Wlan) -> None:
        raise RuntimeError("Wifi Unknown Error 0xffffffff")

    monkeypatch.setattr(Wlan, "disconnect", refuse)
    world = World("a")
    world.wlan.reachable = {"a"}
    world.run(5)
    assert world.changes == [True]


def test_the_model_has_no_scan() -> None:
    assert not hasattr(Wlan, "scan")
