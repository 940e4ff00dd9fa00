-- As PostgreSQL's 0003_nodes, where the columns are explained. With SQLite there
-- is one node, which holds everything: both stay empty.
CREATE TABLE node (
  number      INTEGER PRIMARY KEY,
  name        TEXT NOT NULL,
  home        TEXT NOT NULL,
  started_at  INTEGER NOT NULL,
  lease_until INTEGER NOT NULL,
  leaving     INTEGER NOT NULL
);
CREATE TABLE shard (
  number INTEGER PRIMARY KEY,
  epoch  INTEGER NOT NULL,
  node   INTEGER NOT NULL
);
