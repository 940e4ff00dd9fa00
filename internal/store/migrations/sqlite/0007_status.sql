-- status_list: of one organisation; leased counts the places that processes
-- took to give out, version the changes of what it says.
CREATE TABLE status_list (
  id              INTEGER PRIMARY KEY,
  organisation_id INTEGER NOT NULL REFERENCES organisation (id),
  leased          INTEGER NOT NULL,
  version         INTEGER NOT NULL
);
CREATE INDEX status_list_organisation ON status_list (organisation_id, id);

-- status_entry: which credential has a place in a list; a row for each signed
-- copy. value is what the list says of it.
CREATE TABLE status_entry (
  list_id       INTEGER NOT NULL REFERENCES status_list (id),
  idx           INTEGER NOT NULL,
  credential_id INTEGER NOT NULL REFERENCES credential (id),
  value         INTEGER NOT NULL,
  PRIMARY KEY (list_id, idx)
) WITHOUT ROWID;
CREATE INDEX status_entry_credential ON status_entry (credential_id);
CREATE INDEX status_entry_set ON status_entry (list_id, idx, value) WHERE value <> 0;
