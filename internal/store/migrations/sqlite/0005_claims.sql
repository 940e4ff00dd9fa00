-- claims_since: when the issuance ended, as long as its claims are still kept;
-- those of one that goes on are kept anyway. What is deleted of a credential is
-- ''.
ALTER TABLE issuance ADD COLUMN claims_since INTEGER;
UPDATE issuance SET claims_since = updated_at WHERE state IN ('completed', 'failed', 'expired');
CREATE INDEX issuance_claims ON issuance (claims_since) WHERE claims_since IS NOT NULL;
