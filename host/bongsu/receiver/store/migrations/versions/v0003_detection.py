"""The minute before an alarm, what each node's detector was told, what is fitted to it, which units are next to each
other; air quality: readings and rollups, advisories, and which table of levels a site goes by.

Only new tables and new columns, as in 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_LEVELS = "('good', 'moderate', 'bad', 'very_bad', 'hazardous')"


def upgrade() -> None:
    """Add what 0002 did not have."""
    _detection()
    _air()


def _detection() -> None:
    op.add_column("unit", sa.Column("next_to", sa.String(400), nullable=False, server_default=""))
    op.add_column("node", sa.Column("profile", sa.String(32), nullable=False, server_default=""))
    op.add_column("node", sa.Column("detector", sa.JSON()))
    op.add_column("node", sa.Column("sensors", sa.JSON()))
    op.add_column("node", sa.Column("reading_s", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "event_history",
        sa.Column("node_id", sa.String(12), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("first", sa.Integer(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("epoch BETWEEN 1 AND 255", name=op.f("ck_event_history_epoch")),
        sa.CheckConstraint("number BETWEEN 1 AND 4294967295", name=op.f("ck_event_history_number")),
        sa.CheckConstraint("first BETWEEN 0 AND 254", name=op.f("ck_event_history_first")),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_event_history_node_id")),
        sa.PrimaryKeyConstraint("node_id", "epoch", "number", "first", name=op.f("pk_event_history")),
    )
    op.create_index("ix_event_history_received_ms", "event_history", ["received_ms"])


def _air() -> None:
    op.add_column("site", sa.Column("air_table", sa.String(32), nullable=False, server_default="korea"))
    op.execute(
        "ALTER TABLE site ADD COLUMN air_advise_at VARCHAR(12) DEFAULT 'bad' NOT NULL"
        f" CONSTRAINT ck_site_air_advise_at CHECK (air_advise_at IN {_LEVELS})"
    )
    op.create_table(
        "air_pack",
        sa.Column("node", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("level", sa.SmallInteger(), nullable=False, autoincrement=False),
        sa.Column("slot", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("level BETWEEN 0 AND 2", name=op.f("ck_air_pack_level")),
        sa.PrimaryKeyConstraint("node", "level", "slot", name=op.f("pk_air_pack")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "air_advisory",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("subject", sa.String(80), nullable=False),
        sa.Column("site_id", sa.String(32)),
        sa.Column("quantity", sa.String(32), nullable=False),
        sa.Column("level_table", sa.String(32), nullable=False),
        sa.Column("level", sa.String(12), nullable=False),
        sa.Column("worst", sa.String(12), nullable=False),
        sa.Column("average", sa.Float(), nullable=False),
        sa.Column("averaging", sa.String(4), nullable=False),
        sa.Column("limit_said", sa.String(40), nullable=False),
        sa.Column("node_id", sa.String(12), nullable=False),
        sa.Column("began_ms", sa.BigInteger(), nullable=False),
        sa.Column("level_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.Column("ending", sa.String(16)),
        sa.CheckConstraint("(ending IS NULL) = (ended_ms IS NULL)", name=op.f("ck_air_advisory_ended_whole")),
        sa.CheckConstraint(f"level IN {_LEVELS}", name=op.f("ck_air_advisory_level")),
        sa.CheckConstraint(f"worst IN {_LEVELS}", name=op.f("ck_air_advisory_worst")),
        sa.CheckConstraint("ending IN ('recovered', 'no_data', 'table_changed')", name=op.f("ck_air_advisory_ending")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_air_advisory")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_air_advisory_standing",
        "air_advisory",
        ["subject", "quantity"],
        unique=True,
        sqlite_where=sa.text("ended_ms IS NULL"),
        postgresql_where=sa.text("ended_ms IS NULL"),
    )
