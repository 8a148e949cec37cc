"""The queue of the node's MQTT client: bounded, alarms first, kept until PUBACK, sent again in order."""

import pytest

from bongsu_node.link.sendqueue import QueueFull, SendQueue, Ticket


def ticket(text: str, qos: int = 1, urgent: bool = False) -> Ticket:
    return Ticket("t", text.encode(), qos, urgent)


def send_all(queue: SendQueue) -> list[str]:
    sent = []
    while (t := queue.next(0)) is not None:
        sent.append(t.payload.decode())
    return sent


def test_urgent_ones_go_first_the_rest_in_order() -> None:
    queue = SendQueue()
    for t in (ticket("a"), ticket("b"), ticket("fire", urgent=True), ticket("c")):
        queue.add(t)
    assert send_all(queue) == ["fire", "a", "b", "c"]


def test_full_means_full_except_for_an_urgent_one() -> None:
    queue = SendQueue(capacity=2)
    first, second, fire = ticket("a"), ticket("b"), ticket("fire", urgent=True)
    queue.add(first)
    queue.add(second)
    with pytest.raises(QueueFull):
        queue.add(ticket("c"))
    queue.add(fire)
    assert second.dropped
    assert not first.dropped
    assert len(queue) == 2
    queue.add(ticket("fire 2", urgent=True))
    with pytest.raises(QueueFull):  # urgent ones never push each other out
        queue.add(ticket("fire 3", urgent=True))


def test_the_window_holds_back_ordinary_messages_but_no_alarm() -> None:
    queue = SendQueue(window=2)
    for name in "abc":
        queue.add(ticket(name))
    assert send_all(queue) == ["a", "b"]
    queue.add(ticket("fire", urgent=True))
    queue.add(ticket("beat", qos=0, urgent=True))
    assert send_all(queue) == ["fire", "beat"]
    assert queue.acked(1)
    assert send_all(queue) == []
    assert queue.acked(2)
    assert send_all(queue) == ["c"]


def test_a_lost_connection_resends_in_order_and_drops_qos_0_and_withdrawn_ones() -> None:
    queue = SendQueue()
    tickets = [ticket("a"), ticket("b"), ticket("beat", qos=0), ticket("c")]
    for t in tickets[:2]:
        queue.add(t)
    send_all(queue)
    queue.add(tickets[2])
    queue.add(tickets[3])
    tickets[0].withdraw()
    queue.connection_lost()
    queue.connected(session_present=True)
    assert send_all(queue) == ["b", "c"]
    assert tickets[0].dropped
    assert tickets[2].dropped
    assert (tickets[1].dup, tickets[3].dup) == (True, False)


def test_order_holds_over_a_connection_that_breaks_while_resending() -> None:
    queue = SendQueue()
    for name in "abcd":
        queue.add(ticket(name))
    send_all(queue)
    queue.connection_lost()
    queue.connected(session_present=True)
    assert queue.next(0).payload == b"a"
    queue.connection_lost()
    queue.connected(session_present=True)
    assert send_all(queue) == ["a", "b", "c", "d"]


def test_packet_ids_are_never_shared_and_wrap() -> None:
    queue = SendQueue()
    queue.add(ticket("long"))
    long = queue.next(0)
    for _ in range(70_000):
        queue.add(ticket("x"))
        t = queue.next(0)
        assert 1 <= t.packet_id <= 0xFFFF
        assert t.packet_id != long.packet_id
        assert queue.acked(t.packet_id)
    assert not queue.acked(12_345)
    assert queue.acked(long.packet_id)
    assert len(queue) == 0


def test_a_withdrawn_message_awaits_its_puback_but_is_not_sent_again() -> None:
    queue = SendQueue()
    t = ticket("a")
    queue.add(t)
    send_all(queue)
    t.withdraw()
    assert queue.oldest_sent_ms() == 0
    assert queue.acked(t.packet_id)
    assert t.acked
