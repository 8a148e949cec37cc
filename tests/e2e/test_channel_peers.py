"""Channels against the simulated station and phone, each a process of its own, in every way that they misbehave."""

import asyncio
import base64
import os
import signal
import subprocess
import sys

import pytest

from bongsu.channels import texts
from bongsu.channels.base import Message
from bongsu.channels.http import HttpClient
from bongsu.channels.sms_http import SmsGateway, SmsHttpChannel
from bongsu.channels.webhook import WebhookChannel
from tests.channel_peers import running

SECRET = "whsec_" + base64.b64encode(b"station secret, 32 bytes long...").decode()
PHONE = "+821000000107"
# Long, so that a busy machine fails nothing; SHORT_S where a time-out is what the test is about.
TIMEOUT_S = 10.0
SHORT_S = 1.5


@pytest.fixture(scope="module")
def secret_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("secret") / "station.whsec"
    path.write_text(SECRET)
    return str(path)


@pytest.fixture(scope="module")
def shared_station(secret_file):
    with running("station", "--secret-file", secret_file) as peer:
        yield peer


@pytest.fixture
def station(shared_station):
    """The station, behaving well; its reports are told apart by their keys."""
    shared_station.faults(mode="ok")
    return shared_station


def report(**values):
    snapshot = {"site": {"id": "s", "name": "시장", "tz": "Asia/Seoul"}, "unit": {"id": "u", "name": "점포"}}
    fields = {"purpose": "alarm", "incident_id": 1, "round": 1, "seq": 1, "class_": "fire", "snapshot": snapshot}
    return texts.dispatch_body(texts.Report(**(fields | {"names": ("smoke",), "received_ms": 1772341509120} | values)))


def posted(peer, key, *, secret=SECRET, body=None, times=1, timeout_s=TIMEOUT_S):
    """Outcomes of sending one report `times` times over one client."""

    async def go():
        client = HttpClient(timeout_s=timeout_s)
        channel = WebhookChannel(client)
        message = Message(1, key, "alarm", {"url": peer.url("station"), "secret": secret}, body or report())
        try:
            return [await channel.send(message) for _ in range(times)]
        finally:
            await client.aclose()

    return asyncio.run(go())


def count(peer, key):
    """How often the station heard of a key; 0 if it did not take it."""
    return sum(r["times"] for r in peer.received()["reports"] if r["id"] == key)


def test_a_report_is_taken_once_however_often_it_comes(station):
    assert [o.state for o in posted(station, "once", times=3)] == ["accepted"] * 3
    entries = [r for r in station.received()["reports"] if r["id"] == "once"]
    assert len(entries) == 1 and entries[0]["times"] == 3 and entries[0]["body"]["data"]["market"]["name"] == "시장"


def test_a_forged_report_is_refused(station):
    other = "whsec_" + base64.b64encode(b"x" * 32).decode()
    assert posted(station, "forged", secret=other)[0].state == "refused"
    assert posted(station, "wrong", body={"type": "nonsense"})[0].state == "refused"
    assert count(station, "forged") == count(station, "wrong") == 0


@pytest.mark.parametrize(
    ("mode", "state", "said"),
    [
        ("refuse", "refused", "403"),
        ("busy", "retry", "503"),
        ("down", "retry", ""),
        ("garbage", "retry", "not HTTP"),
        ("redirect", "refused", "redirect"),
        ("huge", "accepted", "200"),
    ],
)
def test_misbehaviour_is_named_and_over_at_the_next_try(station, mode, state, said):
    station.faults(mode=mode, n=1, retry_after_s=9)
    first, second = posted(station, f"m-{mode}", times=2)
    assert first.state == state and said in first.detail
    assert first.retry_after_ms == (9000 if mode == "busy" else None)
    assert second.state == "accepted" and count(station, f"m-{mode}") == 1


def test_a_closed_connection_is_tried_again_by_us_and_not_hidden(station):
    station.faults(mode="down")
    assert [o.state for o in posted(station, "down", times=2)] == ["retry", "retry"]
    assert count(station, "down") == 0


def test_an_answer_after_the_time_out_is_a_retry_and_counts_once(station):
    station.faults(mode="delay", n=1, delay_ms=int(SHORT_S * 1000) + 300)
    first, second = posted(station, "late", times=2, timeout_s=SHORT_S)
    assert (first.state, first.detail, second.state) == ("retry", "no answer in time", "accepted")


def test_an_answer_in_time_is_waited_for(station):
    station.faults(mode="delay", n=1, delay_ms=200)
    assert posted(station, "slow")[0].state == "accepted"


def test_answers_sent_twice_belong_to_no_other_report(station):
    station.faults(mode="twice")
    assert [o.state for o in posted(station, "twice", times=3)] == ["accepted"] * 3
    station.faults(mode="refuse")
    assert posted(station, "after-twice")[0].state == "refused"


def test_a_hundred_at_once_while_one_in_three_fails(station):
    async def go():
        client = HttpClient(timeout_s=5)
        channel = WebhookChannel(client)
        target = {"url": station.url("station"), "secret": SECRET}

        async def until_accepted(number):
            message = Message(number, f"h-{number}", "alarm", target, report(seq=number))
            tries = 0
            while (await channel.send(message)).state != "accepted":
                tries += 1
                assert tries < 50
                if tries == 1 and number % 3 == 0:
                    await asyncio.to_thread(station.faults, mode=("garbage", "down", "busy")[number % 9 // 3], n=2)

        station.faults(mode="refuse", n=30)
        try:
            await asyncio.gather(*(until_accepted(n) for n in range(100)))
        finally:
            await client.aclose()

    asyncio.run(go())
    assert len({r["id"] for r in station.received()["reports"] if r["id"].startswith("h-")}) == 100


def test_nobody_there():
    class Nobody:
        @staticmethod
        def url(path):
            return f"http://127.0.0.1:1/{path}"

    assert posted(Nobody, "nobody")[0].detail == "connection refused"


# -- SMS


def gateway_calls(peer, go, token=None):
    async def run():
        client = HttpClient(timeout_s=TIMEOUT_S)
        gateway = SmsGateway(peer.url("send"), status_url=peer.url("status/{ref}"), token=token)
        try:
            return await go(SmsHttpChannel(client, gateway))
        finally:
            await client.aclose()

    return asyncio.run(run())


def sms(number=PHONE, key="k1"):
    return Message(1, key, "alarm", {"phone": number}, "[화재경보] 시장 점포 연기 14:05:09 즉시 확인", "ko")


def test_sms_from_handing_over_to_the_receipt(tmp_path):
    token = tmp_path / "token"
    token.write_text("t0k")
    with running("phone", "--token-file", str(token), "--undelivered", "+821000000109") as phone:

        async def go(channel):
            sent = await channel.send(sms())
            lost = await channel.send(sms("+821000000109"))
            return sent, await channel.check(sms(), sent.ref), await channel.check(sms(), lost.ref)

        sent, delivered, failed = gateway_calls(phone, go, token="t0k")
        assert (sent.state, delivered.state, failed.state) == ("sent", "accepted", "refused")
        assert phone.received()["texts"][0]["text"].startswith("[화재경보]")

        async def wrong(channel):
            return await channel.send(sms()), await channel.check(sms(), "1"), await channel.check(sms(), "99")

        assert [o.state for o in gateway_calls(phone, wrong, token="bad")] == ["refused", "retry", "retry"]


def test_sms_faults():
    with running("phone", "--delivery-ms", "600000") as phone:
        phone.phones(refused=["+821000000108"], delivery_ms=600_000)

        async def go(channel):
            sent = await channel.send(sms())
            states = [await channel.check(sms(), sent.ref), await channel.send(sms("+821000000108"))]
            # A kept connection that dies without an answer is tried once more on a fresh one by libcurl: hence 2.
            for mode, n in (("down", 2), ("garbage", 1), ("huge", 1), ("twice", 1)):
                await asyncio.to_thread(phone.faults, mode=mode, n=n)
                states.append(await channel.send(sms(key=mode)))
            return [o.state for o in states]

        assert gateway_calls(phone, go) == ["sent", "refused", "retry", "retry", "refused", "sent"]


# -- the peers as processes


def test_a_peer_ends_with_its_parent():
    program = (
        "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'bongsu.cli', 'sim', 'phone'],"
        " stdout=subprocess.PIPE, text=True); print(p.pid, p.stdout.readline(), flush=True)"
    )
    parent = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    pid = int(parent.stdout.split()[0])
    descriptor = None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    import select

    ended, _, _ = select.select([descriptor], [], [], 10)
    os.close(descriptor)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    assert ended


def test_a_peer_ends_cleanly_by_sigterm():
    with running("phone") as phone:
        phone.process.send_signal(signal.SIGTERM)
        assert phone.process.wait(10) == 0


def test_a_bad_secret_file_is_named(tmp_path):
    path = tmp_path / "s"
    path.write_text("hello")
    command = [sys.executable, "-m", "bongsu.cli", "sim", "station", "--secret-file", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1 and "whsec_" in ended.stderr and "hello" not in ended.stderr
