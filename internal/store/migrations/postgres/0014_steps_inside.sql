-- issuance.steps: a line for each step that was taken: when, which and its detail,
-- separated by blanks; see tidings.IssuanceStep. The steps of before stand in
-- issuance_step.
ALTER TABLE issuance ADD COLUMN steps TEXT NOT NULL DEFAULT '';
