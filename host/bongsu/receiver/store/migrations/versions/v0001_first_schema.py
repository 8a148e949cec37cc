"""First schema: registry, keys, events, incidents, deliveries.

Frozen: later changes are migrations of their own. A test compares the sum of the migrations with schema.py.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite counts up by itself only for INTEGER PRIMARY KEY.
_BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make every table, those that others refer to first."""
    _audit()
    _contact()
    _incident()
    _receiver()
    _refused_frame()
    _responder()
    _site()
    _delivery()
    _responder_site()
    _unit()
    _delivery_attempt()
    _node()
    _unit_contact()
    _command()
    _event()
    _node_broker()
    _node_key()
    _node_live()
    _node_window()


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=100), nullable=False),
        sa.Column("detail", sa.String(length=300), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )


def _contact() -> None:
    op.create_table(
        "contact",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("phone", sa.String(length=16), nullable=False),
        sa.Column("lang", sa.String(length=2), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("lang IN ('ko', 'en')", name=op.f("ck_contact_lang")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact")),
        sa.UniqueConstraint("phone", name=op.f("uq_contact_phone")),
    )


def _incident() -> None:
    op.create_table(
        "incident",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("class_", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("opened_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_event_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_event_id", sa.BigInteger(), nullable=True),
        sa.Column("restored_ms", sa.BigInteger(), nullable=True),
        sa.Column("closed_ms", sa.BigInteger(), nullable=True),
        sa.Column("ack_ms", sa.BigInteger(), nullable=True),
        sa.Column("ack_by", sa.String(length=100), nullable=True),
        sa.Column("ack_event_id", sa.BigInteger(), nullable=True),
        sa.Column("disposition", sa.String(length=16), nullable=True),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("snapshot", sa.JSON(), nullable=False),
        sa.CheckConstraint("(state = 'closed') = (closed_ms IS NOT NULL)", name=op.f("ck_incident_closed_at")),
        sa.CheckConstraint(
            "class_ IN ('fire', 'co_gas', 'fault', 'care', 'exercise')", name=op.f("ck_incident_class_")
        ),
        sa.CheckConstraint(
            "disposition IN ('fire', 'cooking', 'steam', 'dust', 'insect', 'device_fault', 'test', 'unknown')",
            name=op.f("ck_incident_disposition"),
        ),
        sa.CheckConstraint("state IN ('open', 'closed')", name=op.f("ck_incident_state")),
        sa.CheckConstraint(
            "subject LIKE 'unit:%' OR subject LIKE 'node:%' OR subject LIKE 'site:%' OR subject LIKE 'receiver:%'",
            name=op.f("ck_incident_subject"),
        ),
        sa.CheckConstraint("round >= 1", name=op.f("ck_incident_round")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_incident_opened_ms", "incident", ["opened_ms"], unique=False)
    op.create_index(
        "uq_incident_open",
        "incident",
        ["subject", "class_"],
        unique=True,
        sqlite_where=sa.text("state = 'open'"),
        postgresql_where=sa.text("state = 'open'"),
    )


def _receiver() -> None:
    op.create_table(
        "receiver",
        sa.Column("sender", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("mqtt_client_id", sa.String(length=64), nullable=False),
        sa.Column("counter_ceiling", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("retired_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("counter_ceiling BETWEEN 0 AND 4294967295", name=op.f("ck_receiver_counter_ceiling")),
        sa.CheckConstraint("sender BETWEEN 1 AND 65535", name=op.f("ck_receiver_sender")),
        sa.PrimaryKeyConstraint("sender", name=op.f("pk_receiver")),
    )


def _refused_frame() -> None:
    op.create_table(
        "refused_frame",
        sa.Column("node", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=24), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node", "reason", name=op.f("pk_refused_frame")),
    )


def _responder() -> None:
    op.create_table(
        "responder",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("url", sa.String(length=500), nullable=False),
        sa.Column("secret_wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("all_sites", sa.Boolean(create_constraint=True, name="all_sites"), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('station', 'centre')", name=op.f("ck_responder_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_responder")),
    )


def _site() -> None:
    op.create_table(
        "site",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("address", sa.String(length=200), nullable=False),
        sa.Column("tz", sa.String(length=64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('market', 'homes')", name=op.f("ck_site_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_site")),
    )


def _delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("idempotency_key", sa.String(length=64), nullable=False),
        sa.Column("incident_id", _BIG_ID, nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=12), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("recipient", sa.String(length=64), nullable=False),
        sa.Column("target", sa.JSON(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("lease_token", sa.String(length=40), nullable=True),
        sa.Column("lease_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("ref", sa.String(length=200), nullable=True),
        sa.Column("last_error", sa.String(length=300), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("sent_ms", sa.BigInteger(), nullable=True),
        sa.Column("accepted_ms", sa.BigInteger(), nullable=True),
        sa.Column("delivered_ms", sa.BigInteger(), nullable=True),
        sa.Column(
            "escalated", sa.Boolean(create_constraint=True, name="escalated"), server_default=sa.false(), nullable=False
        ),
        sa.CheckConstraint(
            "purpose IN ('alarm', 'restore', 'fault', 'fault_clear', 'prealarm', 'test', 'escalation', 'closed')",
            name=op.f("ck_delivery_purpose"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'sent', 'accepted', 'delivered', 'failed', 'cancelled')",
            name=op.f("ck_delivery_state"),
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_delivery_attempts")),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"], name=op.f("fk_delivery_incident_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_delivery_idempotency_key")),
        sa.UniqueConstraint(
            "incident_id", "channel", "recipient", "seq", name=op.f("uq_delivery_incident_id_channel_recipient_seq")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_delivery_due",
        "delivery",
        ["next_at_ms"],
        unique=False,
        sqlite_where=sa.text("state IN ('pending', 'sent')"),
        postgresql_where=sa.text("state IN ('pending', 'sent')"),
    )


def _responder_site() -> None:
    op.create_table(
        "responder_site",
        sa.Column("responder_id", sa.String(length=32), nullable=False),
        sa.Column("site_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["responder_id"], ["responder.id"], name=op.f("fk_responder_site_responder_id")),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_responder_site_site_id")),
        sa.PrimaryKeyConstraint("responder_id", "site_id", name=op.f("pk_responder_site")),
    )


def _unit() -> None:
    op.create_table(
        "unit",
        sa.Column("site_id", sa.String(length=32), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("place", sa.String(length=200), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=op.f("fk_unit_site_id")),
        sa.PrimaryKeyConstraint("site_id", "id", name=op.f("pk_unit")),
    )


def _delivery_attempt() -> None:
    op.create_table(
        "delivery_attempt",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("delivery_id", _BIG_ID, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("took_ms", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=12), nullable=False),
        sa.Column("detail", sa.String(length=300), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_attempt_delivery_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_attempt")),
    )
    op.create_index("ix_delivery_attempt_delivery_id", "delivery_attempt", ["delivery_id"], unique=False)


def _node() -> None:
    op.create_table(
        "node",
        sa.Column("id", sa.String(length=12), nullable=False),
        sa.Column("site_id", sa.String(length=32), nullable=True),
        sa.Column("unit_id", sa.String(length=32), nullable=True),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('registered', 'provisioned', 'retired')", name=op.f("ck_node_state")),
        sa.CheckConstraint("(site_id IS NULL) = (unit_id IS NULL)", name=op.f("ck_node_assigned_whole")),
        sa.CheckConstraint("length(id) = 12", name=op.f("ck_node_id")),
        sa.ForeignKeyConstraint(
            ["site_id", "unit_id"], ["unit.site_id", "unit.id"], name=op.f("fk_node_site_id_unit_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node")),
    )
    op.create_index("ix_node_unit", "node", ["site_id", "unit_id"], unique=False)


def _unit_contact() -> None:
    op.create_table(
        "unit_contact",
        sa.Column("site_id", sa.String(length=32), nullable=False),
        sa.Column("unit_id", sa.String(length=32), nullable=False),
        sa.Column("contact_id", sa.String(length=32), nullable=False),
        sa.Column("role", sa.String(length=8), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.CheckConstraint("role IN ('owner', 'deputy')", name=op.f("ck_unit_contact_role")),
        sa.ForeignKeyConstraint(["contact_id"], ["contact.id"], name=op.f("fk_unit_contact_contact_id")),
        sa.ForeignKeyConstraint(
            ["site_id", "unit_id"], ["unit.site_id", "unit.id"], name=op.f("fk_unit_contact_site_id_unit_id")
        ),
        sa.PrimaryKeyConstraint("site_id", "unit_id", "contact_id", name=op.f("pk_unit_contact")),
        sa.UniqueConstraint("site_id", "unit_id", "rank", name=op.f("uq_unit_contact_site_id_unit_id_rank")),
    )


def _command() -> None:
    op.create_table(
        "command",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("node_id", sa.String(length=12), nullable=False),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("args", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=True),
        sa.Column("sender", sa.Integer(), nullable=True),
        sa.Column("result", sa.Integer(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("sent_ms", sa.BigInteger(), nullable=True),
        sa.Column("answered_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'sent', 'answered', 'failed', 'expired')", name=op.f("ck_command_state")
        ),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_command_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_command")),
    )
    op.create_index("ix_command_node_id", "command", ["node_id"], unique=False)


def _event() -> None:
    op.create_table(
        "event",
        sa.Column("id", _BIG_ID, nullable=False),
        sa.Column("node_id", sa.String(length=12), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.Column("event_ms", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("phenomena", sa.Integer(), nullable=False),
        sa.Column("criterion", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("sustained_ms", sa.BigInteger(), nullable=False),
        sa.Column("readings", sa.JSON(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("incident_id", _BIG_ID, nullable=True),
        sa.CheckConstraint(
            "kind IN ('alarm', 'prealarm', 'restore', 'fault', 'fault_clear', 'tamper', 'test')",
            name=op.f("ck_event_kind"),
        ),
        sa.CheckConstraint("epoch BETWEEN 1 AND 255", name=op.f("ck_event_epoch")),
        sa.CheckConstraint("number BETWEEN 1 AND 4294967295", name=op.f("ck_event_number")),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"], name=op.f("fk_event_incident_id")),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_event_node_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        sa.UniqueConstraint(
            "node_id", "epoch", "number", "content", name=op.f("uq_event_node_id_epoch_number_content")
        ),
    )
    op.create_index("ix_event_incident_id", "event", ["incident_id"], unique=False)


def _node_broker() -> None:
    op.create_table(
        "node_broker",
        sa.Column("node_id", sa.String(length=12), nullable=False),
        sa.Column("username", sa.String(length=32), nullable=False),
        sa.Column("password_wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("client_id_wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_node_broker_node_id")),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_node_broker")),
        sa.UniqueConstraint("username", name=op.f("uq_node_broker_username")),
    )


def _node_key() -> None:
    op.create_table(
        "node_key",
        sa.Column("node_id", sa.String(length=12), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("activated_ms", sa.BigInteger(), nullable=True),
        sa.Column("valid_until_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(state = 'old') <= (valid_until_ms IS NOT NULL)", name=op.f("ck_node_key_old_ends")),
        sa.CheckConstraint("state IN ('pending', 'active', 'old', 'retired')", name=op.f("ck_node_key_state")),
        sa.CheckConstraint("epoch BETWEEN 1 AND 255", name=op.f("ck_node_key_epoch")),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_node_key_node_id")),
        sa.PrimaryKeyConstraint("node_id", "epoch", name=op.f("pk_node_key")),
    )
    op.create_index(
        "uq_node_key_active",
        "node_key",
        ["node_id"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )


def _node_live() -> None:
    op.create_table(
        "node_live",
        sa.Column("node_id", sa.String(length=12), nullable=False),
        sa.Column("last_seen_ms", sa.BigInteger(), nullable=True),
        sa.Column("heartbeat", sa.JSON(), nullable=True),
        sa.Column("silent", sa.Boolean(create_constraint=True, name="silent"), nullable=False),
        sa.Column("silent_since_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_node_live_node_id")),
        sa.PrimaryKeyConstraint("node_id", name=op.f("pk_node_live")),
    )


def _node_window() -> None:
    op.create_table(
        "node_window",
        sa.Column("node_id", sa.String(length=12), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("high", sa.BigInteger(), nullable=False),
        sa.Column("bitmap", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("epoch BETWEEN 1 AND 255", name=op.f("ck_node_window_epoch")),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_node_window_node_id")),
        sa.PrimaryKeyConstraint("node_id", "epoch", name=op.f("pk_node_window")),
    )
