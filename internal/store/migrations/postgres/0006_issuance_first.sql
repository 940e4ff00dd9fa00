-- The issuance stands first: those of all organisations that are new stand
-- together then, else on a page for each organisation.
DROP INDEX event_issuance;
CREATE INDEX event_issuance ON event (issuance_id, organisation_id, id);
