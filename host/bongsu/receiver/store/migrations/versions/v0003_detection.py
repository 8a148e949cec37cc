"""The minute before an alarm, what each node's detector was told, and which units are next to each other.

Only new tables and new columns, as in 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add what 0002 did not have."""
    op.add_column("unit", sa.Column("next_to", sa.String(400), nullable=False, server_default=""))
    op.add_column("node", sa.Column("profile", sa.String(32), nullable=False, server_default=""))
    op.add_column("node", sa.Column("detector", sa.JSON()))
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
