-- As SQLite's 0012_error_details and 0012_steps, where the columns are explained.
ALTER TABLE issuance ADD COLUMN error_details TEXT NOT NULL DEFAULT '';
CREATE TABLE issuance_step (
  issuance_id BIGINT NOT NULL,
  id          BIGINT NOT NULL,
  step        TEXT NOT NULL,
  detail      TEXT NOT NULL,
  created_at  BIGINT NOT NULL,
  PRIMARY KEY (issuance_id, id)
);
