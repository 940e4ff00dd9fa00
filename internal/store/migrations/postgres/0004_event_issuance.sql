-- The events of an issuance, found by its id instead of a hash of it. Most ids
-- begin with a time, so that new entries stand together; those of hashes lay on
-- as many pages as there were events, half of all that a commit wrote.
DROP INDEX event_issuance;
CREATE INDEX event_issuance ON event (organisation_id, issuance_id, id);
