-- Keys are 63 bits and time-ordered (see key.go); times are milliseconds since
-- 1970, UTC; organisation_id stands wherever a row belongs to one.

-- counter: what the writer must remember over restarts (last_key).
CREATE TABLE counter (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;

-- secret: keys and certificates; shared by every process on this store.
CREATE TABLE secret (
  name       TEXT PRIMARY KEY,
  value      BLOB NOT NULL,
  created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE organisation (
  id         INTEGER PRIMARY KEY,
  slug       TEXT NOT NULL UNIQUE,
  created_at INTEGER NOT NULL
);

CREATE TABLE client (
  client_id       TEXT PRIMARY KEY,
  organisation_id INTEGER NOT NULL REFERENCES organisation (id),
  scopes          TEXT NOT NULL,
  secret_hash     BLOB NOT NULL,
  created_at      INTEGER NOT NULL,
  rotated_at      INTEGER,
  revoked_at      INTEGER
) WITHOUT ROWID;

CREATE TABLE endpoint (
  id              INTEGER PRIMARY KEY,
  organisation_id INTEGER NOT NULL REFERENCES organisation (id),
  public_id       TEXT NOT NULL,
  url             TEXT NOT NULL,
  filter_types    TEXT NOT NULL,   -- names separated by blanks; empty: every issuance event
  description     TEXT NOT NULL,
  headers         TEXT NOT NULL,   -- JSON: name → value
  rate_limit      REAL NOT NULL,   -- attempts per second; 0: no limit
  max_in_flight   INTEGER NOT NULL,
  retry_schedule  TEXT NOT NULL,   -- milliseconds separated by blanks; empty: the installation's
  signatures      TEXT NOT NULL,   -- separated by blanks
  signing_key     BLOB,            -- seed of the Ed25519 key, made when v1a is asked for first
  status          TEXT NOT NULL,
  disabled_reason TEXT NOT NULL DEFAULT '',
  disabled_at     INTEGER,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  deleted_at      INTEGER
);
CREATE UNIQUE INDEX endpoint_live ON endpoint (organisation_id, public_id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX endpoint_v1a ON endpoint (public_id) WHERE deleted_at IS NULL AND signatures = 'v1 v1a';
CREATE INDEX endpoint_list ON endpoint (organisation_id, id) WHERE deleted_at IS NULL;
CREATE INDEX endpoint_organisation ON endpoint (organisation_id, public_id, id);
CREATE INDEX endpoint_deleted ON endpoint (id) WHERE deleted_at IS NOT NULL;

CREATE TABLE signing_secret (
  endpoint_id INTEGER NOT NULL REFERENCES endpoint (id),
  id          INTEGER NOT NULL,
  secret      TEXT NOT NULL,
  expires_at  INTEGER,
  PRIMARY KEY (endpoint_id, id)
) WITHOUT ROWID;

-- event: written once, at accept. position is the order of commit.
CREATE TABLE event (
  id              INTEGER PRIMARY KEY,
  organisation_id INTEGER NOT NULL,
  position        INTEGER NOT NULL,
  issuance_key    INTEGER NOT NULL,
  issuance_id     TEXT NOT NULL,
  type            TEXT NOT NULL,
  body            BLOB NOT NULL,
  fanout          INTEGER NOT NULL, -- how many deliveries it made, less those deleted since
  test            INTEGER NOT NULL, -- a sample, sent to one endpoint only
  created_at      INTEGER NOT NULL
);
CREATE INDEX event_feed ON event (organisation_id, position);
CREATE INDEX event_issuance ON event (organisation_id, issuance_key, id);

CREATE TABLE idempotency (
  organisation_id INTEGER NOT NULL,
  route           TEXT NOT NULL,
  key             TEXT NOT NULL,
  hash            BLOB NOT NULL,   -- SHA-256 of what was asked for
  made            TEXT NOT NULL,   -- keys of what it made, separated by blanks
  expires_at      INTEGER NOT NULL,
  PRIMARY KEY (organisation_id, route, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_expires ON idempotency (expires_at);

-- queue: unfinished deliveries only, clustered by lane and due time.
CREATE TABLE queue (
  endpoint_id   INTEGER NOT NULL,
  due           INTEGER NOT NULL,
  id            INTEGER NOT NULL,
  event_id      INTEGER NOT NULL,
  issuance_key  INTEGER NOT NULL,
  attempt_count INTEGER NOT NULL,
  retry_of      INTEGER NOT NULL,  -- 0: it repeats none
  created_at    INTEGER NOT NULL,
  PRIMARY KEY (endpoint_id, due, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX queue_id ON queue (endpoint_id, id);
CREATE INDEX queue_issuance ON queue (issuance_key, endpoint_id, due, attempt_count);

-- lane: one row per endpoint; see tidings.Health.
CREATE TABLE lane (
  endpoint_id      INTEGER PRIMARY KEY REFERENCES endpoint (id),
  organisation_id  INTEGER NOT NULL,
  backlog          INTEGER NOT NULL DEFAULT 0,
  failures         INTEGER NOT NULL DEFAULT 0,
  first_failure_at INTEGER,
  last_failure_at  INTEGER,
  spaced_failures  INTEGER NOT NULL DEFAULT 0,
  spaced_at        INTEGER,
  paused_until     INTEGER
);
CREATE INDEX lane_busy ON lane (organisation_id, endpoint_id) WHERE backlog > 0;

-- delivery: history, written once, when a delivery ends.
CREATE TABLE delivery (
  id              INTEGER PRIMARY KEY,
  organisation_id INTEGER NOT NULL,
  endpoint_id     INTEGER NOT NULL,
  event_id        INTEGER NOT NULL,
  status          TEXT NOT NULL,
  reason          TEXT NOT NULL,
  attempt_count   INTEGER NOT NULL,
  retry_of        INTEGER NOT NULL,
  created_at      INTEGER NOT NULL,
  ended_at        INTEGER NOT NULL
);
CREATE INDEX delivery_endpoint ON delivery (endpoint_id, id);
CREATE INDEX delivery_undelivered ON delivery (endpoint_id, status, id) WHERE status <> 'delivered';
CREATE INDEX delivery_organisation ON delivery (organisation_id, id);
CREATE INDEX delivery_event ON delivery (event_id);

CREATE TABLE attempt (
  delivery_id      INTEGER NOT NULL,
  number           INTEGER NOT NULL,
  started_at       INTEGER NOT NULL,
  duration_us      INTEGER NOT NULL,
  status_code      INTEGER NOT NULL,
  error_code       TEXT NOT NULL,
  error            TEXT NOT NULL,
  response_excerpt BLOB,
  PRIMARY KEY (delivery_id, number)
) WITHOUT ROWID;

-- recovery: what an endpoint did not get in a period is sent again, event by
-- event; cursor is the last one looked at.
CREATE TABLE recovery (
  id              INTEGER PRIMARY KEY,
  organisation_id INTEGER NOT NULL,
  endpoint_id     INTEGER NOT NULL,
  since           INTEGER NOT NULL,
  until           INTEGER NOT NULL,
  cursor          INTEGER NOT NULL,
  examined        INTEGER NOT NULL DEFAULT 0,
  recovered       INTEGER NOT NULL DEFAULT 0,
  created_at      INTEGER NOT NULL,
  ended_at        INTEGER
);
CREATE INDEX recovery_running ON recovery (id) WHERE ended_at IS NULL;

-- audit: a line for each change of an endpoint, secret, client or key.
CREATE TABLE audit (
  id              INTEGER PRIMARY KEY,
  organisation_id INTEGER NOT NULL,
  changed_by      TEXT NOT NULL,
  action          TEXT NOT NULL,
  object          TEXT NOT NULL,
  detail          TEXT NOT NULL,
  created_at      INTEGER NOT NULL
);
CREATE INDEX audit_organisation ON audit (organisation_id, id);

CREATE TABLE template (
  id              INTEGER PRIMARY KEY,
  organisation_id INTEGER NOT NULL REFERENCES organisation (id),
  name            TEXT NOT NULL,
  code            TEXT NOT NULL,
  description     TEXT NOT NULL,
  attributes      TEXT NOT NULL,   -- JSON: claim name → attribute
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  archived_at     INTEGER,
  UNIQUE (organisation_id, code)
);
CREATE INDEX template_organisation ON template (organisation_id, id);

CREATE TABLE issuance (
  id              INTEGER PRIMARY KEY,
  organisation_id INTEGER NOT NULL REFERENCES organisation (id),
  state           TEXT NOT NULL,
  deadline        INTEGER,         -- when the state ends by itself; NULL in a terminal state
  expires_at      INTEGER NOT NULL,
  retrieved_at    INTEGER,
  accepted_by     TEXT NOT NULL DEFAULT '',
  error_code      TEXT NOT NULL DEFAULT '',
  error_message   TEXT NOT NULL DEFAULT '',
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL
);
CREATE INDEX issuance_organisation ON issuance (organisation_id, id);
CREATE INDEX issuance_deadline ON issuance (deadline) WHERE deadline IS NOT NULL;

CREATE TABLE credential (
  id          INTEGER PRIMARY KEY,
  issuance_id INTEGER NOT NULL REFERENCES issuance (id),
  template_id INTEGER NOT NULL REFERENCES template (id),
  status      TEXT NOT NULL,
  accepted    INTEGER NOT NULL DEFAULT 0,
  claims      TEXT NOT NULL       -- JSON; personal
);
CREATE INDEX credential_issuance ON credential (issuance_id, id);
CREATE INDEX credential_template ON credential (template_id, issuance_id);

-- notification: what wallets reported, each report once.
CREATE TABLE notification (
  credential_id INTEGER NOT NULL REFERENCES credential (id),
  event         TEXT NOT NULL,
  description   TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  PRIMARY KEY (credential_id, event)
) WITHOUT ROWID;

-- nonce: those that a proof has spent, until they would have run out.
CREATE TABLE nonce (
  hash       BLOB PRIMARY KEY,
  expires_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX nonce_expires ON nonce (expires_at);
