-- The tables of history are made anew under their names, with the same columns in
-- the same order, as partitioned by key, and those of before become the oldest
-- partition; what was written within the last moments into empty ones moves.
-- Statements that name them go on as before.
DO $$
DECLARE
  bound   BIGINT := (SELECT value FROM counter WHERE name = 'history_bound');
  history TEXT;
  key     TEXT;
  before  TEXT;
  made    TEXT[];
  line    TEXT;
BEGIN
  LOCK TABLE event, delivery, attempt IN ACCESS EXCLUSIVE MODE;
  FOREACH history IN ARRAY ARRAY['event', 'delivery', 'attempt'] LOOP
    key := CASE history WHEN 'attempt' THEN 'delivery_id' ELSE 'id' END;
    before := history || '_2025010100';
    made := ARRAY(SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = history::regclass AND NOT indisprimary ORDER BY indexrelid)
      || ARRAY(SELECT format('ALTER TABLE %I ADD %s', history, pg_get_constraintdef(oid)) FROM pg_constraint WHERE conrelid = history::regclass AND contype = 'p')
      || ARRAY(SELECT format('GRANT %s ON %I TO %s', privilege_type, history, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::TEXT END)
        FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = history::regclass AND grantee <> relowner);
    FOR line IN SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indrelid = history::regclass LOOP
      EXECUTE format('ALTER INDEX %I RENAME TO %I', line, before || substr(line, length(history) + 1));
    END LOOP;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', history, before);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS) PARTITION BY RANGE (%I)', history, before, key);
    FOREACH line IN ARRAY made LOOP
      EXECUTE line;
    END LOOP;
    EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', history || '_rest', history);
    IF bound IS NULL THEN
      EXECUTE format('INSERT INTO %I SELECT * FROM %I', history, before);
      EXECUTE format('DROP TABLE %I', before); -- contract: its rows are in the new one
    ELSE
      EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (0) TO (%s)', history, before, bound);
      EXECUTE format('ALTER TABLE %I DROP CONSTRAINT history_bound', before); -- contract: made by 0009 for this
    END IF;
  END LOOP;
  DELETE FROM counter WHERE name = 'history_bound';
END $$;

-- What is sent again long after its event: few rows, that keep an event which is
-- too old otherwise. An hour stands between the two; see historySlack.
CREATE INDEX queue_again ON queue (event_id) WHERE id - event_id > 15099494400000;

-- The names of partitions, after the hour (UTC) at which they begin.
CREATE FUNCTION history_name(history TEXT, since BIGINT) RETURNS TEXT LANGUAGE sql STABLE AS $$
  SELECT history || to_char(to_timestamp(((since >> 22) + 1735689600000) / 1000) AT TIME ZONE 'UTC', '_YYYYMMDDHH24') $$;

-- Servers need not own the tables: those who may delete history row by row may
-- have its owner make partitions, and drop them, by these functions. It is for the
-- one whose turn it is to write. They lock out everybody else, for what takes no
-- time; for the lock they wait a moment only, as all others wait behind them:
-- pg_dump keeps its own for as long as it runs.

-- make_history makes the partitions of a period, from one key to before another.
-- It takes over the rows that are there already in those for the rest. It gives
-- 'made', 'locked' where somebody reads for long, or 'crowded' where the rest is too
-- much to be looked at in a turn.
CREATE FUNCTION make_history(since BIGINT, until BIGINT) RETURNS TEXT LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
DECLARE
  history TEXT;
  key     TEXT;
  part    TEXT;
  found   BIGINT;
BEGIN
  IF NOT has_table_privilege(session_user, 'event', 'DELETE') THEN
    RAISE insufficient_privilege USING MESSAGE = 'only who may delete events may part them';
  END IF;
  LOCK TABLE ONLY event, ONLY delivery, ONLY attempt IN ACCESS EXCLUSIVE MODE;
  FOREACH history IN ARRAY ARRAY['event', 'delivery', 'attempt'] LOOP
    key := CASE history WHEN 'attempt' THEN 'delivery_id' ELSE 'id' END;
    EXECUTE format('SELECT count(*) FROM (SELECT FROM %1$I WHERE %2$I >= %3$s AND %2$I < %4$s LIMIT 5001) AS few', history || '_rest', key, since, until) INTO found;
    IF found > 5000 OR pg_relation_size((history || '_rest')::regclass) > 256 << 20 THEN
      RETURN 'crowded';
    END IF;
  END LOOP;
  FOREACH history IN ARRAY ARRAY['event', 'delivery', 'attempt'] LOOP
    key := CASE history WHEN 'attempt' THEN 'delivery_id' ELSE 'id' END;
    part := history_name(history, since);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS)', part, history);
    EXECUTE format('WITH moved AS (DELETE FROM %1$I WHERE %2$I >= %3$s AND %2$I < %4$s RETURNING *) INSERT INTO %5$I SELECT * FROM moved',
      history || '_rest', key, since, until, part);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', history, part, since, until);
  END LOOP;
  RETURN 'made';
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
  RETURN 'locked';
END $$;

-- drop_history drops the partitions of a period whose rows are all too old, and
-- of which none is pending. What must live on goes to the partitions for the rest:
-- deliveries that ended late and since kept (milliseconds), and events that a
-- living delivery names. It gives 'dropped', 'locked' as above, 'crowded' where too
-- much would live on to be moved in a turn, or 'gone'.
CREATE FUNCTION drop_history(since BIGINT, until BIGINT, kept BIGINT) RETURNS TEXT LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '100ms' AS $$
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
  EXECUTE format('DROP TABLE %I, %I, %I', events, deliveries, attempts); -- contract: what retention drops
  INSERT INTO counter (name, value) VALUES ('retained', until - 1) ON CONFLICT (name) DO UPDATE SET value = greatest(counter.value, excluded.value);
  RETURN 'dropped';
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
  RETURN 'locked';
END $$;

-- Nobody may put tables of his own in place of those that they name.
DO $$
DECLARE
  made TEXT;
BEGIN
  FOREACH made IN ARRAY ARRAY['history_name(TEXT, BIGINT)', 'make_history(BIGINT, BIGINT)', 'drop_history(BIGINT, BIGINT, BIGINT)'] LOOP
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', made, current_schema());
  END LOOP;
END $$;
