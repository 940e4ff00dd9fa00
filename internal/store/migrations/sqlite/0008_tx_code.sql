-- The transaction code of an offer: a keyed hash of it, and how many wrong ones
-- were tried. tx_length 0: none is asked for.
ALTER TABLE issuance ADD COLUMN tx_length INTEGER NOT NULL DEFAULT 0;
ALTER TABLE issuance ADD COLUMN tx_mode TEXT NOT NULL DEFAULT '';
ALTER TABLE issuance ADD COLUMN tx_hash BLOB;
ALTER TABLE issuance ADD COLUMN tx_wrong INTEGER NOT NULL DEFAULT 0;
