-- issuance_step: what wallets did with an issuance, in order of key; see
-- tidings.IssuanceStep. Its endings are told by its events.
CREATE TABLE issuance_step (
  issuance_id INTEGER NOT NULL,
  id          INTEGER NOT NULL,
  step        TEXT NOT NULL,
  detail      TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  PRIMARY KEY (issuance_id, id)
) WITHOUT ROWID;
