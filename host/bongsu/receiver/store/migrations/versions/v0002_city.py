"""Several receivers, exercises, verification, the console's users, duty rosters, and units described in full.

Only new tables and new columns: SQLite would have to copy a table for anything else. A new column's CHECK is part of
its ADD COLUMN, which both engines understand.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# SQLite counts up by itself only for INTEGER PRIMARY KEY.
_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add what 0001 did not have."""
    _columns()
    _people()
    _exercise()
    _console()
    _cluster()
    _records()


def _columns() -> None:
    op.add_column("site", sa.Column("area", sa.String(64), nullable=False, server_default=""))
    op.execute(
        "ALTER TABLE site ADD COLUMN dispatch_policy VARCHAR(12) DEFAULT 'on_alarm' NOT NULL"
        " CONSTRAINT ck_site_dispatch_policy CHECK (dispatch_policy IN ('on_alarm', 'on_verified'))"
    )
    op.add_column("site", sa.Column("unverified_after_s", sa.Integer(), nullable=False, server_default="15"))
    for name, length in (("floor", 20), ("stall", 20), ("hours", 200)):
        op.add_column("unit", sa.Column(name, sa.String(length), nullable=False, server_default=""))
    for name in ("lat", "lon"):
        op.add_column("unit", sa.Column(name, sa.Float()))
    op.add_column("incident", sa.Column("closed_by", sa.String(100)))
    op.add_column("incident", sa.Column("verified_ms", sa.BigInteger()))
    op.add_column("incident", sa.Column("verified_by", sa.String(100)))
    op.add_column("incident", sa.Column("held_until_ms", sa.BigInteger()))
    op.add_column("incident", sa.Column("exercise_id", sa.Integer()))
    op.add_column("receiver", sa.Column("last_seen_ms", sa.BigInteger()))
    op.add_column("receiver", sa.Column("host", sa.String(100), nullable=False, server_default=""))
    op.add_column("receiver", sa.Column("version", sa.String(32), nullable=False, server_default=""))


def _people() -> None:
    op.create_table(
        "responder_area",
        sa.Column("responder_id", sa.String(32), nullable=False),
        sa.Column("area", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["responder_id"], ["responder.id"], name=op.f("fk_responder_area_responder_id")),
        sa.PrimaryKeyConstraint("responder_id", "area", name=op.f("pk_responder_area")),
    )
    op.create_table(
        "duty",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("site_id", sa.String(32)),
        sa.Column("contact_id", sa.String(32), nullable=False),
        sa.Column("days", sa.String(32), nullable=False),
        sa.Column("from_min", sa.Integer(), nullable=False),
        sa.Column("to_min", sa.Integer(), nullable=False),
        sa.Column("valid_from_ms", sa.BigInteger()),
        sa.Column("valid_until_ms", sa.BigInteger()),
        sa.Column("rank", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("from_min BETWEEN 0 AND 1439", name=op.f("ck_duty_from_min")),
        sa.CheckConstraint("to_min BETWEEN 0 AND 1440", name=op.f("ck_duty_to_min")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_duty_site_id")),
        sa.ForeignKeyConstraint(["contact_id"], ["contact.id"], name=op.f("fk_duty_contact_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_duty")),
    )


def _exercise() -> None:
    op.create_table(
        "exercise",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("site_id", sa.String(32), nullable=False),
        sa.Column("note", sa.String(200), nullable=False, server_default=""),
        sa.Column("begun_by", sa.String(100), nullable=False),
        sa.Column("begins_ms", sa.BigInteger(), nullable=False),
        sa.Column("ends_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.Column("ended_by", sa.String(100)),
        sa.CheckConstraint("ends_ms > begins_ms", name=op.f("ck_exercise_ends")),
        sa.CheckConstraint("ends_ms <= begins_ms + 14400000", name=op.f("ck_exercise_at_most_4_h")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_exercise_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exercise")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "exercise_unit",
        sa.Column("exercise_id", _BIG_ID, nullable=False),
        sa.Column("unit_id", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(["exercise_id"], ["exercise.id"], name=op.f("fk_exercise_unit_exercise_id")),
        sa.PrimaryKeyConstraint("exercise_id", "unit_id", name=op.f("pk_exercise_unit")),
    )


def _console() -> None:
    op.create_table(
        "operator",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("full_name", sa.String(100), nullable=False, server_default=""),
        sa.Column("role", sa.String(8), nullable=False),
        sa.Column("lang", sa.String(2), nullable=False),
        sa.Column("password_hash", sa.String(200), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.Column("disabled_ms", sa.BigInteger()),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name=op.f("ck_operator_role")),
        sa.CheckConstraint("lang IN ('ko', 'en')", name=op.f("ck_operator_lang")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_operator")),
    )
    op.create_table(
        "console_session",
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("operator", sa.String(32), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.Column("ends_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["operator"], ["operator.name"], name=op.f("fk_console_session_operator")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_console_session")),
    )


def _cluster() -> None:
    op.create_table(
        "change",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("sender", sa.Integer()),
        sa.Column("topic", sa.String(16), nullable=False),
        sa.Column("what", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )


def _records() -> None:
    op.add_column("audit", sa.Column("chain", sa.LargeBinary()))
    op.create_table(
        "event_past",
        sa.Column("node_id", sa.String(12), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_event_past_node_id")),
        sa.PrimaryKeyConstraint("node_id", "epoch", "number", "digest", name=op.f("pk_event_past")),
    )
