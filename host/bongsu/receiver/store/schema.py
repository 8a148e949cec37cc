"""Tables of the store, for SQLite and PostgreSQL (SQLAlchemy Core).

Times are UTC milliseconds since 1970 (columns ``*_ms``). Enumerations are text with a CHECK, built from the tuples
below, which are the one list of their values. The migration in migrations/versions holds the frozen form; a test
compares the two.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

SITE_KINDS = ("market", "homes")
LANGS = ("ko", "en")
CONTACT_ROLES = ("owner", "deputy")
RESPONDER_KINDS = ("station", "centre")
NODE_STATES = ("registered", "provisioned", "retired")
KEY_STATES = ("pending", "active", "old", "retired")
EVENT_KINDS = ("alarm", "prealarm", "restore", "fault", "fault_clear", "tamper", "test")
INCIDENT_CLASSES = ("fire", "co_gas", "fault", "care", "exercise")
INCIDENT_STATES = ("open", "closed")
DISPOSITIONS = ("fire", "cooking", "steam", "dust", "insect", "device_fault", "test", "unknown")
SUBJECT_KINDS = ("unit", "node", "site", "receiver")
DELIVERY_PURPOSES = ("alarm", "restore", "fault", "fault_clear", "prealarm", "test", "escalation", "closed")
DELIVERY_STATES = ("pending", "sent", "accepted", "delivered", "failed", "cancelled")
DISPATCH_POLICIES = ("on_alarm", "on_verified")
OPERATOR_ROLES = ("viewer", "operator", "admin")
AIR_LEVELS = ("good", "moderate", "bad", "very_bad", "hazardous")
AIR_ENDINGS = ("recovered", "no_data", "table_changed")
COMMAND_STATES = ("pending", "sent", "answered", "failed", "expired")
WALK_TEST_OUTCOMES = ("received", "texted", "no_contact", "no_sms", "alarm_open", "expired", "cancelled")

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)

# SQLite counts up by itself only for INTEGER PRIMARY KEY.
_BIG_ID = BigInteger().with_variant(Integer, "sqlite")


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


site = Table(
    "site",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("address", String(200), nullable=False),
    Column("tz", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("area", String(64), nullable=False, server_default=""),  # whose responders cover it (responder_area)
    Column("dispatch_policy", String(12), nullable=False, server_default="on_alarm"),
    Column("unverified_after_s", Integer, nullable=False, server_default="15"),  # of on_verified: it goes out anyway
    Column("air_table", String(32), nullable=False, server_default="korea"),  # data/air_levels.toml
    Column("air_advise_at", String(12), nullable=False, server_default="bad"),  # from this level on
    _one_of("kind", SITE_KINDS),
    _one_of("dispatch_policy", DISPATCH_POLICIES),
    _one_of("air_advise_at", AIR_LEVELS),
)

unit = Table(
    "unit",
    metadata,
    Column("site_id", String(32), ForeignKey("site.id"), primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("place", String(200), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("floor", String(20), nullable=False, server_default=""),
    Column("stall", String(20), nullable=False, server_default=""),
    Column("hours", String(200), nullable=False, server_default=""),  # opening hours, as fields.py writes them
    Column("lat", Float),  # degrees, WGS 84
    Column("lon", Float),
    Column("next_to", String(400), nullable=False, server_default=""),  # units of the site beside it: "a-06 a-08"
)

contact = Table(
    "contact",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("phone", String(16), nullable=False, unique=True),  # E.164: "+" and at most 15 digits
    Column("lang", String(2), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    _one_of("lang", LANGS),
)

unit_contact = Table(
    "unit_contact",
    metadata,
    Column("site_id", String(32), primary_key=True),
    Column("unit_id", String(32), primary_key=True),
    Column("contact_id", String(32), ForeignKey("contact.id"), primary_key=True),
    Column("role", String(8), nullable=False),
    Column("rank", Integer, nullable=False),  # order of calling: 0 first
    ForeignKeyConstraint(["site_id", "unit_id"], ["unit.site_id", "unit.id"]),
    UniqueConstraint("site_id", "unit_id", "rank"),
    _one_of("role", CONTACT_ROLES),
)

responder = Table(
    "responder",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("name", String(100), nullable=False),
    Column("url", String(500), nullable=False),
    Column("secret_wrapped", LargeBinary, nullable=False),  # by the master key, purpose "responder:<id>"
    Column("rank", Integer, nullable=False),
    Column("all_sites", Boolean(create_constraint=True, name="all_sites"), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    _one_of("kind", RESPONDER_KINDS),
)

responder_site = Table(
    "responder_site",
    metadata,
    Column("responder_id", String(32), ForeignKey("responder.id"), primary_key=True),
    Column("site_id", String(32), ForeignKey("site.id"), primary_key=True),
)

responder_area = Table(
    "responder_area",
    metadata,
    Column("responder_id", String(32), ForeignKey("responder.id"), primary_key=True),
    Column("area", String(64), primary_key=True),
)

# Who is on duty for a site (null: for all of them) and when, by the site's own clock: told at once, beside the owner.
duty = Table(
    "duty",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("site_id", String(32), ForeignKey("site.id")),
    Column("contact_id", String(32), ForeignKey("contact.id"), nullable=False),
    Column("days", String(32), nullable=False),  # "mon,tue,...": on which days a shift begins
    Column("from_min", Integer, nullable=False),  # minutes since midnight
    Column("to_min", Integer, nullable=False),  # not after from_min: on the next day
    Column("valid_from_ms", BigInteger),
    Column("valid_until_ms", BigInteger),
    Column("rank", Integer, nullable=False, server_default="0"),
    Column("created_ms", BigInteger, nullable=False),
    CheckConstraint("from_min BETWEEN 0 AND 1439", name="from_min"),
    CheckConstraint("to_min BETWEEN 0 AND 1440", name="to_min"),
)

node = Table(
    "node",
    metadata,
    Column("id", String(12), primary_key=True),
    Column("site_id", String(32)),
    Column("unit_id", String(32)),
    Column("label", String(100), nullable=False),
    Column("state", String(12), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("profile", String(32), nullable=False, server_default=""),  # of its detector; "": never chosen
    Column("detector", JSON),  # numbers of the detector that differ from the profile's, by name
    Column("sensors", JSON),  # {"fitted": entries of node.json, "told": false if the board's own}
    Column("reading_s", Integer, nullable=False, server_default="0"),  # interval of its readings of the air; 0: none
    ForeignKeyConstraint(["site_id", "unit_id"], ["unit.site_id", "unit.id"]),
    CheckConstraint("(site_id IS NULL) = (unit_id IS NULL)", name="assigned_whole"),
    CheckConstraint("length(id) = 12", name="id"),
    _one_of("state", NODE_STATES),
)
Index("ix_node_unit", node.c.site_id, node.c.unit_id)

node_key = Table(
    "node_key",
    metadata,
    Column("node_id", String(12), ForeignKey("node.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("wrapped", LargeBinary, nullable=False),  # by the master key, purpose "node-key:<node>:<epoch>"
    Column("state", String(8), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("activated_ms", BigInteger),
    Column("valid_until_ms", BigInteger),  # of an old key
    CheckConstraint("epoch BETWEEN 1 AND 255", name="epoch"),
    CheckConstraint("(state = 'old') <= (valid_until_ms IS NOT NULL)", name="old_ends"),
    _one_of("state", KEY_STATES),
)
Index(
    "uq_node_key_active",
    node_key.c.node_id,
    unique=True,
    sqlite_where=text("state = 'active'"),
    postgresql_where=text("state = 'active'"),
)

node_broker = Table(
    "node_broker",
    metadata,
    Column("node_id", String(12), ForeignKey("node.id"), primary_key=True),
    Column("username", String(32), nullable=False, unique=True),
    Column("password_wrapped", LargeBinary, nullable=False),  # purpose "broker-password:<node>"
    Column("client_id_wrapped", LargeBinary, nullable=False),  # purpose "broker-client:<node>"
    Column("created_ms", BigInteger, nullable=False),
)

node_live = Table(
    "node_live",
    metadata,
    Column("node_id", String(12), ForeignKey("node.id"), primary_key=True),
    Column("last_seen_ms", BigInteger),
    Column("heartbeat", JSON),  # fields of the last one, as bongsu_wire.payload.Heartbeat names them
    Column("silent", Boolean(create_constraint=True, name="silent"), nullable=False),
    Column("silent_since_ms", BigInteger),
)

# Replay window of heartbeats and readings, one per key epoch.
node_window = Table(
    "node_window",
    metadata,
    Column("node_id", String(12), ForeignKey("node.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("high", BigInteger, nullable=False),  # highest uplink counter accepted
    Column("bitmap", BigInteger, nullable=False),  # at most 63 counters below it, bit 0 = high itself
    CheckConstraint("epoch BETWEEN 1 AND 255", name="epoch"),
)

incident = Table(
    "incident",
    metadata,
    Column("id", _BIG_ID, primary_key=True),
    Column(
        "subject", String(80), nullable=False
    ),  # "unit:<site>/<unit>", "node:<id>", "site:<id>", "receiver:<sender>"
    Column("class_", String(8), nullable=False),
    Column("state", String(8), nullable=False),
    Column("round", Integer, nullable=False),
    Column("opened_ms", BigInteger, nullable=False),
    Column("last_event_ms", BigInteger, nullable=False),
    Column("last_event_id", BigInteger),
    Column("restored_ms", BigInteger),
    Column("closed_ms", BigInteger),
    Column("ack_ms", BigInteger),
    Column("ack_by", String(100)),
    Column("ack_event_id", BigInteger),  # the last event that who acknowledged had seen
    Column("disposition", String(16)),
    Column("note", Text, nullable=False, server_default=""),
    Column("snapshot", JSON, nullable=False),  # unit, contacts, node as they were
    Column("closed_by", String(100)),
    Column("verified_ms", BigInteger),
    Column("verified_by", String(100)),  # incidents.Incident has the values
    Column("held_until_ms", BigInteger),  # its dispatch waits for verification, or for the answer in an exercise
    Column("exercise_id", Integer),  # the exercise that its unit was part of when it was opened
    CheckConstraint("round >= 1", name="round"),
    CheckConstraint("(state = 'closed') = (closed_ms IS NOT NULL)", name="closed_at"),
    CheckConstraint(
        " OR ".join(f"subject LIKE '{kind}:%'" for kind in SUBJECT_KINDS),
        name="subject",
    ),
    _one_of("class_", INCIDENT_CLASSES),
    _one_of("state", INCIDENT_STATES),
    _one_of("disposition", DISPOSITIONS),
    sqlite_autoincrement=True,  # a number once told to people is never given again
)
Index(
    "uq_incident_open",
    incident.c.subject,
    incident.c.class_,
    unique=True,
    sqlite_where=text("state = 'open'"),
    postgresql_where=text("state = 'open'"),
)
Index("ix_incident_opened_ms", incident.c.opened_ms)

event = Table(
    "event",
    metadata,
    Column("id", _BIG_ID, primary_key=True),
    Column("node_id", String(12), ForeignKey("node.id"), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("event_ms", BigInteger),  # received less age; null when the node did not know the age
    Column("kind", String(12), nullable=False),
    Column("phenomena", Integer, nullable=False),  # bits of bongsu_wire.kinds
    Column("criterion", String(16), nullable=False),
    Column("detail", Integer, nullable=False),
    Column("count", Integer, nullable=False),
    Column("sustained_ms", BigInteger, nullable=False),
    Column("readings", JSON, nullable=False),
    Column("content", LargeBinary, nullable=False),  # payload.event_content: the encoded event without its age
    Column("incident_id", _BIG_ID, ForeignKey("incident.id")),
    # The event key is node + epoch + number. Content belongs to the constraint because a known key with other content
    # is a new event plus a fault (DESIGN section 5); a repeat of the same event still conflicts.
    UniqueConstraint("node_id", "epoch", "number", "content"),
    CheckConstraint("epoch BETWEEN 1 AND 255", name="epoch"),
    CheckConstraint("number BETWEEN 1 AND 4294967295", name="number"),
    _one_of("kind", EVENT_KINDS),
)
Index("ix_event_incident_id", event.c.incident_id)

# What retention leaves of an event: enough to know a late repeat of it.
event_past = Table(
    "event_past",
    metadata,
    Column("node_id", String(12), ForeignKey("node.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("digest", LargeBinary, primary_key=True),  # the first 16 bytes of SHA-256 over the event's content
)

# The minute before an alarm, in the parts in which the node sends it. A part may be here before its event is.
event_history = Table(
    "event_history",
    metadata,
    Column("node_id", String(12), ForeignKey("node.id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("number", BigInteger, primary_key=True),  # the alarm's event number
    Column("first", Integer, primary_key=True),  # the row with which the part begins
    Column("received_ms", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),  # as sent: bongsu_wire.measured.History
    CheckConstraint("epoch BETWEEN 1 AND 255", name="epoch"),
    CheckConstraint("number BETWEEN 1 AND 4294967295", name="number"),
    CheckConstraint("first BETWEEN 0 AND 254", name="first"),
)
Index("ix_event_history_received_ms", event_history.c.received_ms)

delivery = Table(
    "delivery",
    metadata,
    Column("id", _BIG_ID, primary_key=True),
    Column("idempotency_key", String(64), nullable=False, unique=True),
    Column("incident_id", _BIG_ID, ForeignKey("incident.id"), nullable=False),
    Column("round", Integer, nullable=False),
    Column("seq", Integer, nullable=False),  # order per incident, channel and recipient
    Column("purpose", String(12), nullable=False),
    Column("channel", String(16), nullable=False),
    Column("recipient", String(64), nullable=False),  # "responder:<id>", "contact:<id>"
    Column("target", JSON, nullable=False),
    Column("body", JSON, nullable=False),
    Column("state", String(12), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at_ms", BigInteger, nullable=False),
    Column("lease_token", String(40)),
    Column("lease_until_ms", BigInteger),
    Column("ref", String(200)),  # the other side's name for it (SMS gateway's id)
    Column("last_error", String(300)),
    Column("created_ms", BigInteger, nullable=False),
    Column("sent_ms", BigInteger),
    Column("accepted_ms", BigInteger),
    Column("delivered_ms", BigInteger),
    Column("escalated", Boolean(create_constraint=True, name="escalated"), nullable=False, server_default=false()),
    UniqueConstraint("incident_id", "channel", "recipient", "seq"),
    CheckConstraint("attempts >= 0", name="attempts"),
    _one_of("purpose", DELIVERY_PURPOSES),
    _one_of("state", DELIVERY_STATES),
    sqlite_autoincrement=True,
)
_DUE = text("state IN ('pending', 'sent')")
Index("ix_delivery_due", delivery.c.next_at_ms, sqlite_where=_DUE, postgresql_where=_DUE)

delivery_attempt = Table(
    "delivery_attempt",
    metadata,
    Column("id", _BIG_ID, primary_key=True),
    Column("delivery_id", _BIG_ID, ForeignKey("delivery.id"), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("took_ms", Integer, nullable=False),
    Column("outcome", String(12), nullable=False),
    Column("detail", String(300), nullable=False),
)
Index("ix_delivery_attempt_delivery_id", delivery_attempt.c.delivery_id)

receiver = Table(
    "receiver",
    metadata,
    Column("sender", Integer, primary_key=True, autoincrement=False),
    Column("name", String(100), nullable=False),
    Column("mqtt_client_id", String(64), nullable=False),  # random: a known one lets a stranger take over the session
    Column("counter_ceiling", BigInteger, nullable=False),  # downlink counters below it are reserved
    Column("created_ms", BigInteger, nullable=False),
    Column("retired_ms", BigInteger),
    Column("last_seen_ms", BigInteger),  # it writes this while it runs
    Column("host", String(100), nullable=False, server_default=""),
    Column("version", String(32), nullable=False, server_default=""),
    CheckConstraint("sender BETWEEN 1 AND 65535", name="sender"),
    CheckConstraint("counter_ceiling BETWEEN 0 AND 4294967295", name="counter_ceiling"),
)

command = Table(
    "command",
    metadata,
    Column("id", _BIG_ID, primary_key=True),
    Column("node_id", String(12), ForeignKey("node.id"), nullable=False),
    Column("code", Integer, nullable=False),
    Column("args", LargeBinary, nullable=False),
    Column("state", String(12), nullable=False),
    Column("counter", BigInteger),
    Column("sender", Integer),
    Column("result", Integer),
    Column("created_ms", BigInteger, nullable=False),
    Column("sent_ms", BigInteger),
    Column("answered_ms", BigInteger),
    _one_of("state", COMMAND_STATES),
)
Index("ix_command_node_id", command.c.node_id)

# What nodes measured (receiver/air/pack.py): level 0 an hour's readings (slot: the hour since 1970), 1 a day's hours
# (slot: the day), 2 the days of 32 days (slot: the day / 32). No rowid: SQLite keeps the rows of a node together.
air_pack = Table(
    "air_pack",
    metadata,
    Column("node", BigInteger, primary_key=True, autoincrement=False),  # its id as a number
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    CheckConstraint("level BETWEEN 0 AND 2", name="level"),
    sqlite_with_rowid=False,
)

# That the air of a unit (or of a node without one) is bad. For people to see; nobody is dispatched.
air_advisory = Table(
    "air_advisory",
    metadata,
    Column("id", _BIG_ID, primary_key=True),
    Column("subject", String(80), nullable=False),  # "unit:<site>/<unit>", "node:<id>"
    Column("site_id", String(32)),
    Column("quantity", String(32), nullable=False),  # air/quantities.py
    Column("level_table", String(32), nullable=False),
    Column("level", String(12), nullable=False),  # that stands, or stood last
    Column("worst", String(12), nullable=False),
    Column("average", Float, nullable=False),  # in the quantity's unit, when the level was found
    Column("averaging", String(4), nullable=False),  # "24h"
    Column("limit_said", String(40), nullable=False),  # "> 35 ug/m3"
    Column("node_id", String(12), nullable=False),  # which node measured it
    Column("began_ms", BigInteger, nullable=False),
    Column("level_ms", BigInteger, nullable=False),  # since when the level stands
    Column("ended_ms", BigInteger),
    Column("ending", String(16)),
    CheckConstraint("(ending IS NULL) = (ended_ms IS NULL)", name="ended_whole"),
    _one_of("level", AIR_LEVELS),
    _one_of("worst", AIR_LEVELS),
    _one_of("ending", AIR_ENDINGS),
    sqlite_autoincrement=True,
)
Index(
    "uq_air_advisory_standing",
    air_advisory.c.subject,
    air_advisory.c.quantity,
    unique=True,
    sqlite_where=text("ended_ms IS NULL"),
    postgresql_where=text("ended_ms IS NULL"),
)

# Planned exercises: alarms of the listed units ask the operator first (DESIGN section 7).
exercise = Table(
    "exercise",
    metadata,
    Column("id", _BIG_ID, primary_key=True),
    Column("site_id", String(32), ForeignKey("site.id"), nullable=False),
    Column("note", String(200), nullable=False, server_default=""),
    Column("begun_by", String(100), nullable=False),
    Column("begins_ms", BigInteger, nullable=False),
    Column("ends_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),  # ended early, or found to be over
    Column("ended_by", String(100)),
    CheckConstraint("ends_ms > begins_ms", name="ends"),
    CheckConstraint("ends_ms <= begins_ms + 14400000", name="at_most_4_h"),
    sqlite_autoincrement=True,
)

exercise_unit = Table(
    "exercise_unit",
    metadata,
    Column("exercise_id", _BIG_ID, ForeignKey("exercise.id"), primary_key=True),
    Column("unit_id", String(32), primary_key=True),
)

# A walk test: the node's next test event is told to the unit's first contact, as an exercise (receiver/walk_tests.py).
walk_test = Table(
    "walk_test",
    metadata,
    Column("id", _BIG_ID, primary_key=True),
    Column("node_id", String(12), ForeignKey("node.id"), nullable=False),
    Column("begun_by", String(100), nullable=False),
    Column("begun_ms", BigInteger, nullable=False),
    Column("ends_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("outcome", String(12)),
    Column("event_id", BigInteger),  # the test event that it waited for
    Column("delivery_id", BigInteger),  # the text, if one could be tried
    CheckConstraint("(outcome IS NULL) = (ended_ms IS NULL)", name="ended_whole"),
    CheckConstraint("ends_ms > begun_ms AND ends_ms <= begun_ms + 900000", name="at_most_15_min"),
    _one_of("outcome", WALK_TEST_OUTCOMES),
    sqlite_autoincrement=True,
)
_RUNNING = text("ended_ms IS NULL")
Index(
    "uq_walk_test_running",
    walk_test.c.node_id,
    unique=True,
    sqlite_where=_RUNNING,
    postgresql_where=_RUNNING,
)

# How a board came into service (receiver/commissioning.py). A record begins when the board is found, so its node may
# not be registered yet.
commissioning = Table(
    "commissioning",
    metadata,
    Column("id", _BIG_ID, primary_key=True),
    Column("node_id", String(12), nullable=False),
    Column("site_id", String(32), nullable=False, server_default=""),  # the unit as it was named then; "": none
    Column("unit_id", String(32), nullable=False, server_default=""),
    Column("installer", String(100), nullable=False),
    Column("version", String(32), nullable=False),  # of the bongsu that did it
    Column("board", String(32), nullable=False, server_default=""),
    Column("image", String(100), nullable=False, server_default=""),
    Column("image_sha256", String(64), nullable=False, server_default=""),
    Column("app_sha256", String(64), nullable=False, server_default=""),  # over the application's files
    Column("key_epoch", Integer),
    Column("rssi_dbm", Integer),
    Column("round_trip_ms", Integer),  # an order sent, its answer committed: median
    Column("walk_test_id", BigInteger),
    Column("steps", JSON, nullable=False),  # {step: {"state", "at_ms", "took_ms", "said"}}
    Column("begun_ms", BigInteger, nullable=False),
    Column("done_ms", BigInteger),
    CheckConstraint("length(node_id) = 12", name="node_id"),
    sqlite_autoincrement=True,
)
_NOT_DONE = text("done_ms IS NULL")
Index(
    "uq_commissioning_open",
    commissioning.c.node_id,
    unique=True,
    sqlite_where=_NOT_DONE,
    postgresql_where=_NOT_DONE,
)
Index("ix_commissioning_node_id", commissioning.c.node_id)

# People who may use the console.
operator = Table(
    "operator",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("full_name", String(100), nullable=False, server_default=""),
    Column("role", String(8), nullable=False),
    Column("lang", String(2), nullable=False),
    Column("password_hash", String(200), nullable=False),  # argon2id, with its parameters
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),  # sessions begun before this are void
    Column("disabled_ms", BigInteger),
    _one_of("role", OPERATOR_ROLES),
    _one_of("lang", LANGS),
)

console_session = Table(
    "console_session",
    metadata,
    Column("token_hash", String(64), primary_key=True),  # SHA-256 of the cookie, hex
    Column("operator", String(32), ForeignKey("operator.name"), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
    Column("ends_ms", BigInteger, nullable=False),
)

# What was committed, in order: how receivers and consoles learn what others did (store/changes.py). Pruned by age.
change = Table(
    "change",
    metadata,
    Column("id", _BIG_ID, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("sender", Integer),  # the receiver that did it; null: a command or a console
    Column("topic", String(16), nullable=False),
    Column("what", JSON, nullable=False),  # ids, by topic
    sqlite_autoincrement=True,
)

# Single values of the whole installation: its id, when it was backed up or restored.
meta = Table(
    "meta",
    metadata,
    Column("key", String(32), primary_key=True),
    Column("value", Text, nullable=False),
)

# Frames that were refused, counted. `node` is "" for frames that name no registered node, so that a stranger cannot
# grow the table.
refused_frame = Table(
    "refused_frame",
    metadata,
    Column("node", String(12), primary_key=True),
    Column("reason", String(24), primary_key=True),
    Column("count", BigInteger, nullable=False),
    Column("first_ms", BigInteger, nullable=False),
    Column("last_ms", BigInteger, nullable=False),
)

# Who did what by hand: acknowledgements, closings, provisioning, phone numbers shown unmasked.
audit = Table(
    "audit",
    metadata,
    Column("id", _BIG_ID, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor", String(100), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(100), nullable=False),
    Column("detail", String(300), nullable=False),
    Column("chain", LargeBinary),  # keyed hash over this row and the one before it (receiver/audit.py)
)
