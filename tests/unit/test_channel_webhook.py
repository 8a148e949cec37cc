"""Signatures judged by an independent library, and what each answer of the other side means."""

import asyncio
import base64
import datetime as dt
import json

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from bongsu.channels.address import url_problem
from bongsu.channels.base import Message
from bongsu.channels.http import HttpFailure, Response
from bongsu.channels.webhook import WebhookChannel, outcome_of, signed_headers

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def now_s():
    return int(dt.datetime.now(dt.UTC).timestamp())


class Recorder:
    """An HTTP client that answers what it is told."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []

    async def request(self, method, url, headers, body=b""):
        self.requests.append((method, url, headers, body))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def send(answer, **target):
    client = Recorder(answer)
    message = Message(7, "key-1", "alarm", {"url": "https://s.example/x", "secret": SECRET, **target}, {"a": "한내"})
    return asyncio.run(WebhookChannel(client).send(message)), client.requests


def test_standardwebhooks_accepts_the_signature():
    outcome, [(method, _, headers, body)] = send(Response(200, b""))
    assert outcome.state == "accepted" and method == "POST"
    lower = {k.lower(): v for k, v in headers.items()}
    assert Webhook(SECRET).verify(body, lower) == {"a": "한내"} == json.loads(body)
    assert lower["webhook-id"] == lower["idempotency-key"] == "key-1"


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_standardwebhooks_refuses_a_changed_header(name):
    headers = {k.lower(): v for k, v in signed_headers(SECRET, "k", now_s(), b"{}").items()}
    Webhook(SECRET).verify(b"{}", headers)
    value = str(now_s() - 1) if name == "webhook-timestamp" else headers[name][:-3] + "abc"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(b"{}", headers | {name: value})


def test_a_damaged_secret_is_refused_without_being_told():
    outcome, requests = send(Response(200, b""), secret="whsec_not base64!")
    assert outcome.state == "refused" and "not base64" not in outcome.detail and not requests


@pytest.mark.parametrize(
    ("response", "state", "wait_ms"),
    [
        (Response(200, b""), "accepted", None),
        (Response(204, b""), "accepted", None),
        (Response(299, b""), "accepted", None),
        (Response(301, b"", 0, "https://other.example/"), "refused", None),
        (Response(307, b""), "refused", None),
        (Response(400, b"bad"), "refused", None),
        (Response(401, b""), "refused", None),
        (Response(410, b""), "refused", None),
        (Response(408, b""), "retry", None),
        (Response(429, b"", 7), "retry", 7000),
        (Response(503, b"", 3600), "retry", 60_000),
        (Response(503, b"", -5), "retry", None),
        (Response(500, b""), "retry", None),
    ],
)
def test_only_2xx_is_an_acceptance(response, state, wait_ms):
    outcome = outcome_of(response)
    assert (outcome.state, outcome.retry_after_ms) == (state, wait_ms)
    assert str(response.status) in outcome.detail


def test_redirect_names_where_to():
    assert "https://other.example/" in outcome_of(Response(301, b"", 0, "https://other.example/")).detail


def test_what_a_peer_writes_cannot_forge_a_log_line():
    detail = outcome_of(Response(400, b"x\n12:00 INFO delivery.accepted\x1b[31m" + b"y" * 5000)).detail
    assert "\n" not in detail and "\x1b" not in detail and len(detail) <= 200


def test_no_answer_is_tried_again():
    outcome, _ = send(HttpFailure("connection refused"))
    assert (outcome.state, outcome.detail) == ("retry", "connection refused")


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://station.example/report", True),
        ("http://127.0.0.1:8080/x", True),
        ("http://[::1]/x", True),
        ("http://localhost/x", True),
        ("http://station.example/report", False),
        ("http://192.0.2.1/", False),
        ("http://127.0.0.1.example/", False),
        ("http://localhost.example/", False),
        ("ftp://127.0.0.1/", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("https://a b/", False),
        ("https://a/\r\nX: y", False),
        ("https://[::1", False),
        ("https://a:99999/", False),
    ],
)
def test_plain_http_is_for_this_machine_only(url, good):
    assert (url_problem(url) is None) is good


def test_a_responder_is_not_registered_with_an_address_that_would_be_refused():
    from bongsu.receiver import fields
    from bongsu.receiver.responders import _checked_url

    assert _checked_url("https://station.example/x") == "https://station.example/x"
    with pytest.raises(fields.FieldError, match="plain http"):
        _checked_url("http://station.example/x")
