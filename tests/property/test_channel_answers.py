"""Whatever a peer answers, a channel comes back with one of its four outcomes, in time."""

import asyncio
import base64
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bongsu.channels.base import Message
from bongsu.channels.http import HttpClient, Response
from bongsu.channels.sms_http import SmsGateway, SmsHttpChannel
from bongsu.channels.webhook import WebhookChannel, outcome_of
from tests.channel_peers import answering

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
STATES = {"accepted", "sent", "retry", "refused"}

_head = st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 503 x\r\nRetry-After: 1e9\r\n", b"HTTP/2 200\r\n"])
_fields = st.sampled_from(
    [b"", b"\r\n", b"Content-Length: 3\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\n", b"A\r\n\r\n"]
)
answers = st.builds(lambda *p: b"".join(p), _head, _fields, st.binary(max_size=200))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(answer=answers, close=st.booleans())
def test_any_bytes_end_in_an_outcome(answer, close):
    async def go(port):
        client = HttpClient(timeout_s=0.1)
        webhook = WebhookChannel(client)
        sms = SmsHttpChannel(
            client, SmsGateway(f"http://127.0.0.1:{port}/", status_url=f"http://127.0.0.1:{port}/{{ref}}")
        )
        try:
            async with asyncio.timeout(5):
                return [
                    await webhook.send(
                        Message(1, "k", "alarm", {"url": f"http://127.0.0.1:{port}/", "secret": SECRET}, {})
                    ),
                    await sms.send(Message(1, "k", "alarm", {"phone": "+821000000107"}, "x")),
                    await sms.check(Message(1, "k", "alarm", {"phone": "+821000000107"}, "x"), "r"),
                ]
        finally:
            await client.aclose()

    with answering(answer, close=close) as port:
        for outcome in asyncio.run(go(port)):
            assert outcome.state in STATES and outcome.detail.isprintable() and len(outcome.detail) <= 200


@given(status=st.integers(100, 999), body=st.binary(max_size=300), wait=st.integers(-(2**40), 2**40))
def test_any_status_has_one_meaning(status, body, wait):
    outcome = outcome_of(Response(status, body, wait))
    assert (outcome.state == "accepted") == (200 <= status < 300)
    assert outcome.retry_after_ms is None or 0 < outcome.retry_after_ms <= 60_000
    assert outcome.detail.isprintable() and len(outcome.detail) <= 200


class _Answers:
    def __init__(self, body):
        self.body = body

    async def request(self, method, url, headers, body=b"", *, once=False):
        return Response(200, self.body)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "status", "a"]), inner, max_size=3)
    ),
)


@given(answer=_json, path=st.sampled_from(["id", "id.a", "0", "id.0.status", "", "."]))
def test_any_json_answer_of_a_gateway_is_understood_or_refused(answer, path):
    raw = json.dumps(answer).encode()
    gateway = SmsGateway("https://s.example/", status_url="https://s.example/{ref}", ref_field=path, status_field=path)
    channel = SmsHttpChannel(_Answers(raw), gateway)
    message = Message(1, "k", "alarm", {"phone": "+821000000107"}, "x")
    sent = asyncio.run(channel.send(message))
    assert sent.state in ("sent", "refused") and (sent.state == "sent") == bool(sent.ref)
    assert asyncio.run(channel.check(message, "r")).state in STATES
