-- Where the time of an attempt went; 0 for a step that did not happen.
ALTER TABLE attempt ADD COLUMN dns_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN connect_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN tls_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN wait_us INTEGER NOT NULL DEFAULT 0;

-- tally: what became of deliveries, counted per minute; see tidings.Tally. The
-- row with endpoint_id 0 counts the whole organisation. The columns l0 to l11
-- are the classes of tidings.LatencyBounds.
CREATE TABLE tally (
  organisation_id INTEGER NOT NULL,
  endpoint_id     INTEGER NOT NULL,
  minute          INTEGER NOT NULL, -- its beginning
  delivered       INTEGER NOT NULL,
  failed          INTEGER NOT NULL,
  failed_attempts INTEGER NOT NULL,
  l0 INTEGER NOT NULL, l1 INTEGER NOT NULL, l2 INTEGER NOT NULL, l3 INTEGER NOT NULL,
  l4 INTEGER NOT NULL, l5 INTEGER NOT NULL, l6 INTEGER NOT NULL, l7 INTEGER NOT NULL,
  l8 INTEGER NOT NULL, l9 INTEGER NOT NULL, l10 INTEGER NOT NULL, l11 INTEGER NOT NULL,
  PRIMARY KEY (organisation_id, endpoint_id, minute)
) WITHOUT ROWID;
CREATE INDEX tally_minute ON tally (minute);
