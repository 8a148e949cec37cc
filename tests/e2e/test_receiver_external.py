"""An external broker by URL: user and password file, TLS with a named CA; a refusal is said with the next step."""

import datetime as dt
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bongsu.receiver import certificates
from bongsu.receiver.broker import find_executable
from bongsu.sim.hostnode import HostNode
from tests import postgres_parts
from tests.receiver_parts import DEADLINE_S, Child, make_market

CONFIG = """\
[store]
url = "{store}"
[broker]
mode = "external"
url = "{url}"
user = "receiver"
password_file = "broker.password"
{more}
"""


@contextmanager
def broker(folder: Path, ca: certificates.Pair | None) -> Iterator[int]:
    """A nats-server of somebody else's; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder.mkdir()
    tls = ""
    if ca is not None:
        server = certificates.make_server(ca, ())
        (folder / "s.crt").write_bytes(server.cert_pem())
        (folder / "s.key").write_bytes(server.key_pem())
        tls = f'tls {{ cert_file: "{folder}/s.crt", key_file: "{folder}/s.key" }}'
    (folder / "nats.conf").write_text(
        f'server_name: other\nlisten: "127.0.0.1:-1"\njetstream {{ store_dir: "{folder}/js" }}\n'
        f'mqtt {{ listen: "127.0.0.1:{port}", {tls} }}\n'
        "authorization { users: [ {user: receiver, password: right}, {user: node, password: node} ] }\n"
    )
    with subprocess.Popen([find_executable(), "-c", str(folder / "nats.conf")], stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if b"Server is ready" in line:
                    break
            yield port
        finally:
            process.kill()


@contextmanager
def receiver(data: Path, url: str, password: str = "right", more: str = "") -> Iterator[Child]:
    """The receiver on it."""
    (data / "receiver.toml").write_text(CONFIG.format(store=postgres_parts.store_url(data), url=url, more=more))
    (data / "broker.password").write_text(password + "\n")
    child = Child("--data", data, "receiver", "run", "--log-format", "json")
    try:
        yield child
    finally:
        child.stop()


def test_it_works_over_tls_with_the_brokers_own_ca(tmp_path: Path) -> None:
    market = make_market(tmp_path / "data", 1, tls=True)
    ca = certificates.make_ca(dt.datetime.now(dt.UTC))
    (market.data / "theirs.crt").write_bytes(ca.cert_pem())
    with (
        broker(tmp_path / "broker", ca) as port,
        receiver(market.data, f"mqtts://127.0.0.1:{port}", more='ca_file = "theirs.crt"') as child,
    ):
        child.wait_for("receiver.ready")
        bundle = market.bundles[0]
        bundle.node_json["broker"] |= {"user": "node", "password": "node", "tls": True}
        object.__setattr__(bundle, "ca_der", certificates.der_of_pem(ca.cert_pem()))
        with HostNode(bundle, port=port) as node:
            assert node.wait_connected(DEADLINE_S)
            assert node.wait_receipt(node.alarm(), DEADLINE_S)


@pytest.mark.parametrize(
    ("tls", "scheme", "password", "said"),
    [
        (True, "mqtts", "right", "is refused: "),  # signed by a CA that this machine does not know
        (False, "mqtts", "right", "TLS with the broker"),
        (False, "mqtt", "wrong", "the broker refuses the receiver"),
    ],
)
def test_what_the_broker_refuses_is_said_with_the_next_step(
    tmp_path: Path, tls: bool, scheme: str, password: str, said: str
) -> None:
    market = make_market(tmp_path / "data", 0)
    ca = certificates.make_ca(dt.datetime.now(dt.UTC)) if tls else None
    with (
        broker(tmp_path / "broker", ca) as port,
        receiver(market.data, f"{scheme}://127.0.0.1:{port}", password) as child,
    ):
        line = child.wait_for("mqtt.refused")
        assert said in line and '"next":"' in line


def test_no_broker_at_all_is_said_too(tmp_path: Path) -> None:
    market = make_market(tmp_path / "data", 0)
    with receiver(market.data, "mqtt://127.0.0.1:9") as child:
        assert "Check that the broker runs" in child.wait_for("mqtt.refused")
