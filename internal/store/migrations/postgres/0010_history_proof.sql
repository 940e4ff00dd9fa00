-- All rows are looked at, which takes its time,
-- beside those who write.
DO $$
BEGIN
  IF EXISTS (SELECT FROM counter WHERE name = 'history_bound') THEN
    ALTER TABLE event VALIDATE CONSTRAINT history_bound;
    ALTER TABLE delivery VALIDATE CONSTRAINT history_bound;
    ALTER TABLE attempt VALIDATE CONSTRAINT history_bound;
  END IF;
END $$;
