-- event_trace: where in a trace an event was accepted (traceparent of W3C Trace
-- Context); a row only where that is recorded.
CREATE TABLE event_trace (
  event_id    INTEGER PRIMARY KEY,
  traceparent TEXT NOT NULL
);
