-- Issuances of any status are read as ranges of the indexes that begin with it: one
-- entry less for each.
DROP INDEX issuance_organisation;
DROP INDEX credential_template;
