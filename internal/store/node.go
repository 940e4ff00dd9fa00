package store

import (
	"context"
	"os"
	"slices"
	"time"

	"tidings"
)

// A node is a server on PostgreSQL. It holds shards as long as its lease runs,
// which it renews by the database's clock; the row of a node whose lease has run
// out is deleted by whichever node sees it first, which frees its shards. That row
// is the fence: without it nothing that the node still wants to record is taken.

// leastLease is the shortest lease; see [Options].
const leastLease = time.Second

// join gives this process a number that no other has or had. A node that was
// killed and is started again need not wait for its own lease; one that has its
// place and is still stopping in order is left alone.
func (s *Store) join(ctx context.Context, home string) error {
	s.home = home
	return s.w.submit(ctx, classLease, 0, 1, func(t *tx) error {
		if home != "" {
			if err := t.endLeases("home = $1 AND leaving = 0", home); err != nil {
				return err
			}
		}
		return t.queryRow("INSERT INTO counter (name, value) VALUES ('nodes', 1) ON CONFLICT (name) DO UPDATE SET value = counter.value + 1 RETURNING value", nil, &t.w.node)
	})
}

// endLeases ends the leases of other nodes, and frees what they held.
func (t *tx) endLeases(where string, arg any) error {
	ended, err := t.exec("DELETE FROM node WHERE "+where, arg)
	if err != nil || ended == 0 {
		return err
	}
	t.w.log.Warn("the lease of other nodes has run out: their shards are free", "nodes", ended)
	if _, err = t.exec("UPDATE shard SET node = 0 WHERE node <> 0 AND node NOT IN (SELECT number FROM node)"); err != nil {
		return err
	}
	return t.landedOf("node NOT IN (SELECT number FROM node)") // no attempt outlives its lease
}

// KeepLease renews this node's lease, gives free what it yields, and takes its
// share of the shards that nobody holds. A node whose lease has run out begins
// anew. One that is leaving takes nothing. With SQLite there is one node, which
// needs no lease: then ok is false.
func (s *Store) KeepLease(ctx context.Context, y tidings.Yield, leaving bool) (out tidings.Tenure, ok bool, err error) {
	if !s.w.remote {
		return out, false, nil
	}
	out.Until = time.Now().Add(s.lease)
	err = s.w.submit(ctx, classLease, 0, 2, func(t *tx) error {
		if err := t.renew(s.home, s.lease, leaving); err != nil {
			return err
		}
		if err := t.landed(y.InFlight); err != nil {
			return err
		}
		if err := t.freeShards(y); err != nil {
			return err
		}
		t.freed = t.freed || t.w.holding.Load() == nil // it is new: the others look at once who is there
		held, nobodys := 0, 0
		err := t.queryRow("SELECT (SELECT count(*) FROM node WHERE leaving = 0), EXISTS (SELECT 1 FROM node WHERE number <> $1), (SELECT count(*) FROM shard WHERE node = $1), (SELECT count(*) FROM shard WHERE node = 0), COALESCE((SELECT value FROM counter WHERE name = 'changes'), 0)",
			[]any{t.w.node}, &out.Nodes, &out.Others, &held, &nobodys, &out.Changes)
		if err != nil {
			return err
		}
		share := tidings.ShardShare(out.Nodes)
		if leaving {
			share = 0
		}
		out.Surplus = max(held-share, 0)
		if want := min(share-held, nobodys); want > 0 {
			_, err = t.exec("UPDATE shard SET node = $1, epoch = epoch + 1 WHERE number IN (SELECT number FROM shard WHERE node = 0 ORDER BY number LIMIT $2)", t.w.node, want)
			if err != nil {
				return err
			}
		}
		if out.Epochs, err = t.heldShards(); err == nil {
			t.holding = &holding{out}
		}
		return err
	})
	return out, true, err
}

// renew renews the lease, and ends those of others that have run out. It goes by
// the database's clock.
func (t *tx) renew(home string, lease time.Duration, leaving bool) error {
	const now = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT"
	if err := t.endLeases("lease_until < "+now+" AND number <> $1", t.w.node); err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	_, err = t.exec("INSERT INTO node (number, name, home, started_at, lease_until, leaving) VALUES ($1, $2, $3, $4, "+now+" + $5, $6) ON CONFLICT (number) DO UPDATE SET lease_until = excluded.lease_until, leaving = excluded.leaving",
		t.w.node, name, home, t.now, lease.Milliseconds(), number(leaving))
	return err
}

// freeShards gives shards free, and notes where in them this node has attempts in
// flight. One that it has taken anew since is not meant.
func (t *tx) freeShards(y tidings.Yield) error {
	var free []int
	for shard, epoch := range y.Shards {
		if t.w.holding.Load().Epochs[shard] == epoch {
			free = append(free, shard)
		}
	}
	if len(free) == 0 {
		return nil
	}
	var endpoints, epochs []int64
	for _, endpoint := range y.InFlight {
		if shard := tidings.ShardOf(endpoint); slices.Contains(free, shard) {
			endpoints, epochs = append(endpoints, endpoint), append(epochs, y.Shards[shard])
		}
	}
	if len(endpoints) > 0 {
		// Where one is there already, it is of before this node took the shard anew.
		_, err := t.exec("INSERT INTO in_flight (endpoint_id, node, epoch) SELECT endpoint, $1, epoch FROM unnest($2::BIGINT[], $3::BIGINT[]) AS f (endpoint, epoch) ON CONFLICT DO NOTHING",
			t.w.node, endpoints, epochs)
		if err != nil {
			return err
		}
	}
	_, err := t.exec("UPDATE shard SET node = 0 WHERE node = $1 AND number = ANY ($2)", t.w.node, free)
	t.freed = err == nil
	return err
}

// landed takes note that this node has attempts in flight no more but at these
// endpoints: the lanes of others may go on.
func (t *tx) landed(but []int64) error {
	return t.landedOf("node = $1 AND endpoint_id <> ALL ($2)", t.w.node, append([]int64{}, but...))
}

func (t *tx) landedOf(where string, args ...any) error {
	return t.query("DELETE FROM in_flight WHERE "+where+" RETURNING endpoint_id", args, func(r scanner) error {
		w := tidings.Wake{Due: fromMillis(t.now), Changed: true}
		err := r.Scan(&w.EndpointKey)
		t.wake(w)
		return err
	})
}

func (t *tx) heldShards() (*tidings.Epochs, error) {
	held := &tidings.Epochs{}
	err := t.query("SELECT number, epoch FROM shard WHERE node = $1", []any{t.w.node}, func(r scanner) error {
		var number, epoch int64
		err := r.Scan(&number, &epoch)
		held[number%tidings.Shards] = epoch
		return err
	})
	return held, err
}

// Leave ends this node's lease, and gives free what it held.
func (s *Store) Leave(ctx context.Context) error {
	if !s.w.remote {
		return nil
	}
	return s.w.submit(ctx, classLease, 0, 2, func(t *tx) error {
		if _, err := t.exec("UPDATE shard SET node = 0 WHERE node = $1", t.w.node); err != nil {
			return err
		}
		if err := t.landed(nil); err != nil {
			return err
		}
		_, err := t.exec("DELETE FROM node WHERE number = $1", t.w.node)
		t.holding, t.freed = t.w.holding.Load().none(), true
		return err
	})
}

// KeepsHouse tells whether this node does what only one has to do: the one that
// holds the first shard.
func (s *Store) KeepsHouse() bool {
	if !s.w.remote {
		return true
	}
	h := s.w.holding.Load()
	return h != nil && h.Epochs[0] != 0 && time.Now().Before(h.Until)
}

// Nodes tells how many nodes live and how many shards this one holds, as of the
// last renewal.
func (s *Store) Nodes() (nodes, shards int) {
	if !s.w.remote {
		return 1, tidings.Shards
	}
	if h := s.w.holding.Load(); h != nil {
		return h.Nodes, h.Epochs.Count()
	}
	return 0, 0 // there was none so far
}

// Now is the time by the clock that the store goes by: this process's, corrected
// by the database's where [Options] ask for it.
func (s *Store) Now() time.Time { return s.now() }
