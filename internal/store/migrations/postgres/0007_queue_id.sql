-- Where the statistics are of a time when the queue was empty, all of its indexes
-- seem to cost the same, and PostgreSQL takes the youngest: that must be the one
-- that finds a single row, and not queue_kind, which would be walked along.
DROP INDEX queue_id;
CREATE UNIQUE INDEX queue_id ON queue (endpoint_id, id);
