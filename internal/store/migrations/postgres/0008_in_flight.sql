-- Endpoints whose shard was given free while an attempt was in flight. Until its
-- row is gone nobody starts anything there, and its node may record what began at
-- its epoch. It goes with its node's row at the latest.
CREATE TABLE in_flight (
  endpoint_id BIGINT PRIMARY KEY,
  node        BIGINT NOT NULL, -- that has the attempt
  epoch       BIGINT NOT NULL  -- at which it held the shard then
);
