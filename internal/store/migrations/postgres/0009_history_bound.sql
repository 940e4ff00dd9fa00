-- History becomes partitioned by time: events and deliveries by their keys,
-- attempts by those of their deliveries, all with the same bounds. That takes
-- three steps, each a transaction of its own, beside servers of the version
-- before. The tables of today become the oldest partition; that all of their rows
-- belong there is proved by a constraint, which is checked beside the traffic in
-- the second step, so that the third takes no time. Until that is done, nothing
-- later than the bound can be written, which lies more than a week ahead: that is
-- all that this takes from servers of the version before (-- contract).
DO $$
DECLARE
  week  BIGINT := 7 * 86400000::BIGINT << 22;
  bound BIGINT;
BEGIN
  IF NOT EXISTS (SELECT FROM event) AND NOT EXISTS (SELECT FROM delivery) AND NOT EXISTS (SELECT FROM attempt) THEN
    RETURN;
  END IF;
  LOCK TABLE event, delivery, attempt IN ACCESS EXCLUSIVE MODE;
  -- A clock may have been ahead, and keys do not go back with it.
  SELECT (greatest((extract(epoch FROM clock_timestamp()) * 1000)::BIGINT - 1735689600000 << 22, max(key)) / week + 2) * week INTO bound FROM (
    SELECT max(value) FROM counter WHERE name LIKE 'last_key/%' UNION ALL SELECT max(id) FROM event
    UNION ALL SELECT max(id) FROM delivery UNION ALL SELECT max(delivery_id) FROM attempt) AS newest (key);
  INSERT INTO counter (name, value) VALUES ('history_bound', bound);
  EXECUTE format('ALTER TABLE event ADD CONSTRAINT history_bound CHECK (id >= 0 AND id < %s) NOT VALID', bound);
  EXECUTE format('ALTER TABLE delivery ADD CONSTRAINT history_bound CHECK (id >= 0 AND id < %s) NOT VALID', bound);
  EXECUTE format('ALTER TABLE attempt ADD CONSTRAINT history_bound CHECK (delivery_id >= 0 AND delivery_id < %s) NOT VALID', bound);
END $$;
