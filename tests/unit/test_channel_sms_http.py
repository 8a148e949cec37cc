"""The SMS gateway is configuration: what is sent, what is understood, and which settings are refused."""

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from bongsu.channels.base import Message
from bongsu.channels.http import HttpFailure, Response
from bongsu.channels.sms_http import SmsConfigError, SmsGateway, SmsHttpChannel, read_token
from bongsu.channels.wiring import Channels
from bongsu.receiver.config import Config, SmsConfig

URL = "https://sms.example/send"
STATUS = "https://sms.example/status/{ref}"


class Recorder:
    """An HTTP client that answers what it is told."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []

    async def request(self, method, url, headers, body=b"", *, once=False):
        self.requests.append((method, url, headers, body))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def message(text="[화재경보] 한내시장", phone="+821000000107"):
    return Message(3, "key-3", "alarm", {"phone": phone}, text, "ko")


TAKEN = Response(200, b'{"id": 5}')


def send(gateway, answer=TAKEN, m=None):
    client = Recorder(answer)
    outcome = asyncio.run(SmsHttpChannel(client, gateway).send(m or message()))
    return outcome, client.requests[0]


def check(gateway, answer, ref="5"):
    client = Recorder(answer)
    return asyncio.run(SmsHttpChannel(client, gateway).check(message(), ref)), client.requests[0]


def test_json_body_from_the_template():
    body = {"dest": "{phone_national}", "msg": "{text}", "ref": "x-{key}", "kind": "{form}", "l": "{lang}"}
    _, (method, url, headers, raw) = send(SmsGateway(URL, body=body, token="t0k", headers={"X-App": "bongsu"}))
    assert (method, url, headers["Content-Type"]) == ("POST", URL, "application/json")
    assert json.loads(raw) == {
        "dest": "01000000107", "msg": "[화재경보] 한내시장", "ref": "x-key-3", "kind": "SMS", "l": "ko"}  # fmt: skip
    assert headers["Authorization"] == "Bearer t0k" and headers["X-App"] == "bongsu"


def test_form_and_query():
    _, (_, _, headers, raw) = send(SmsGateway(URL, format="form"))
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert parse_qs(raw.decode())["text"] == ["[화재경보] 한내시장"]
    _, (method, url, _, raw) = send(SmsGateway(URL + "?a=1", method="GET"))
    assert method == "GET" and raw == b"" and parse_qs(urlsplit(url).query)["to"] == ["+821000000107"]


def test_token_where_the_headers_want_it():
    _, (_, _, headers, _) = send(SmsGateway(URL, token="t0k", headers={"X-Key": "k {token}"}))
    assert headers["X-Key"] == "k t0k" and "Authorization" not in headers


def test_braces_in_a_text_are_only_text():
    _, (_, _, _, raw) = send(SmsGateway(URL), m=message("{phone} {token} {"))
    assert json.loads(raw)["text"] == "{phone} {token} {"


def test_without_status_url_it_is_accepted_and_never_delivered():
    outcome, _ = send(SmsGateway(URL), Response(200, b"OK"))
    assert outcome.state == "accepted" and "does not report delivery" in outcome.detail


def test_with_status_url_it_is_sent_until_the_receipt():
    gateway = SmsGateway(URL, status_url=STATUS)
    outcome, _ = send(gateway)
    assert (outcome.state, outcome.ref) == ("sent", "5")
    delivered, (method, url, _, _) = check(gateway, Response(200, b'{"status": "DELIVERED"}'), ref="5/../a?b")
    assert (delivered.state, method, url) == ("accepted", "GET", "https://sms.example/status/5%2F..%2Fa%3Fb")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Response(200, b'{"status": "pending"}'), "sent"),
        (Response(200, b'{"status": "enroute"}'), "sent"),
        (Response(200, b'{"status": "failed"}'), "refused"),
        (Response(200, b'{"status": true}'), "retry"),
        (Response(200, b"{}"), "retry"),
        (Response(200, b"<html>"), "retry"),
        (Response(404, b""), "retry"),
        (Response(500, b""), "retry"),
        (HttpFailure("no answer in time"), "retry"),
    ],
)
def test_receipts(answer, state):
    assert check(SmsGateway(URL, status_url=STATUS), answer)[0].state == state


@pytest.mark.parametrize(
    "body", [b"", b"<html>log in</html>", b'{"id": null}', b'{"id": {}}', b"[]", b'{"id": ""}', b"[" * 60_000, b"\xff"]
)
def test_an_answer_without_an_id_took_nothing(body):
    outcome, _ = send(SmsGateway(URL, status_url=STATUS), Response(200, body))
    assert outcome.state == "refused" and "no message id" in outcome.detail


def test_id_deep_in_the_answer():
    gateway = SmsGateway(URL, status_url=STATUS, ref_field="data.0.mid")
    assert send(gateway, Response(200, b'{"data": [{"mid": "m-9"}]}'))[0].ref == "m-9"
    assert send(gateway, Response(200, b'{"data": []}'))[0].state == "refused"


@pytest.mark.parametrize(("status", "state"), [(400, "refused"), (429, "retry"), (500, "retry"), (302, "refused")])
def test_refusals(status, state):
    assert send(SmsGateway(URL), Response(status, b""))[0].state == state


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "http://sms.example/send"}, "plain http"),
        ({"url": URL, "status_url": "http://sms.example/{ref}"}, "plain http"),
        ({"url": URL, "status_url": "https://sms.example/status"}, "no place for the message id"),
        ({"url": URL, "body": {"to": "{number}"}}, "{number} is not known"),
        ({"url": URL, "headers": {"A": "{text}"}}, "{text} is not known"),
        ({"url": URL, "headers": {"A": "b\r\nC: d"}}, "invisible character"),
    ],
)
def test_wrong_settings_are_named(settings, said):
    with pytest.raises(SmsConfigError, match=r"\[sms\]") as error:
        SmsGateway(**settings)
    assert said in error.value.message and error.value.next_step


def test_token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    assert read_token(path) == "s3cret"
    path.write_text("\n")
    with pytest.raises(SmsConfigError, match="holds no token"):
        read_token(path)
    with pytest.raises(SmsConfigError, match="cannot read"):
        read_token(tmp_path / "none")
    assert "s3cret" not in repr(SmsGateway(URL, token="s3cret"))


def test_channels_of_the_settings(tmp_path):
    (tmp_path / "sms.token").write_text("abc")
    sms = SmsConfig(url=URL, status_url=STATUS, token_file="sms.token", delivered_values=["Delivered"])
    channels = Channels(Config(sms=sms, folder=str(tmp_path)))
    assert set(channels) == {"webhook", "sms"}
    assert set(Channels(Config(folder=str(tmp_path)))) == {"webhook"}
    with pytest.raises(SmsConfigError):
        Channels(Config(sms=SmsConfig(url="http://sms.example/"), folder=str(tmp_path)))


@pytest.mark.parametrize(
    "said",
    [
        "+821000000107",
        "821000000107",
        "01000000107",
        "010-0000-0107",
        "+82 10-0000-0107",
        "to=%2B821000000107",
        "0082 10 0000 0107",
    ],
)
def test_the_gateways_own_words_do_not_repeat_the_number(said):
    body = json.dumps({"error": f"unknown recipient {said}!"}).encode()
    outcome, _ = send(SmsGateway(URL), Response(400, body))
    assert "unknown recipient" in outcome.detail and "0107" not in outcome.detail
    outcome, _ = send(SmsGateway(URL), Response(200, json.dumps({"id": f"m-{said}"}).encode()))
    assert outcome.ref is not None and "0107" not in outcome.ref
