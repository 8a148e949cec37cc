"""What commissioning did, for people and for scripts."""

import dataclasses
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bongsu.cli.output import seconds, table
from bongsu.cli.port_lines import ENDED

if TYPE_CHECKING:
    from bongsu.install.batch import Wanted
    from bongsu.install.commission import Outcome
    from bongsu.receiver.shop_list import Fault

Row = dict[str, Any]


def outcome_row(outcome: "Outcome") -> Row:
    """One board, for scripts."""
    err = outcome.error
    return {
        "port": outcome.port,
        "node": outcome.node_id,
        "unit": outcome.unit,
        "board": outcome.board,
        "done": outcome.done,
        "record": outcome.record,
        "steps": [
            {"step": step.name, "state": step.state, "took_ms": step.took_ms, "said": step.said}
            for step in outcome.steps
        ],
        "took_ms": outcome.took_ms,
        "error": None if err is None else {"step": outcome.failed_step, "message": err.message, "next": err.next_step},
    }


def outcome_text(outcome: "Outcome") -> str:
    """One board, for people."""
    rows = [
        {
            "step": step.name.replace("_", " "),
            "state": ENDED.get(step.state, step.state),
            "took": seconds(step.took_ms),
            "what": step.said,
        }
        for step in outcome.steps
    ]
    steps = table(rows, ["step", "state", "took", "what"]) if rows else ""
    if not outcome.done:
        return steps
    return f"{steps}\nNode {outcome.node_id} is in service in {outcome.unit}, after {seconds(outcome.took_ms)}"


def list_rows(
    wanted: "Sequence[Wanted]", taken: Mapping[int, str], before: Container[int], outcomes: "Sequence[Outcome]"
) -> list[Row]:
    """The list, line by line: what is done and what is not, and why. `taken`: the node by line; `before`: lines that
    were done already.
    """
    last = {outcome.node_id: outcome for outcome in outcomes if outcome.node_id is not None}
    return [_list_row(row, taken.get(row.line), row.line in before, last) for row in wanted]


def _list_row(row: "Wanted", node_id: str | None, before: bool, last: "Mapping[str, Outcome]") -> Row:
    made: Row = {"line": row.line, "unit": row.place.address, "node": node_id or row.node_id}
    outcome = last.get(node_id) if node_id is not None else None
    if outcome is None:
        state = "done before" if before else "not begun" if node_id is None else "not done: stopped"
        absent = "this board was found at no port" if node_id is None and row.node_id is not None else None
        return made | {"done": before, "state": state, "took_ms": None, "why": absent, "next": None}
    err = outcome.error
    state = "done" if outcome.done else f"not done: {(outcome.failed_step or 'find').replace('_', ' ')}"
    why = (err.message, err.next_step) if err is not None else (None, None)
    return made | {
        "done": outcome.done,
        "state": state,
        "took_ms": outcome.took_ms,
        "why": why[0],
        "next": why[1],
    }


def strays(taken: Mapping[int, str], outcomes: "Sequence[Outcome]") -> "list[Outcome]":
    """Boards at a port that came to no line of the list, by port: which ended first says nothing."""
    known = set(taken.values())
    return sorted((outcome for outcome in outcomes if outcome.node_id not in known), key=lambda outcome: outcome.port)


def list_text(rows: Sequence[Row], lost: "Sequence[Outcome]") -> str:
    """The report of a list, for people."""
    shown = [{**row, "took": None if row["took_ms"] is None else seconds(row["took_ms"])} for row in rows]
    done = sum(row["done"] for row in rows)
    text = [table(shown, ["line", "unit", "node", "state", "took", "why"])]
    text += [_of_port(outcome.port, outcome.error.message) for outcome in lost if outcome.error is not None]
    text.append(f"{done} of {len(rows)} are done")
    return "\n".join([*text, *_next_steps(rows, lost)])


def _of_port(port: str, message: str) -> str:
    return message if message.startswith(f"{port}: ") else f"{port}: {message}"


def _next_steps(rows: Sequence[Row], lost: "Sequence[Outcome]") -> list[str]:
    """What to do about what failed, each thing once."""
    steps = [(row["next"], f"line {row['line']}") for row in rows]
    steps += [(outcome.error.next_step, outcome.port) for outcome in lost if outcome.error is not None]
    where: dict[str, list[str]] = {}
    for step, at in steps:
        if step:
            where.setdefault(step, []).append(at)
    return [f"next for {', '.join(at)}: {step}" for step, at in where.items()]


def faults_row(faults: "Sequence[Fault]") -> Row:
    """A list that was refused, for scripts."""
    return {"done": False, "rows": [], "boards": [], "faults": [dataclasses.asdict(fault) for fault in faults]}
