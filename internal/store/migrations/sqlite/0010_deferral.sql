-- deferral: '', 'pending' or 'approved'. refreshed: the number of the newest
-- refresh token that was used. holder_keys: what a wallet proved when its
-- credential was deferred; a JSON array of public keys.
ALTER TABLE issuance ADD COLUMN deferral TEXT NOT NULL DEFAULT '';
ALTER TABLE issuance ADD COLUMN refreshed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE credential ADD COLUMN holder_keys TEXT NOT NULL DEFAULT '';
