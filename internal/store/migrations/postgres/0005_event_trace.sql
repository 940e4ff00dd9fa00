-- As SQLite's 0016_event_trace, where the columns are explained.
CREATE TABLE event_trace (
  event_id    BIGINT PRIMARY KEY,
  traceparent TEXT NOT NULL
);
