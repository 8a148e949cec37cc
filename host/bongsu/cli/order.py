"""`bongsu node order`: a command to a board, sealed by the receiver and answered by the node."""

import time

import click

from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done
from bongsu.errors import BongsuError

# What a node of this firmware carries out; the wire knows more (DESIGN section 5).
ORDERS = ("test", "identify", "silence", "reset")
_LOOK_S = 0.2


@click.command()
@click.argument("node_id", metavar="MAC")
@click.argument("order_name", metavar="ORDER", type=click.Choice(ORDERS))
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0, 600), default=60.0, show_default=True, help="Seconds for the answer."
)
@data_option
@json_option
@pass_installation
def order(installation: Installation, node_id: str, order_name: str, wait_s: float, json_wanted: bool) -> None:
    """Tell a board to do something, and wait for its answer. The receiver must be running.

    \b
    test      chirp, and send a test event (never dispatched)
    identify  flash the lamp, so that the board can be found
    silence   siren off for 10 minutes at most; a new alarm sounds again
    reset     end an alarm whose cause is over

    It goes out as soon as the node has been heard: within 45 s.
    """
    from bongsu.receiver import fields, orders

    node = fields.node_id(node_id)
    with installation.writing("outbox") as conn:
        order_id = orders.place(conn, node, order_name, actor=actor(), now_ms=now_ms())
    result = await_answer(installation, node, order_id, wait_s)
    if result not in (None, "done"):
        raise BongsuError(f"node {node} answers: {result}", "A reset is refused while its cause stands.")
    text = f"Node {node}: {order_name} {'asked for' if result is None else result}"
    done(text, {"node": node, "order": order_name, "result": result}, json_wanted=json_wanted)


def await_answer(installation: Installation, node: str, order_id: int, wait_s: float) -> str | None:
    """The node's answer; None if it is not waited for (0 s). Raises BongsuError if there is none in time."""
    result = _look_for_answer(installation, order_id, wait_s)
    if wait_s and result is None:
        raise BongsuError(
            f"node {node} has not answered within {wait_s:g} s",
            _next_step(installation, node, order_id),
        )
    return result


def _next_step(installation: Installation, node: str, order_id: int) -> str:
    """An order goes out once: one that met a node in its restart is lost, and stands for nothing any more."""
    from bongsu.receiver import orders

    with installation.reading() as conn:
        if orders.is_sent(conn, order_id):
            return f"It was sent, and the node was out of reach or in a restart: bongsu node show {node}. Try again."
    return f"Is it in service, and the receiver running? bongsu node show {node}. The order stands for 10 minutes."


def _look_for_answer(installation: Installation, order_id: int, wait_s: float) -> str | None:
    from bongsu.receiver import orders

    end = time.monotonic() + wait_s
    with installation.store() as store:
        while True:
            with store.read() as conn:
                answer = orders.answer_of(conn, order_id)
            if answer is not None or time.monotonic() >= end:
                return answer
            time.sleep(_LOOK_S)
