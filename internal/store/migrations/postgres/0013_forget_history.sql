-- To delete the files of a large partition takes a second for each gigabyte or two, in which
-- its commit does not return. So drop_history only takes partitions out, in the
-- writer's turn, and forget_history drops them when nobody waits for it.
CREATE OR REPLACE FUNCTION drop_history(since BIGINT, until BIGINT, kept BIGINT) RETURNS TEXT LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
  events     TEXT := history_name('event', since);
  deliveries TEXT := history_name('delivery', since);
  attempts   TEXT := history_name('attempt', since);
  late       BIGINT[];
  named      BIGINT[];
BEGIN
  IF NOT has_table_privilege(session_user, 'event', 'DELETE') THEN
    RAISE insufficient_privilege USING MESSAGE = 'only who may delete events may drop them';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'event'::regclass AND inhrelid = to_regclass(events)) THEN
    RETURN 'gone';
  END IF;
  EXECUTE format('SELECT array_agg(id) FROM (SELECT id FROM %I WHERE late = 1 AND ended_at >= %s LIMIT 5001) AS few', deliveries, kept) INTO late;
  late := coalesce(late, '{}');
  EXECUTE format('SELECT array_agg(event_id) FROM (SELECT event_id FROM (
      SELECT event_id FROM %1$I WHERE id = ANY ($1)
      UNION ALL SELECT event_id FROM delivery WHERE event_id >= %2$s AND event_id < %3$s AND (id < %2$s OR id >= %3$s)
      UNION ALL SELECT event_id FROM queue WHERE event_id >= %2$s AND event_id < %3$s AND id - event_id > 15099494400000
    ) AS names GROUP BY event_id LIMIT 5001) AS few', deliveries, since, until) INTO named USING late;
  named := coalesce(named, '{}');
  IF cardinality(late) > 5000 OR cardinality(named) > 5000 THEN
    RETURN 'crowded';
  END IF;
  LOCK TABLE ONLY event, ONLY delivery, ONLY attempt IN ACCESS EXCLUSIVE MODE;
  EXECUTE format('ALTER TABLE event DETACH PARTITION %I', events);
  EXECUTE format('ALTER TABLE delivery DETACH PARTITION %I', deliveries);
  EXECUTE format('ALTER TABLE attempt DETACH PARTITION %I', attempts);
  EXECUTE format('INSERT INTO event SELECT * FROM %I WHERE id = ANY ($1)', events) USING named;
  EXECUTE format('INSERT INTO delivery SELECT * FROM %I WHERE id = ANY ($1)', deliveries) USING late;
  EXECUTE format('INSERT INTO attempt SELECT * FROM %I WHERE delivery_id = ANY ($1)', attempts) USING late;
  -- Events of elsewhere lose deliveries here, too: such as were sent again.
  EXECUTE format('WITH gone AS (SELECT event_id, count(*) AS deliveries FROM %I
      WHERE (event_id < %s OR event_id >= %s OR event_id = ANY ($1)) AND retry_of = 0 AND id <> ALL ($2) GROUP BY event_id)
    UPDATE event SET fanout = fanout - gone.deliveries FROM gone WHERE event.id = gone.event_id', deliveries, since, until) USING named, late;
  EXECUTE format('DELETE FROM event WHERE id IN (SELECT event_id FROM %I WHERE event_id < %s)
    AND NOT EXISTS (SELECT FROM delivery d WHERE d.event_id = event.id)
    AND NOT EXISTS (SELECT FROM queue q WHERE q.issuance_key = event.issuance_key AND q.event_id = event.id)', deliveries, since);
  EXECUTE format('ALTER TABLE %I RENAME TO %I', events, 'gone_' || events); -- contract: what retention drops
  EXECUTE format('ALTER TABLE %I RENAME TO %I', deliveries, 'gone_' || deliveries);
  EXECUTE format('ALTER TABLE %I RENAME TO %I', attempts, 'gone_' || attempts);
  INSERT INTO counter (name, value) VALUES ('retained', until - 1) ON CONFLICT (name) DO UPDATE SET value = greatest(counter.value, excluded.value);
  RETURN 'dropped';
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
  RETURN 'locked';
END $$;

-- forget_history drops a table of those that were taken out. It gives 'dropped',
-- 'locked' where somebody reads it, or 'gone' where there is none.
CREATE FUNCTION forget_history() RETURNS TEXT LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
  taken TEXT;
BEGIN
  IF NOT has_table_privilege(session_user, 'event', 'DELETE') THEN
    RAISE insufficient_privilege USING MESSAGE = 'only who may delete events may drop them';
  END IF;
  SELECT relname INTO taken FROM pg_class
    WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'event'::regclass) AND relkind = 'r' AND relname ~ '^gone_(event|delivery|attempt)_[0-9]+$' LIMIT 1;
  IF taken IS NULL THEN
    RETURN 'gone';
  END IF;
  EXECUTE format('DROP TABLE %I', taken); -- contract: what retention drops
  RETURN 'dropped';
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
  RETURN 'locked';
END $$;

DO $$
BEGIN
  EXECUTE format('ALTER FUNCTION drop_history(BIGINT, BIGINT, BIGINT) SET search_path = %I, pg_temp', current_schema());
  EXECUTE format('ALTER FUNCTION forget_history() SET search_path = %I, pg_temp', current_schema());
END $$;
