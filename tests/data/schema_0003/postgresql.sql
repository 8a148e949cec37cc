CREATE TABLE audit (
    id BIGSERIAL NOT NULL, 
    at_ms BIGINT NOT NULL, 
    actor VARCHAR(100) NOT NULL, 
    action VARCHAR(40) NOT NULL, 
    subject VARCHAR(100) NOT NULL, 
    detail VARCHAR(300) NOT NULL, 
    CONSTRAINT pk_audit PRIMARY KEY (id)
);

CREATE TABLE contact (
    id VARCHAR(32) NOT NULL, 
    name VARCHAR(100) NOT NULL, 
    phone VARCHAR(16) NOT NULL, 
    lang VARCHAR(2) NOT NULL, 
    created_ms BIGINT NOT NULL, 
    CONSTRAINT pk_contact PRIMARY KEY (id), 
    CONSTRAINT ck_contact_lang CHECK (lang IN ('ko', 'en')), 
    CONSTRAINT uq_contact_phone UNIQUE (phone)
);

CREATE TABLE incident (
    id BIGSERIAL NOT NULL, 
    subject VARCHAR(80) NOT NULL, 
    class_ VARCHAR(8) NOT NULL, 
    state VARCHAR(8) NOT NULL, 
    round INTEGER NOT NULL, 
    opened_ms BIGINT NOT NULL, 
    last_event_ms BIGINT NOT NULL, 
    last_event_id BIGINT, 
    restored_ms BIGINT, 
    closed_ms BIGINT, 
    ack_ms BIGINT, 
    ack_by VARCHAR(100), 
    ack_event_id BIGINT, 
    disposition VARCHAR(16), 
    note TEXT DEFAULT '' NOT NULL, 
    snapshot JSON NOT NULL, 
    CONSTRAINT pk_incident PRIMARY KEY (id), 
    CONSTRAINT ck_incident_closed_at CHECK ((state = 'closed') = (closed_ms IS NOT NULL)), 
    CONSTRAINT ck_incident_class_ CHECK (class_ IN ('fire', 'co_gas', 'fault', 'care', 'exercise')), 
    CONSTRAINT ck_incident_disposition CHECK (disposition IN ('fire', 'cooking', 'steam', 'dust', 'insect', 'device_fault', 'test', 'unknown')), 
    CONSTRAINT ck_incident_state CHECK (state IN ('open', 'closed')), 
    CONSTRAINT ck_incident_subject CHECK (subject LIKE 'unit:%%' OR subject LIKE 'node:%%' OR subject LIKE 'site:%%' OR subject LIKE 'receiver:%%'), 
    CONSTRAINT ck_incident_round CHECK (round >= 1)
);

CREATE INDEX ix_incident_opened_ms ON incident (opened_ms);

CREATE UNIQUE INDEX uq_incident_open ON incident (subject, class_) WHERE state = 'open';

CREATE TABLE receiver (
    sender INTEGER NOT NULL, 
    name VARCHAR(100) NOT NULL, 
    mqtt_client_id VARCHAR(64) NOT NULL, 
    counter_ceiling BIGINT NOT NULL, 
    created_ms BIGINT NOT NULL, 
    retired_ms BIGINT, 
    CONSTRAINT pk_receiver PRIMARY KEY (sender), 
    CONSTRAINT ck_receiver_counter_ceiling CHECK (counter_ceiling BETWEEN 0 AND 4294967295), 
    CONSTRAINT ck_receiver_sender CHECK (sender BETWEEN 1 AND 65535)
);

CREATE TABLE refused_frame (
    node VARCHAR(12) NOT NULL, 
    reason VARCHAR(24) NOT NULL, 
    count BIGINT NOT NULL, 
    first_ms BIGINT NOT NULL, 
    last_ms BIGINT NOT NULL, 
    CONSTRAINT pk_refused_frame PRIMARY KEY (node, reason)
);

CREATE TABLE responder (
    id VARCHAR(32) NOT NULL, 
    kind VARCHAR(8) NOT NULL, 
    name VARCHAR(100) NOT NULL, 
    url VARCHAR(500) NOT NULL, 
    secret_wrapped BYTEA NOT NULL, 
    rank INTEGER NOT NULL, 
    all_sites BOOLEAN NOT NULL, 
    created_ms BIGINT NOT NULL, 
    CONSTRAINT pk_responder PRIMARY KEY (id), 
    CONSTRAINT ck_responder_kind CHECK (kind IN ('station', 'centre'))
);

CREATE TABLE site (
    id VARCHAR(32) NOT NULL, 
    name VARCHAR(100) NOT NULL, 
    kind VARCHAR(8) NOT NULL, 
    address VARCHAR(200) NOT NULL, 
    tz VARCHAR(64) NOT NULL, 
    created_ms BIGINT NOT NULL, 
    CONSTRAINT pk_site PRIMARY KEY (id), 
    CONSTRAINT ck_site_kind CHECK (kind IN ('market', 'homes'))
);

CREATE TABLE delivery (
    id BIGSERIAL NOT NULL, 
    idempotency_key VARCHAR(64) NOT NULL, 
    incident_id BIGINT NOT NULL, 
    round INTEGER NOT NULL, 
    seq INTEGER NOT NULL, 
    purpose VARCHAR(12) NOT NULL, 
    channel VARCHAR(16) NOT NULL, 
    recipient VARCHAR(64) NOT NULL, 
    target JSON NOT NULL, 
    body JSON NOT NULL, 
    state VARCHAR(12) NOT NULL, 
    attempts INTEGER DEFAULT '0' NOT NULL, 
    next_at_ms BIGINT NOT NULL, 
    lease_token VARCHAR(40), 
    lease_until_ms BIGINT, 
    ref VARCHAR(200), 
    last_error VARCHAR(300), 
    created_ms BIGINT NOT NULL, 
    sent_ms BIGINT, 
    accepted_ms BIGINT, 
    delivered_ms BIGINT, 
    escalated BOOLEAN DEFAULT false NOT NULL, 
    CONSTRAINT pk_delivery PRIMARY KEY (id), 
    CONSTRAINT ck_delivery_purpose CHECK (purpose IN ('alarm', 'restore', 'fault', 'fault_clear', 'prealarm', 'test', 'escalation', 'closed')), 
    CONSTRAINT ck_delivery_state CHECK (state IN ('pending', 'sent', 'accepted', 'delivered', 'failed', 'cancelled')), 
    CONSTRAINT ck_delivery_attempts CHECK (attempts >= 0), 
    CONSTRAINT fk_delivery_incident_id FOREIGN KEY(incident_id) REFERENCES incident (id), 
    CONSTRAINT uq_delivery_idempotency_key UNIQUE (idempotency_key), 
    CONSTRAINT uq_delivery_incident_id_channel_recipient_seq UNIQUE (incident_id, channel, recipient, seq)
);

CREATE INDEX ix_delivery_due ON delivery (next_at_ms) WHERE state IN ('pending', 'sent');

CREATE TABLE responder_site (
    responder_id VARCHAR(32) NOT NULL, 
    site_id VARCHAR(32) NOT NULL, 
    CONSTRAINT pk_responder_site PRIMARY KEY (responder_id, site_id), 
    CONSTRAINT fk_responder_site_responder_id FOREIGN KEY(responder_id) REFERENCES responder (id), 
    CONSTRAINT fk_responder_site_site_id FOREIGN KEY(site_id) REFERENCES site (id)
);

CREATE TABLE unit (
    site_id VARCHAR(32) NOT NULL, 
    id VARCHAR(32) NOT NULL, 
    name VARCHAR(100) NOT NULL, 
    place VARCHAR(200) NOT NULL, 
    created_ms BIGINT NOT NULL, 
    CONSTRAINT pk_unit PRIMARY KEY (site_id, id), 
    CONSTRAINT fk_unit_site_id FOREIGN KEY(site_id) REFERENCES site (id)
);

CREATE TABLE delivery_attempt (
    id BIGSERIAL NOT NULL, 
    delivery_id BIGINT NOT NULL, 
    at_ms BIGINT NOT NULL, 
    took_ms INTEGER NOT NULL, 
    outcome VARCHAR(12) NOT NULL, 
    detail VARCHAR(300) NOT NULL, 
    CONSTRAINT pk_delivery_attempt PRIMARY KEY (id), 
    CONSTRAINT fk_delivery_attempt_delivery_id FOREIGN KEY(delivery_id) REFERENCES delivery (id)
);

CREATE INDEX ix_delivery_attempt_delivery_id ON delivery_attempt (delivery_id);

CREATE TABLE node (
    id VARCHAR(12) NOT NULL, 
    site_id VARCHAR(32), 
    unit_id VARCHAR(32), 
    label VARCHAR(100) NOT NULL, 
    state VARCHAR(12) NOT NULL, 
    created_ms BIGINT NOT NULL, 
    CONSTRAINT pk_node PRIMARY KEY (id), 
    CONSTRAINT ck_node_state CHECK (state IN ('registered', 'provisioned', 'retired')), 
    CONSTRAINT ck_node_assigned_whole CHECK ((site_id IS NULL) = (unit_id IS NULL)), 
    CONSTRAINT ck_node_id CHECK (length(id) = 12), 
    CONSTRAINT fk_node_site_id_unit_id FOREIGN KEY(site_id, unit_id) REFERENCES unit (site_id, id)
);

CREATE INDEX ix_node_unit ON node (site_id, unit_id);

CREATE TABLE unit_contact (
    site_id VARCHAR(32) NOT NULL, 
    unit_id VARCHAR(32) NOT NULL, 
    contact_id VARCHAR(32) NOT NULL, 
    role VARCHAR(8) NOT NULL, 
    rank INTEGER NOT NULL, 
    CONSTRAINT pk_unit_contact PRIMARY KEY (site_id, unit_id, contact_id), 
    CONSTRAINT ck_unit_contact_role CHECK (role IN ('owner', 'deputy')), 
    CONSTRAINT fk_unit_contact_contact_id FOREIGN KEY(contact_id) REFERENCES contact (id), 
    CONSTRAINT fk_unit_contact_site_id_unit_id FOREIGN KEY(site_id, unit_id) REFERENCES unit (site_id, id), 
    CONSTRAINT uq_unit_contact_site_id_unit_id_rank UNIQUE (site_id, unit_id, rank)
);

CREATE TABLE command (
    id BIGSERIAL NOT NULL, 
    node_id VARCHAR(12) NOT NULL, 
    code INTEGER NOT NULL, 
    args BYTEA NOT NULL, 
    state VARCHAR(12) NOT NULL, 
    counter BIGINT, 
    sender INTEGER, 
    result INTEGER, 
    created_ms BIGINT NOT NULL, 
    sent_ms BIGINT, 
    answered_ms BIGINT, 
    CONSTRAINT pk_command PRIMARY KEY (id), 
    CONSTRAINT ck_command_state CHECK (state IN ('pending', 'sent', 'answered', 'failed', 'expired')), 
    CONSTRAINT fk_command_node_id FOREIGN KEY(node_id) REFERENCES node (id)
);

CREATE INDEX ix_command_node_id ON command (node_id);

CREATE TABLE event (
    id BIGSERIAL NOT NULL, 
    node_id VARCHAR(12) NOT NULL, 
    epoch INTEGER NOT NULL, 
    number BIGINT NOT NULL, 
    received_ms BIGINT NOT NULL, 
    event_ms BIGINT, 
    kind VARCHAR(12) NOT NULL, 
    phenomena INTEGER NOT NULL, 
    criterion VARCHAR(16) NOT NULL, 
    detail INTEGER NOT NULL, 
    count INTEGER NOT NULL, 
    sustained_ms BIGINT NOT NULL, 
    readings JSON NOT NULL, 
    content BYTEA NOT NULL, 
    incident_id BIGINT, 
    CONSTRAINT pk_event PRIMARY KEY (id), 
    CONSTRAINT ck_event_kind CHECK (kind IN ('alarm', 'prealarm', 'restore', 'fault', 'fault_clear', 'tamper', 'test')), 
    CONSTRAINT ck_event_epoch CHECK (epoch BETWEEN 1 AND 255), 
    CONSTRAINT ck_event_number CHECK (number BETWEEN 1 AND 4294967295), 
    CONSTRAINT fk_event_incident_id FOREIGN KEY(incident_id) REFERENCES incident (id), 
    CONSTRAINT fk_event_node_id FOREIGN KEY(node_id) REFERENCES node (id), 
    CONSTRAINT uq_event_node_id_epoch_number_content UNIQUE (node_id, epoch, number, content)
);

CREATE INDEX ix_event_incident_id ON event (incident_id);

CREATE TABLE node_broker (
    node_id VARCHAR(12) NOT NULL, 
    username VARCHAR(32) NOT NULL, 
    password_wrapped BYTEA NOT NULL, 
    client_id_wrapped BYTEA NOT NULL, 
    created_ms BIGINT NOT NULL, 
    CONSTRAINT pk_node_broker PRIMARY KEY (node_id), 
    CONSTRAINT fk_node_broker_node_id FOREIGN KEY(node_id) REFERENCES node (id), 
    CONSTRAINT uq_node_broker_username UNIQUE (username)
);

CREATE TABLE node_key (
    node_id VARCHAR(12) NOT NULL, 
    epoch INTEGER NOT NULL, 
    wrapped BYTEA NOT NULL, 
    state VARCHAR(8) NOT NULL, 
    created_ms BIGINT NOT NULL, 
    activated_ms BIGINT, 
    valid_until_ms BIGINT, 
    CONSTRAINT pk_node_key PRIMARY KEY (node_id, epoch), 
    CONSTRAINT ck_node_key_old_ends CHECK ((state = 'old') <= (valid_until_ms IS NOT NULL)), 
    CONSTRAINT ck_node_key_state CHECK (state IN ('pending', 'active', 'old', 'retired')), 
    CONSTRAINT ck_node_key_epoch CHECK (epoch BETWEEN 1 AND 255), 
    CONSTRAINT fk_node_key_node_id FOREIGN KEY(node_id) REFERENCES node (id)
);

CREATE UNIQUE INDEX uq_node_key_active ON node_key (node_id) WHERE state = 'active';

CREATE TABLE node_live (
    node_id VARCHAR(12) NOT NULL, 
    last_seen_ms BIGINT, 
    heartbeat JSON, 
    silent BOOLEAN NOT NULL, 
    silent_since_ms BIGINT, 
    CONSTRAINT pk_node_live PRIMARY KEY (node_id), 
    CONSTRAINT fk_node_live_node_id FOREIGN KEY(node_id) REFERENCES node (id)
);

CREATE TABLE node_window (
    node_id VARCHAR(12) NOT NULL, 
    epoch INTEGER NOT NULL, 
    high BIGINT NOT NULL, 
    bitmap BIGINT NOT NULL, 
    CONSTRAINT pk_node_window PRIMARY KEY (node_id, epoch), 
    CONSTRAINT ck_node_window_epoch CHECK (epoch BETWEEN 1 AND 255), 
    CONSTRAINT fk_node_window_node_id FOREIGN KEY(node_id) REFERENCES node (id)
);

ALTER TABLE site ADD COLUMN area VARCHAR(64) DEFAULT '' NOT NULL;

ALTER TABLE site ADD COLUMN dispatch_policy VARCHAR(12) DEFAULT 'on_alarm' NOT NULL CONSTRAINT ck_site_dispatch_policy CHECK (dispatch_policy IN ('on_alarm', 'on_verified'));

ALTER TABLE site ADD COLUMN unverified_after_s INTEGER DEFAULT '15' NOT NULL;

ALTER TABLE unit ADD COLUMN floor VARCHAR(20) DEFAULT '' NOT NULL;

ALTER TABLE unit ADD COLUMN stall VARCHAR(20) DEFAULT '' NOT NULL;

ALTER TABLE unit ADD COLUMN hours VARCHAR(200) DEFAULT '' NOT NULL;

ALTER TABLE unit ADD COLUMN lat FLOAT;

ALTER TABLE unit ADD COLUMN lon FLOAT;

ALTER TABLE incident ADD COLUMN closed_by VARCHAR(100);

ALTER TABLE incident ADD COLUMN verified_ms BIGINT;

ALTER TABLE incident ADD COLUMN verified_by VARCHAR(100);

ALTER TABLE incident ADD COLUMN held_until_ms BIGINT;

ALTER TABLE incident ADD COLUMN exercise_id INTEGER;

ALTER TABLE receiver ADD COLUMN last_seen_ms BIGINT;

ALTER TABLE receiver ADD COLUMN host VARCHAR(100) DEFAULT '' NOT NULL;

ALTER TABLE receiver ADD COLUMN version VARCHAR(32) DEFAULT '' NOT NULL;

CREATE TABLE responder_area (
    responder_id VARCHAR(32) NOT NULL, 
    area VARCHAR(64) NOT NULL, 
    CONSTRAINT pk_responder_area PRIMARY KEY (responder_id, area), 
    CONSTRAINT fk_responder_area_responder_id FOREIGN KEY(responder_id) REFERENCES responder (id)
);

CREATE TABLE duty (
    id VARCHAR(32) NOT NULL, 
    site_id VARCHAR(32), 
    contact_id VARCHAR(32) NOT NULL, 
    days VARCHAR(32) NOT NULL, 
    from_min INTEGER NOT NULL, 
    to_min INTEGER NOT NULL, 
    valid_from_ms BIGINT, 
    valid_until_ms BIGINT, 
    rank INTEGER DEFAULT '0' NOT NULL, 
    created_ms BIGINT NOT NULL, 
    CONSTRAINT pk_duty PRIMARY KEY (id), 
    CONSTRAINT ck_duty_from_min CHECK (from_min BETWEEN 0 AND 1439), 
    CONSTRAINT ck_duty_to_min CHECK (to_min BETWEEN 0 AND 1440), 
    CONSTRAINT fk_duty_site_id FOREIGN KEY(site_id) REFERENCES site (id), 
    CONSTRAINT fk_duty_contact_id FOREIGN KEY(contact_id) REFERENCES contact (id)
);

CREATE TABLE exercise (
    id BIGSERIAL NOT NULL, 
    site_id VARCHAR(32) NOT NULL, 
    note VARCHAR(200) DEFAULT '' NOT NULL, 
    begun_by VARCHAR(100) NOT NULL, 
    begins_ms BIGINT NOT NULL, 
    ends_ms BIGINT NOT NULL, 
    ended_ms BIGINT, 
    ended_by VARCHAR(100), 
    CONSTRAINT pk_exercise PRIMARY KEY (id), 
    CONSTRAINT ck_exercise_ends CHECK (ends_ms > begins_ms), 
    CONSTRAINT ck_exercise_at_most_4_h CHECK (ends_ms <= begins_ms + 14400000), 
    CONSTRAINT fk_exercise_site_id FOREIGN KEY(site_id) REFERENCES site (id)
);

CREATE TABLE exercise_unit (
    exercise_id BIGINT NOT NULL, 
    unit_id VARCHAR(32) NOT NULL, 
    CONSTRAINT pk_exercise_unit PRIMARY KEY (exercise_id, unit_id), 
    CONSTRAINT fk_exercise_unit_exercise_id FOREIGN KEY(exercise_id) REFERENCES exercise (id)
);

CREATE TABLE operator (
    name VARCHAR(32) NOT NULL, 
    full_name VARCHAR(100) DEFAULT '' NOT NULL, 
    role VARCHAR(8) NOT NULL, 
    lang VARCHAR(2) NOT NULL, 
    password_hash VARCHAR(200) NOT NULL, 
    created_ms BIGINT NOT NULL, 
    changed_ms BIGINT NOT NULL, 
    disabled_ms BIGINT, 
    CONSTRAINT pk_operator PRIMARY KEY (name), 
    CONSTRAINT ck_operator_role CHECK (role IN ('viewer', 'operator', 'admin')), 
    CONSTRAINT ck_operator_lang CHECK (lang IN ('ko', 'en'))
);

CREATE TABLE console_session (
    token_hash VARCHAR(64) NOT NULL, 
    operator VARCHAR(32) NOT NULL, 
    created_ms BIGINT NOT NULL, 
    last_ms BIGINT NOT NULL, 
    ends_ms BIGINT NOT NULL, 
    CONSTRAINT pk_console_session PRIMARY KEY (token_hash), 
    CONSTRAINT fk_console_session_operator FOREIGN KEY(operator) REFERENCES operator (name)
);

CREATE TABLE change (
    id BIGSERIAL NOT NULL, 
    at_ms BIGINT NOT NULL, 
    sender INTEGER, 
    topic VARCHAR(16) NOT NULL, 
    what JSON NOT NULL, 
    CONSTRAINT pk_change PRIMARY KEY (id)
);

CREATE TABLE meta (
    key VARCHAR(32) NOT NULL, 
    value TEXT NOT NULL, 
    CONSTRAINT pk_meta PRIMARY KEY (key)
);

ALTER TABLE audit ADD COLUMN chain BYTEA;

CREATE TABLE event_past (
    node_id VARCHAR(12) NOT NULL, 
    epoch INTEGER NOT NULL, 
    number BIGINT NOT NULL, 
    digest BYTEA NOT NULL, 
    CONSTRAINT pk_event_past PRIMARY KEY (node_id, epoch, number, digest), 
    CONSTRAINT fk_event_past_node_id FOREIGN KEY(node_id) REFERENCES node (id)
);

ALTER TABLE unit ADD COLUMN next_to VARCHAR(400) DEFAULT '' NOT NULL;

ALTER TABLE node ADD COLUMN profile VARCHAR(32) DEFAULT '' NOT NULL;

ALTER TABLE node ADD COLUMN detector JSON;

ALTER TABLE node ADD COLUMN sensors JSON;

ALTER TABLE node ADD COLUMN reading_s INTEGER DEFAULT '0' NOT NULL;

CREATE TABLE event_history (
    node_id VARCHAR(12) NOT NULL, 
    epoch INTEGER NOT NULL, 
    number BIGINT NOT NULL, 
    first INTEGER NOT NULL, 
    received_ms BIGINT NOT NULL, 
    content BYTEA NOT NULL, 
    CONSTRAINT pk_event_history PRIMARY KEY (node_id, epoch, number, first), 
    CONSTRAINT ck_event_history_epoch CHECK (epoch BETWEEN 1 AND 255), 
    CONSTRAINT ck_event_history_number CHECK (number BETWEEN 1 AND 4294967295), 
    CONSTRAINT ck_event_history_first CHECK (first BETWEEN 0 AND 254), 
    CONSTRAINT fk_event_history_node_id FOREIGN KEY(node_id) REFERENCES node (id)
);

CREATE INDEX ix_event_history_received_ms ON event_history (received_ms);

ALTER TABLE site ADD COLUMN air_table VARCHAR(32) DEFAULT 'korea' NOT NULL;

ALTER TABLE site ADD COLUMN air_advise_at VARCHAR(12) DEFAULT 'bad' NOT NULL CONSTRAINT ck_site_air_advise_at CHECK (air_advise_at IN ('good', 'moderate', 'bad', 'very_bad', 'hazardous'));

CREATE TABLE air_pack (
    node BIGINT NOT NULL, 
    level SMALLINT NOT NULL, 
    slot INTEGER NOT NULL, 
    data BYTEA NOT NULL, 
    CONSTRAINT pk_air_pack PRIMARY KEY (node, level, slot), 
    CONSTRAINT ck_air_pack_level CHECK (level BETWEEN 0 AND 2)
);

CREATE TABLE air_advisory (
    id BIGSERIAL NOT NULL, 
    subject VARCHAR(80) NOT NULL, 
    site_id VARCHAR(32), 
    quantity VARCHAR(32) NOT NULL, 
    level_table VARCHAR(32) NOT NULL, 
    level VARCHAR(12) NOT NULL, 
    worst VARCHAR(12) NOT NULL, 
    average FLOAT NOT NULL, 
    averaging VARCHAR(4) NOT NULL, 
    limit_said VARCHAR(40) NOT NULL, 
    node_id VARCHAR(12) NOT NULL, 
    began_ms BIGINT NOT NULL, 
    level_ms BIGINT NOT NULL, 
    ended_ms BIGINT, 
    ending VARCHAR(16), 
    CONSTRAINT pk_air_advisory PRIMARY KEY (id), 
    CONSTRAINT ck_air_advisory_ended_whole CHECK ((ending IS NULL) = (ended_ms IS NULL)), 
    CONSTRAINT ck_air_advisory_level CHECK (level IN ('good', 'moderate', 'bad', 'very_bad', 'hazardous')), 
    CONSTRAINT ck_air_advisory_worst CHECK (worst IN ('good', 'moderate', 'bad', 'very_bad', 'hazardous')), 
    CONSTRAINT ck_air_advisory_ending CHECK (ending IN ('recovered', 'no_data', 'table_changed'))
);

CREATE UNIQUE INDEX uq_air_advisory_standing ON air_advisory (subject, quantity) WHERE ended_ms IS NULL;


CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
INSERT INTO alembic_version VALUES ('0003');
