-- expansion: an event that is accepted, but whose deliveries are not all made yet;
-- cursor is the last endpoint that has got its one.
CREATE TABLE expansion (
  organisation_id INTEGER NOT NULL,
  event_id        INTEGER NOT NULL,
  issuance_key    INTEGER NOT NULL,
  audience_id     INTEGER NOT NULL,
  cursor          INTEGER NOT NULL,
  remaining       INTEGER NOT NULL, -- how many deliveries are not made yet
  moved_at        INTEGER NOT NULL, -- when it was last seen to that it gets on
  PRIMARY KEY (organisation_id, event_id)
) WITHOUT ROWID;
CREATE INDEX expansion_issuance ON expansion (issuance_key);
CREATE INDEX expansion_audience ON expansion (audience_id);
-- audience: the endpoints that such events go to, as they stood when the events
-- were accepted: keys in order, 8 bytes each, the most significant first.
CREATE TABLE audience (
  id              INTEGER PRIMARY KEY, -- of its first event
  organisation_id INTEGER NOT NULL,
  endpoints       BLOB NOT NULL
);
