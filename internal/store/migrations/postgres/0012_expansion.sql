-- As SQLite's 0019_expansion, where the columns are explained.
CREATE TABLE expansion (
  organisation_id BIGINT NOT NULL,
  event_id        BIGINT NOT NULL,
  issuance_key    BIGINT NOT NULL,
  audience_id     BIGINT NOT NULL,
  cursor          BIGINT NOT NULL,
  remaining       BIGINT NOT NULL,
  moved_at        BIGINT NOT NULL,
  PRIMARY KEY (organisation_id, event_id)
);
CREATE INDEX expansion_issuance ON expansion (issuance_key);
CREATE INDEX expansion_audience ON expansion (audience_id);
CREATE TABLE audience (
  id              BIGINT PRIMARY KEY,
  organisation_id BIGINT NOT NULL,
  endpoints       BYTEA NOT NULL
);
