-- display: JSON array, how wallets show it; valid_for: seconds, 0: without end;
-- revocable: 0 or 1.
ALTER TABLE template ADD COLUMN display TEXT NOT NULL DEFAULT '[]';
ALTER TABLE template ADD COLUMN valid_for INTEGER NOT NULL DEFAULT 0;
ALTER TABLE template ADD COLUMN revocable INTEGER NOT NULL DEFAULT 0;
