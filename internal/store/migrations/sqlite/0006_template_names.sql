-- sort_name: the name without regard to case, for searching and ordering.
ALTER TABLE template ADD COLUMN sort_name TEXT NOT NULL DEFAULT '';
UPDATE template SET sort_name = lower(name);
