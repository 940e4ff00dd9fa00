-- error_details: what whoever ended the issuance said of it; it goes with the
-- claims.
ALTER TABLE issuance ADD COLUMN error_details TEXT NOT NULL DEFAULT '';
