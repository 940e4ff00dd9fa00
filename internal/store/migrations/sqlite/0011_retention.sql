-- late: the delivery ended when it was almost too old to be kept, and is kept
-- for a while from its end; see tx.late.
ALTER TABLE delivery ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
CREATE INDEX delivery_late ON delivery (ended_at) WHERE late = 1;

-- How far a recovery has come with looking for its first event among the failed
-- deliveries of its endpoint: kind and id of the last one looked at. NULL: it
-- has found it.
ALTER TABLE recovery ADD COLUMN searched_kind INTEGER;
ALTER TABLE recovery ADD COLUMN searched_id INTEGER;
