-- The nodes that serve this database, and which of them delivers what. Times are
-- those of the database's own clock, in milliseconds.
CREATE TABLE node (
  number      BIGINT PRIMARY KEY, -- never given out again
  name        TEXT NOT NULL,
  home        TEXT NOT NULL,      -- there can be one at a time with the same; empty: not known
  started_at  BIGINT NOT NULL,
  lease_until BIGINT NOT NULL,    -- after that any other node takes its shards
  leaving     BIGINT NOT NULL     -- 1: it stops, and takes no more shards
);
-- An endpoint's key says which shard its lane is in.
CREATE TABLE shard (
  number BIGINT PRIMARY KEY,
  epoch  BIGINT NOT NULL, -- how often it was taken
  node   BIGINT NOT NULL  -- 0: free
);
INSERT INTO shard (number, epoch, node) SELECT n, 0, 0 FROM generate_series(0, 1023) AS n;
