"""The console's words, Korean and English: its own (data/words.toml) and those that messages have too."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from bongsu.channels.texts import LANGS, Words, load_messages
from bongsu.receiver import histories
from bongsu.receiver.air.levels import AVERAGING_S
from bongsu.receiver.air.quantities import BY_NAME
from bongsu.receiver.store import schema


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """data/words.toml."""

    ui: dict[str, Words]
    classes: dict[str, Words]
    phases: dict[str, Words]
    purposes: dict[str, Words]
    states: dict[str, Words]
    channels: dict[str, Words]
    dispositions: dict[str, Words]
    roles: dict[str, Words]
    kinds: dict[str, Words]
    readings: dict[str, Words]
    quantities: dict[str, Words]
    air_levels: dict[str, Words]
    air_quantities: dict[str, Words]
    air_units: dict[str, Words]
    air_averaging: dict[str, Words]
    faults: dict[str, Words]
    trouble: dict[str, Words]


@cache
def load_words() -> dict[str, dict[str, Words]]:
    """All words by group and name, checked whole. Raises ValueError naming what is missing."""
    text = files("bongsu.console").joinpath("data/words.toml").read_text(encoding="utf-8")
    table: dict[str, Any] = msgspec.to_builtins(msgspec.convert(tomllib.loads(text), Table))
    messages = load_messages()
    groups: dict[str, dict[str, Words]] = {
        **table,
        "phenomena": messages.phenomena,
        "criteria": messages.criteria,
        "faults": {**messages.faults, **table["faults"]},
    }
    for group, entries in groups.items():
        for name, words in entries.items():
            if set(words) != set(LANGS) or not all(words.values()):
                raise ValueError(f"words: [{group}] {name} must have {' and '.join(LANGS)}")
    _check_whole(groups)
    return groups


def _check_whole(groups: dict[str, dict[str, Words]]) -> None:
    for group, needed in (
        ("classes", schema.INCIDENT_CLASSES),
        ("purposes", schema.DELIVERY_PURPOSES),
        ("states", schema.DELIVERY_STATES),
        ("dispositions", schema.DISPOSITIONS),
        ("roles", schema.OPERATOR_ROLES),
        ("kinds", schema.EVENT_KINDS),
        ("quantities", tuple(name for name, _ in histories.SHOWN.values())),
        ("air_levels", schema.AIR_LEVELS),
        ("air_quantities", BY_NAME),
        ("air_averaging", AVERAGING_S),
    ):
        if missing := set(needed) - set(groups[group]):
            raise ValueError(f"words: [{group}] lacks {sorted(missing)}")
