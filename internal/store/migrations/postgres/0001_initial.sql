-- The schema as it is on SQLite after its migrations up to 0010_retention, where
-- the columns are explained. All numbers are BIGINT, truth is 0 or 1.
CREATE TABLE counter (
  name  TEXT PRIMARY KEY,
  value BIGINT NOT NULL
);

CREATE TABLE secret (
  name       TEXT PRIMARY KEY,
  value      BYTEA NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE organisation (
  id         BIGINT PRIMARY KEY,
  slug       TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL
);

CREATE TABLE client (
  client_id       TEXT PRIMARY KEY,
  organisation_id BIGINT NOT NULL REFERENCES organisation (id),
  scopes          TEXT NOT NULL,
  secret_hash     BYTEA NOT NULL,
  created_at      BIGINT NOT NULL,
  rotated_at      BIGINT,
  revoked_at      BIGINT
);

CREATE TABLE endpoint (
  id              BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL REFERENCES organisation (id),
  public_id       TEXT NOT NULL,
  url             TEXT NOT NULL,
  filter_types    TEXT NOT NULL,   -- names separated by blanks; empty: every issuance event
  description     TEXT NOT NULL,
  headers         TEXT NOT NULL,   -- JSON: name → value
  rate_limit      DOUBLE PRECISION NOT NULL,   -- attempts per second; 0: no limit
  max_in_flight   BIGINT NOT NULL,
  retry_schedule  TEXT NOT NULL,   -- milliseconds separated by blanks; empty: the installation's
  signatures      TEXT NOT NULL,   -- separated by blanks
  signing_key     BYTEA,            -- seed of the Ed25519 key, made when v1a is asked for first
  status          TEXT NOT NULL,
  disabled_reason TEXT NOT NULL DEFAULT '',
  disabled_at     BIGINT,
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL,
  deleted_at      BIGINT
);

CREATE TABLE signing_secret (
  endpoint_id BIGINT NOT NULL REFERENCES endpoint (id),
  id          BIGINT NOT NULL,
  secret      TEXT NOT NULL,
  expires_at  BIGINT,
  PRIMARY KEY (endpoint_id, id)
);

CREATE TABLE event (
  id              BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL,
  position        BIGINT NOT NULL,
  issuance_key    BIGINT NOT NULL,
  issuance_id     TEXT NOT NULL,
  type            TEXT NOT NULL,
  body            BYTEA NOT NULL,
  fanout          BIGINT NOT NULL, -- how many deliveries it made, less those deleted since
  test            BIGINT NOT NULL, -- a sample, sent to one endpoint only
  created_at      BIGINT NOT NULL
);

CREATE TABLE idempotency (
  organisation_id BIGINT NOT NULL,
  route           TEXT NOT NULL,
  key             TEXT NOT NULL,
  hash            BYTEA NOT NULL,   -- SHA-256 of what was asked for
  made            TEXT NOT NULL,   -- keys of what it made, separated by blanks
  expires_at      BIGINT NOT NULL,
  PRIMARY KEY (organisation_id, route, key)
);

CREATE TABLE queue (
  endpoint_id   BIGINT NOT NULL,
  due           BIGINT NOT NULL,
  id            BIGINT NOT NULL,
  event_id      BIGINT NOT NULL,
  issuance_key  BIGINT NOT NULL,
  attempt_count BIGINT NOT NULL,
  retry_of      BIGINT NOT NULL,  -- 0: it repeats none
  created_at    BIGINT NOT NULL,
  kind BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (endpoint_id, due, id)
);

CREATE TABLE lane (
  endpoint_id      BIGINT PRIMARY KEY REFERENCES endpoint (id),
  organisation_id  BIGINT NOT NULL,
  backlog          BIGINT NOT NULL DEFAULT 0,
  failures         BIGINT NOT NULL DEFAULT 0,
  first_failure_at BIGINT,
  last_failure_at  BIGINT,
  spaced_failures  BIGINT NOT NULL DEFAULT 0,
  spaced_at        BIGINT,
  paused_until     BIGINT
);

CREATE TABLE delivery (
  id              BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL,
  endpoint_id     BIGINT NOT NULL,
  event_id        BIGINT NOT NULL,
  status          TEXT NOT NULL,
  reason          TEXT NOT NULL,
  attempt_count   BIGINT NOT NULL,
  retry_of        BIGINT NOT NULL,
  created_at      BIGINT NOT NULL,
  ended_at        BIGINT NOT NULL,
  kind BIGINT NOT NULL DEFAULT 0, late BIGINT NOT NULL DEFAULT 0);

CREATE TABLE attempt (
  delivery_id      BIGINT NOT NULL,
  number           BIGINT NOT NULL,
  started_at       BIGINT NOT NULL,
  duration_us      BIGINT NOT NULL,
  status_code      BIGINT NOT NULL,
  error_code       TEXT NOT NULL,
  error            TEXT NOT NULL,
  response_excerpt BYTEA,
  dns_us BIGINT NOT NULL DEFAULT 0,
  connect_us BIGINT NOT NULL DEFAULT 0,
  tls_us BIGINT NOT NULL DEFAULT 0,
  wait_us BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (delivery_id, number)
);

CREATE TABLE recovery (
  id              BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL,
  endpoint_id     BIGINT NOT NULL,
  since           BIGINT NOT NULL,
  until           BIGINT NOT NULL,
  cursor          BIGINT NOT NULL,
  examined        BIGINT NOT NULL DEFAULT 0,
  recovered       BIGINT NOT NULL DEFAULT 0,
  created_at      BIGINT NOT NULL,
  ended_at        BIGINT,
  searched_kind BIGINT, searched_id BIGINT);

CREATE TABLE audit (
  id              BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL,
  changed_by      TEXT NOT NULL,
  action          TEXT NOT NULL,
  object          TEXT NOT NULL,
  detail          TEXT NOT NULL,
  created_at      BIGINT NOT NULL
);

CREATE TABLE template (
  id              BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL REFERENCES organisation (id),
  name            TEXT NOT NULL,
  code            TEXT NOT NULL,
  description     TEXT NOT NULL,
  attributes      TEXT NOT NULL,   -- JSON: claim name → attribute
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL,
  archived_at     BIGINT,
  display TEXT NOT NULL DEFAULT '[]',
  valid_for BIGINT NOT NULL DEFAULT 0,
  revocable BIGINT NOT NULL DEFAULT 0,
  sort_name TEXT COLLATE "C" NOT NULL DEFAULT '',
  UNIQUE (organisation_id, code)
);

CREATE TABLE issuance (
  id              BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL REFERENCES organisation (id),
  state           TEXT NOT NULL,
  deadline        BIGINT,         -- when the state ends by itself; NULL in a terminal state
  expires_at      BIGINT NOT NULL,
  retrieved_at    BIGINT,
  accepted_by     TEXT NOT NULL DEFAULT '',
  error_code      TEXT NOT NULL DEFAULT '',
  error_message   TEXT NOT NULL DEFAULT '',
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL,
  status TEXT NOT NULL DEFAULT '',
  claims_since BIGINT,
  tx_length BIGINT NOT NULL DEFAULT 0,
  tx_mode TEXT NOT NULL DEFAULT '',
  tx_hash BYTEA,
  tx_wrong BIGINT NOT NULL DEFAULT 0,
  deferral TEXT NOT NULL DEFAULT '',
  refreshed BIGINT NOT NULL DEFAULT 0);

CREATE TABLE credential (
  id          BIGINT PRIMARY KEY,
  issuance_id BIGINT NOT NULL REFERENCES issuance (id),
  template_id BIGINT NOT NULL REFERENCES template (id),
  status      TEXT NOT NULL,
  accepted    BIGINT NOT NULL DEFAULT 0,
  claims      TEXT NOT NULL,      -- JSON; personal
  issuance_status TEXT NOT NULL DEFAULT '', holder_keys TEXT NOT NULL DEFAULT '');

CREATE TABLE notification (
  credential_id BIGINT NOT NULL REFERENCES credential (id),
  event         TEXT NOT NULL,
  description   TEXT NOT NULL,
  created_at    BIGINT NOT NULL,
  PRIMARY KEY (credential_id, event)
);

CREATE TABLE nonce (
  hash       BYTEA PRIMARY KEY,
  expires_at BIGINT NOT NULL
);

CREATE TABLE tally (
  organisation_id BIGINT NOT NULL,
  endpoint_id     BIGINT NOT NULL,
  minute          BIGINT NOT NULL, -- its beginning
  delivered       BIGINT NOT NULL,
  failed          BIGINT NOT NULL,
  failed_attempts BIGINT NOT NULL,
  l0 BIGINT NOT NULL, l1 BIGINT NOT NULL, l2 BIGINT NOT NULL, l3 BIGINT NOT NULL,
  l4 BIGINT NOT NULL, l5 BIGINT NOT NULL, l6 BIGINT NOT NULL, l7 BIGINT NOT NULL,
  l8 BIGINT NOT NULL, l9 BIGINT NOT NULL, l10 BIGINT NOT NULL, l11 BIGINT NOT NULL,
  PRIMARY KEY (organisation_id, endpoint_id, minute)
);

CREATE TABLE issuer_key (
  organisation_id BIGINT NOT NULL REFERENCES organisation (id),
  number          BIGINT NOT NULL,
  public_url      TEXT NOT NULL,    -- which the certificate names; '': it was imported
  pem             BYTEA NOT NULL,    -- certificates, the leaf first, and the private key
  created_at      BIGINT NOT NULL,
  PRIMARY KEY (organisation_id, number)
);

CREATE TABLE status_list (
  id              BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL REFERENCES organisation (id),
  leased          BIGINT NOT NULL,
  version         BIGINT NOT NULL
);

CREATE TABLE status_entry (
  list_id       BIGINT NOT NULL REFERENCES status_list (id),
  idx           BIGINT NOT NULL,
  credential_id BIGINT NOT NULL REFERENCES credential (id),
  value         BIGINT NOT NULL,
  PRIMARY KEY (list_id, idx)
);
CREATE UNIQUE INDEX endpoint_live ON endpoint (organisation_id, public_id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX endpoint_v1a ON endpoint (public_id) WHERE deleted_at IS NULL AND signatures = 'v1 v1a';
CREATE INDEX endpoint_list ON endpoint (organisation_id, id) WHERE deleted_at IS NULL;
CREATE INDEX endpoint_organisation ON endpoint (organisation_id, public_id, id);
CREATE INDEX endpoint_deleted ON endpoint (id) WHERE deleted_at IS NOT NULL;
CREATE INDEX event_issuance ON event (organisation_id, issuance_key, id);
CREATE INDEX idempotency_expires ON idempotency (expires_at);
CREATE UNIQUE INDEX queue_id ON queue (endpoint_id, id);
CREATE INDEX queue_issuance ON queue (issuance_key, endpoint_id, due, attempt_count);
CREATE INDEX lane_busy ON lane (organisation_id, endpoint_id) WHERE backlog > 0;
CREATE INDEX delivery_event ON delivery (event_id);
CREATE INDEX recovery_running ON recovery (id) WHERE ended_at IS NULL;
CREATE INDEX audit_organisation ON audit (organisation_id, id);
CREATE INDEX template_organisation ON template (organisation_id, id);
CREATE INDEX issuance_organisation ON issuance (organisation_id, id);
CREATE INDEX issuance_deadline ON issuance (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX credential_issuance ON credential (issuance_id, id);
CREATE INDEX credential_template ON credential (template_id, issuance_id);
CREATE INDEX nonce_expires ON nonce (expires_at);
CREATE INDEX tally_minute ON tally (minute);
CREATE INDEX delivery_endpoint ON delivery (endpoint_id, kind, id);
CREATE INDEX delivery_organisation ON delivery (organisation_id, kind, id);
CREATE INDEX queue_kind ON queue (endpoint_id, kind, id);
CREATE INDEX event_type ON event (organisation_id, type, position);
CREATE INDEX event_feed ON event (organisation_id, position);
CREATE INDEX issuance_status ON issuance (organisation_id, status, id);
CREATE INDEX credential_status ON credential (template_id, issuance_status, issuance_id);
CREATE INDEX issuance_claims ON issuance (claims_since) WHERE claims_since IS NOT NULL;
CREATE INDEX status_list_organisation ON status_list (organisation_id, id);
CREATE INDEX status_entry_credential ON status_entry (credential_id);
CREATE INDEX status_entry_set ON status_entry (list_id, idx, value) WHERE value <> 0;
CREATE INDEX delivery_late ON delivery (ended_at) WHERE late = 1;
