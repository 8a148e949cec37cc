"""How boards came into service: records of commissioning, and walk tests.

Only new tables.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OUTCOMES = "('received', 'texted', 'no_contact', 'no_sms', 'alarm_open', 'expired', 'cancelled')"


def upgrade() -> None:
    """Add what 0003 did not have."""
    _walk_tests()
    _commissioning()


def _walk_tests() -> None:
    op.create_table(
        "walk_test",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("node_id", sa.String(12), nullable=False),
        sa.Column("begun_by", sa.String(100), nullable=False),
        sa.Column("begun_ms", sa.BigInteger(), nullable=False),
        sa.Column("ends_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.Column("outcome", sa.String(12)),
        sa.Column("event_id", sa.BigInteger()),
        sa.Column("delivery_id", sa.BigInteger()),
        sa.CheckConstraint("(outcome IS NULL) = (ended_ms IS NULL)", name=op.f("ck_walk_test_ended_whole")),
        sa.CheckConstraint(
            "ends_ms > begun_ms AND ends_ms <= begun_ms + 900000", name=op.f("ck_walk_test_at_most_15_min")
        ),
        sa.CheckConstraint(f"outcome IN {_OUTCOMES}", name=op.f("ck_walk_test_outcome")),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_walk_test_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_walk_test")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_walk_test_running",
        "walk_test",
        ["node_id"],
        unique=True,
        sqlite_where=sa.text("ended_ms IS NULL"),
        postgresql_where=sa.text("ended_ms IS NULL"),
    )


def _commissioning() -> None:
    op.create_table(
        "commissioning",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("node_id", sa.String(12), nullable=False),
        sa.Column("site_id", sa.String(32), nullable=False, server_default=""),
        sa.Column("unit_id", sa.String(32), nullable=False, server_default=""),
        sa.Column("installer", sa.String(100), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("board", sa.String(32), nullable=False, server_default=""),
        sa.Column("image", sa.String(100), nullable=False, server_default=""),
        sa.Column("image_sha256", sa.String(64), nullable=False, server_default=""),
        sa.Column("app_sha256", sa.String(64), nullable=False, server_default=""),
        sa.Column("key_epoch", sa.Integer()),
        sa.Column("rssi_dbm", sa.Integer()),
        sa.Column("round_trip_ms", sa.Integer()),
        sa.Column("walk_test_id", sa.BigInteger()),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("begun_ms", sa.BigInteger(), nullable=False),
        sa.Column("done_ms", sa.BigInteger()),
        sa.CheckConstraint("length(node_id) = 12", name=op.f("ck_commissioning_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commissioning")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_commissioning_open",
        "commissioning",
        ["node_id"],
        unique=True,
        sqlite_where=sa.text("done_ms IS NULL"),
        postgresql_where=sa.text("done_ms IS NULL"),
    )
    op.create_index("ix_commissioning_node_id", "commissioning", ["node_id"])
