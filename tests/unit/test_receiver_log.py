"""The log: names and forms that programs read, phones masked, repeats told seldom."""

import io
import json

from bongsu.receiver.log import Log, Seldom, masked_text


def lines_of(form: str) -> list[str]:
    """What a few happenings look like."""
    stream = io.StringIO()
    log = Log(form, stream)
    log.info("event.committed", node="a0b1c2d3e4f5", event=7, incident=None)
    log.warning("delivery.retry", detail="HTTP 403: +821012345678 is barred")
    log.error("store.failed", what="the disk is full")
    log.close()
    return stream.getvalue().splitlines()


def test_json_lines_carry_time_level_name_and_fields() -> None:
    first, second, third = (json.loads(line) for line in lines_of("json"))
    assert first.pop("t_ms") > 1_700_000_000_000
    assert first == {
        "level": "info",
        "event": "event.committed",
        "node": "a0b1c2d3e4f5",
        "number": 7,
        "incident": None,
    }
    assert second["detail"] == "HTTP 403: +8210****5678 is barred" and third["level"] == "error"


def test_text_lines_are_for_people() -> None:
    first, second, _ = lines_of("text")
    assert first.endswith(" info  event.committed node=a0b1c2d3e4f5 event=7")
    assert second.endswith('delivery.retry detail="HTTP 403: +8210****5678 is barred"')


def test_phone_numbers_are_masked_wherever_they_stand() -> None:
    assert masked_text("to +821012345678, +14155550100!") == "to +8210****5678, +1415****0100!"
    assert masked_text("heat+smoke at +30 degrees") == "heat+smoke at +30 degrees"


def test_a_stream_that_is_gone_stops_nothing() -> None:
    stream = io.StringIO()
    log = Log("text", stream)
    stream.close()
    log.info("receiver.ready")
    log.close()


def test_repeats_are_told_once_a_minute_with_their_count() -> None:
    seldom = Seldom()
    assert [seldom.due("a", t) for t in (0, 1, 2, 59_999, 60_000, 60_001)] == [1, 0, 0, 0, 4, 0]
    assert seldom.due("b", 5) == 1
