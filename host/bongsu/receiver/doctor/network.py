"""Who is to be reached: the broker, the responders, the gateway for texts. Nothing is sent to them but a connection's
beginning; the broker is logged in to and asked for a subscription, under a client id of its own.
"""

import secrets
import socket
import ssl
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from bongsu.channels.http import system_trust
from bongsu.receiver import canary, certificate_watch
from bongsu.receiver.broker import PORT_FILE
from bongsu.receiver.broker_link import client_tls, external_login
from bongsu.receiver.config import Config
from bongsu.receiver.doctor.finding import FAIL, OK, WARN, Finding, Findings
from bongsu.receiver.keys import MasterKey
from bongsu.receiver.mqtt_edge import BrokerLogin, connection_failure
from bongsu_wire import topics

_TIMEOUT_S = 3.0
_AT_ONCE = 16
_REFUSED = 0x80


def embedded_broker(config: Config, running: bool) -> Findings:
    """The receiver's own broker: does it take connections, and is its certificate what nodes ask for?"""
    broker = config.broker
    if not running:
        yield Finding(WARN, "broker", "it runs with the receiver, which does not run", "Start the receiver.")
        return
    try:
        port = broker.port or int((config.data_dir / PORT_FILE).read_text())
    except (OSError, ValueError):
        yield Finding(FAIL, "broker", "its port is not known", "Look at the receiver's log.")
        return
    host = "127.0.0.1" if broker.host in ("0.0.0.0", "::") else broker.host
    tls = client_tls(config.data_dir / "ca" / "ca.crt") if broker.tls else None
    failure = _reach(host, port, tls, "bongsu-broker")
    where = f"{host}:{port}"
    if isinstance(failure, Exception):
        what, step = connection_failure(failure, BrokerLogin(host, port, "", "", "", tls))
        yield Finding(FAIL, "broker", what, step)
    else:
        yield Finding(OK, "broker", f"{where} takes connections" + (" by TLS" if tls else ""))


def external_broker(config: Config, master: MasterKey, sender: int) -> Findings:
    """Another's broker: each of its addresses by itself."""
    login = external_login(config, master, sender, f"doctor-{secrets.token_hex(8)}")
    for host, port in ((login.host, login.port), *login.more):
        yield _try_login(BrokerLogin(host, port, login.user, login.password, login.client_id, login.tls), sender)


class _Try:
    """One login: connect, subscribe to what the receiver needs, leave."""

    def __init__(self, login: BrokerLogin, sender: int) -> None:
        self.done = threading.Event()
        self.connected: str | None = None
        self.refused: list[str] = []
        self._filters = [topics.UP_EVENTS_FILTER, topics.UP_BEATS_FILTER, canary.topic(sender)]
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=login.client_id, protocol=mqtt.MQTTv311)
        client.connect_timeout = _TIMEOUT_S
        if login.user:
            client.username_pw_set(login.user, login.password)
        if login.tls is not None:
            client.tls_set_context(login.tls)
        client.on_connect, client.on_subscribe = self._on_connect, self._on_subscribe
        self.client = client

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _props: Any) -> None:
        self.connected = str(reason) if reason.is_failure else ""
        if reason.is_failure:
            self.done.set()
        else:
            client.subscribe([(name, 0) for name in self._filters])

    def _on_subscribe(self, _client: mqtt.Client, _data: Any, _mid: int, reasons: list[Any], _props: Any) -> None:
        self.refused = [n for n, r in zip(self._filters, reasons, strict=False) if r.value >= _REFUSED]
        self.done.set()


def _try_login(login: BrokerLogin, sender: int) -> Finding:
    where = f"{login.host}:{login.port}"
    attempt = _Try(login, sender)
    try:
        attempt.client.connect(login.host, login.port, keepalive=10)
    except (OSError, ValueError) as err:
        return Finding(FAIL, "broker", *connection_failure(err, login))
    attempt.client.loop_start()
    try:
        answered = attempt.done.wait(2 * _TIMEOUT_S)
    finally:
        attempt.client.disconnect()
        attempt.client.loop_stop()
    if not answered:
        return Finding(FAIL, "broker", f"{where} does not answer", "Look at the broker's log.")
    if attempt.connected:
        step = "Check [broker] user and password_file; bongsu broker config writes its users."
        return Finding(FAIL, "broker", f"{where} refuses the login: {attempt.connected}", step)
    if attempt.refused:
        listed = ", ".join(attempt.refused)
        level = WARN if attempt.refused == [canary.topic(sender)] else FAIL
        return Finding(
            level, "broker", f"{where} refuses to subscribe to {listed}", "Give the receiver's user the right."
        )
    return Finding(OK, "broker", f"{where} takes the receiver's login and subscriptions")


def peers(responders: Iterable[Any], config: Config, now_ms: int) -> Findings:
    """The responders and the gateway for texts: is there somebody, with a certificate that holds?"""
    wanted = [(f"responder {row.id}", str(row.url), FAIL) for row in responders]
    if config.sms is not None:
        wanted.append(("sms gateway", config.sms.url, WARN))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        days = config.supervision.certificate_days
        yield from pool.map(lambda one: _peer(*one, now_ms=now_ms, days=days), wanted)


def _peer(name: str, url: str, level: str, *, now_ms: int, days: int) -> Finding:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    found = _reach(host, port, _trust() if parts.scheme == "https" else None, host)
    if isinstance(found, ssl.SSLCertVerificationError):
        step = "Let the other side renew it, or trust its CA on this machine (SSL_CERT_FILE)."
        return Finding(level, name, f"the certificate of {host}:{port} is refused: {found.verify_message}", step)
    if isinstance(found, Exception):
        what = f"{host}:{port} is not to be reached: {_why(found)}"
        return Finding(level, name, what, "Check its address, the network and the firewall.")
    end = certificate_watch.peer(name, found, now_ms)["days"] if found else None
    if end is not None and end <= days:
        what = f"{host}:{port} takes connections; its certificate ends in {end:.0f} days"
        return Finding(WARN, name, what, "Tell its owner.")
    # Who listens there is not proven by this: nothing is sent. What was accepted so far says more (registry.accepted).
    return Finding(OK, name, f"{host}:{port} takes connections" + (f"; its certificate: {end:.0f} days" if end else ""))


def _why(err: Exception) -> str:
    if isinstance(err, TimeoutError):
        return "no answer in time"
    return str(getattr(err, "strerror", None) or err or type(err).__name__)


def _trust() -> ssl.SSLContext:
    trust = system_trust()
    context = ssl.create_default_context(cafile=trust.get("CAINFO"), capath=trust.get("CAPATH"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _reach(host: str, port: int, tls: ssl.SSLContext | None, name: str) -> Exception | str:
    """Connect and leave. Returns what went wrong, or the end of the certificate ("" without TLS)."""
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as plain:
            if tls is None:
                return ""
            with tls.wrap_socket(plain, server_hostname=name) as sock:
                return str((sock.getpeercert() or {}).get("notAfter", ""))
    except (OSError, ValueError) as err:  # ssl.SSLError is an OSError; a strange host name is a ValueError
        return err
