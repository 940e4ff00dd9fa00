-- As PostgreSQL's 0008_in_flight, where the columns are explained: it stays empty.
CREATE TABLE in_flight (
  endpoint_id INTEGER PRIMARY KEY,
  node        INTEGER NOT NULL,
  epoch       INTEGER NOT NULL
);
