package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidings"
	"tidings/internal/pgtest"
	"tidings/internal/store"
)

// TestNodes holds what several servers promise that share a PostgreSQL.
func TestNodes(t *testing.T) {
	nodesOn(t, pgtest.Start(t))
	t.Run("AllOfThemWrite", testAllNodesWrite)
	t.Run("DeadlinesPassOnce", testDeadlinesPassOnce)
	t.Run("HouseIsKeptOnce", testHouseIsKeptOnce)
	t.Run("AClockIsRightAfterALongWait", testAClockIsRightAfterALongWait)
	t.Run("ANodeWithoutShardsTells", testANodeWithoutShardsTells)
	t.Run("NoWakePassesAnEarlierEvent", testNoWakePassesAnEarlierEvent)
	t.Run("AnotherNodeMakesTheDeliveries", testAnotherNodeMakesTheDeliveries)
}

func TestNodesThroughPgBouncer(t *testing.T) { nodesOn(t, pgtest.Bouncer(t, pgtest.Start(t))) }

func nodesOn(t *testing.T, url string) {
	server = url
	t.Cleanup(func() { server = ""; clear(databases) })
	t.Run("EachHoldsItsShare", testEachNodeHoldsItsShare)
	t.Run("ALateResultIsRefused", testALateResultIsRefused)
	t.Run("WhatWasInFlightIsRecorded", testWhatWasInFlightIsRecorded)
	t.Run("ALeaseTellsOfChanges", testALeaseTellsOfChanges)
	t.Run("AShardThatIsTakenAgainIsKept", testAShardThatIsTakenAgainIsKept)
	t.Run("AWrongClockIsCorrected", testAWrongClockIsCorrected)
}

// node opens the store of a database as one more server.
func node(t *testing.T, url string, now func() time.Time) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Database: url, Now: now, Correct: now != nil})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func keepLease(t *testing.T, s *store.Store) tidings.Tenure {
	t.Helper()
	return renew(t, s, tidings.Yield{}, false)
}

// byEpoch gives the shards that are held.
func byEpoch(held tidings.Tenure) map[int]int64 {
	out := map[int]int64{}
	for shard, epoch := range held.Epochs {
		if epoch != 0 {
			out[shard] = epoch
		}
	}
	return out
}

func renew(t *testing.T, s *store.Store, y tidings.Yield, leaving bool) tidings.Tenure {
	t.Helper()
	held, ok, err := s.KeepLease(t.Context(), y, leaving)
	if err != nil || !ok {
		t.Fatalf("renewing a lease: %v, %v", ok, err)
	}
	return held
}

// haveSnapshots has a database keep a snapshot for each transaction, if nothing
// else is asked for.
func haveSnapshots(t *testing.T, url string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const set = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation TO %L', current_database(), 'repeatable read'); END $$"
	if _, err := db.ExecContext(t.Context(), set); err != nil {
		t.Fatal(err)
	}
}

// Three nodes accept events at the same time: the feed has each once, in the
// order of the commits, and whoever reads on while it grows misses none.
func testAllNodesWrite(t *testing.T) {
	url := database(t, t.TempDir())
	haveSnapshots(t, url)
	nodes := []*store.Store{node(t, url, nil), node(t, url, nil), node(t, url, nil)}
	org := organisation(t, nodes[0], "default")
	const each = 200
	errs := make(chan error, len(nodes))
	for n, s := range nodes {
		go func() {
			for i := range each {
				events := []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: fmt.Sprint("i", n, "-", i)}}
				// The same key from every node: one of them makes it, all give it.
				one := []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: fmt.Sprint("same", i), IdempotencyKey: fmt.Sprint("k", i)}}
				for _, batch := range [][]tidings.NewEvent{events, one} {
					if _, err := s.Publish(context.Background(), org.Key, batch, nil); err != nil {
						errs <- err
						return
					}
				}
			}
			errs <- nil
		}()
	}
	seen, last, running := map[string]bool{}, "", len(nodes)
	for running > 0 || len(seen) < (len(nodes)+1)*each {
		select {
		case err := <-errs:
			if running--; err != nil {
				t.Fatal(err)
			}
		default:
		}
		l, err := nodes[len(seen)%len(nodes)].Events(t.Context(), org.Key, tidings.EventFilter{}, tidings.Page{Size: 100, After: last})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range l.Items {
			if seen[e.ID] {
				t.Fatalf("%s comes twice", e.ID)
			}
			seen[e.ID], last = true, e.ID
		}
		if running == 0 && len(l.Items) == 0 {
			break
		}
	}
	if len(seen) != (len(nodes)+1)*each {
		t.Errorf("the feed gave %d events, want %d", len(seen), (len(nodes)+1)*each)
	}
	if breaches, err := nodes[2].Check(t.Context(), 10); err != nil || len(breaches) > 0 {
		t.Errorf("the store is not in order: %v\n%s", err, strings.Join(breaches, "\n"))
	}
}

func testEachNodeHoldsItsShare(t *testing.T) {
	url := database(t, t.TempDir())
	one, two, three := node(t, url, nil), node(t, url, nil), node(t, url, nil)
	first := keepLease(t, one)
	if first.Epochs.Count() != tidings.Shards || first.Surplus != 0 {
		t.Fatalf("a node by itself holds %d shards and %d too many", first.Epochs.Count(), first.Surplus)
	}
	if got := keepLease(t, two); got.Epochs.Count() != 0 || got.Nodes != 2 {
		t.Errorf("the second of %d nodes takes %d shards that another holds", got.Nodes, got.Epochs.Count())
	}
	keepLease(t, three)
	first = keepLease(t, one)
	free := byEpoch(first)
	for shard := first.Surplus; shard < tidings.Shards; shard++ {
		delete(free, shard)
	}
	stores, held := []*store.Store{one, two, three}, [3]tidings.Tenure{renew(t, one, tidings.Yield{Shards: free}, false), keepLease(t, two), keepLease(t, three)}
	eachOnce(t, held[:]...)
	for n, h := range held {
		if count := h.Epochs.Count(); count < tidings.Shards/3*8/10 || count > tidings.Shards/3*12/10 {
			t.Errorf("of three nodes, number %d holds %d shards", n, count)
		}
	}
	if err := three.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	eachOnce(t, keepLease(t, one), keepLease(t, two))

	if err := two.EndLease(t.Context()); err != nil {
		t.Fatal(err)
	}
	last := keepLease(t, one)
	eachOnce(t, last)
	for shard, epoch := range held[1].Epochs {
		if epoch != 0 && last.Epochs[shard] <= epoch {
			t.Errorf("shard %d changed hands at epoch %d and is held at %d", shard, epoch, last.Epochs[shard])
		}
	}
	if back := keepLease(t, stores[1]); back.Nodes != 2 || back.Epochs.Count() != 0 {
		t.Errorf("a node that comes back holds %d shards of others", back.Epochs.Count())
	}
}

// eachOnce holds that each shard is held by exactly one.
func eachOnce(t *testing.T, held ...tidings.Tenure) {
	t.Helper()
	for shard := range tidings.Shards {
		holders := 0
		for _, h := range held {
			if h.Epochs[shard] != 0 {
				holders++
			}
		}
		if holders != 1 {
			t.Errorf("shard %d is held by %d nodes", shard, holders)
		}
	}
}

// A node that hung for longer than its lease records nothing of what it had in
// flight, be the lane another's now or its own again.
func testALateResultIsRefused(t *testing.T) {
	url := database(t, t.TempDir())
	late, next := node(t, url, nil), node(t, url, nil)
	org := organisation(t, late, "default")
	o := &opened{Store: late, org: org}
	e := o.endpoint(t, "")
	shard := tidings.ShardOf(e.Key)
	before := keepLease(t, late)
	for i, retake := range []bool{false, true} {
		o.publish(t, tidings.IssuanceOffered, fmt.Sprint("late", i))
		d := o.pending(t, e)[0]
		for _, status := range []tidings.DeliveryStatus{tidings.DeliveryDelivered, tidings.DeliveryFailed, tidings.DeliveryPending} {
			if err := late.EndLease(t.Context()); err != nil {
				t.Fatal(err)
			}
			keepLease(t, next)
			if retake {
				if err := next.Leave(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := keepLease(t, late); got.Epochs[shard] <= before.Epochs[shard] {
					t.Fatalf("the node has the shard again at epoch %d, after %d", got.Epochs[shard], before.Epochs[shard])
				}
			}
			r := result(d, status, d.Due.Add(time.Hour))
			r.Epoch = before.Epochs[shard]
			if errs := late.Record([]tidings.AttemptResult{r}); !errors.Is(errs[0], tidings.ErrLaneTaken) {
				t.Errorf("a late %s is answered with %v", status, errs[0])
			}
			if now := o.pending(t, e); len(now) != 1 || now[0].AttemptCount != 0 || !now[0].Due.Equal(d.Due) {
				t.Errorf("a late %s changes the delivery: %+v", status, now)
			}
		}
		holder := next
		if retake {
			holder = late
		}
		r := result(d, tidings.DeliveryDelivered, time.Time{})
		r.Epoch = keepLease(t, holder).Epochs[shard]
		if errs := holder.Record([]tidings.AttemptResult{r}); errs[0] != nil || len(o.pending(t, e)) != 0 {
			t.Errorf("the one that holds the lane cannot record: %v", errs[0])
		}
		before = keepLease(t, late)
	}
}

// The clock of a node that is an hour ahead, or behind, does what the database's
// does.
func testAWrongClockIsCorrected(t *testing.T) {
	url := database(t, t.TempDir())
	right := node(t, url, time.Now)
	org := organisation(t, right, "default")
	for _, wrong := range []time.Duration{time.Hour, -time.Hour} {
		s := node(t, url, func() time.Time { return time.Now().Add(wrong) })
		events, err := s.Publish(t.Context(), org.Key, []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: wrong.String()}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for what, at := range map[string]time.Time{"the store's clock": s.Now(), "an event": events[0].CreatedAt} {
			if off := time.Since(at).Abs(); off > time.Minute {
				t.Errorf("with a clock that is off by %v, %s is off by %v", wrong, what, off)
			}
		}
	}
	l, err := right.Events(t.Context(), org.Key, tidings.EventFilter{Since: time.Now().Add(-time.Minute)}, tidings.Page{})
	if err != nil || len(l.Items) != 2 {
		t.Errorf("%d events are of the last minute, want 2: %v", len(l.Items), err)
	}
}

// A clock is compared with the time that the database tells in a turn, however long
// the turn was waited for.
func testAClockIsRightAfterALongWait(t *testing.T) {
	url := database(t, t.TempDir())
	var behind atomic.Int64
	behind.Store(int64(9 * time.Second))
	s := node(t, url, func() time.Time { return time.Now().Add(-time.Duration(behind.Load())) })
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	turn, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := turn.ExecContext(t.Context(), "SELECT pg_advisory_xact_lock($1)", store.LockWrite); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := s.Spend(context.Background(), tidings.UsedNonce{ExpiresAt: time.Now()})
		done <- err
	}()
	until(t, func() bool {
		var waiting int
		err := db.QueryRow("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").Scan(&waiting)
		return err == nil && waiting == 1
	})
	behind.Store(int64(5 * time.Second)) // as if four seconds had passed
	if err := errors.Join(turn.Commit(), <-done); err != nil {
		t.Fatal(err)
	}
	if off := time.Since(s.Now()).Abs(); off > time.Second {
		t.Errorf("after a wait of 4 s the clock is off by %v", off)
	}
}

// Deadlines that all nodes find at the same time are told of once.
func testDeadlinesPassOnce(t *testing.T) {
	url, now := database(t, t.TempDir()), newClock()
	var all []*opened
	for range 3 {
		s, err := store.Open(t.Context(), store.Options{Database: url, Now: now.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		all = append(all, &opened{Store: s, clock: now, org: organisation(t, s, "default")})
	}
	o := all[0]
	template, err := o.CreateTemplate(t.Context(), o.org.Key, tidings.NewTemplate{Name: "T", Code: "t"})
	if err != nil {
		t.Fatal(err)
	}
	const offers = 50
	for range offers {
		_, err := o.CreateIssuance(t.Context(), o.org, tidings.NewIssuance{Life: time.Hour, Credentials: []tidings.NewCredential{{Template: template, Claims: map[string]any{}}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	now.Advance(2 * time.Hour)
	var group sync.WaitGroup
	for _, o := range all {
		group.Go(func() {
			for swept := 1; swept > 0; {
				var err error // of this node
				if swept, _, err = o.SweepDeadlines(context.Background(), 10); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	l, err := o.Events(t.Context(), o.org.Key, tidings.EventFilter{Type: tidings.IssuanceExpired}, tidings.Page{Size: 100})
	if err != nil || len(l.Items) != offers {
		t.Errorf("%d offers expired, and %d events tell of it: %v", offers, len(l.Items), err)
	}
	o.sound(t)
}

// A recovery that two nodes carry on at the same time sends each event once, and
// counts it once; what is kept for a time goes once.
func testHouseIsKeptOnce(t *testing.T) {
	url, now := database(t, t.TempDir()), newClock()
	var all []*opened
	for range 2 {
		s, err := store.Open(t.Context(), store.Options{Database: url, Now: now.Now, Retention: 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		all = append(all, &opened{Store: s, clock: now, org: organisation(t, s, "default")})
	}
	o := all[0]
	began := now.Now()
	const events = 100
	for i := range events {
		o.publish(t, tidings.IssuanceOffered, fmt.Sprint("i", i))
	}
	now.Advance(time.Minute)
	e := o.endpoint(t, "late")
	recovery, err := o.Recover(t.Context(), o.org.Key, "late", tidings.NewRecovery{Since: began})
	if err != nil {
		t.Fatal(err)
	}
	both := func(do func(*store.Store) (int, error)) {
		var group sync.WaitGroup
		for _, o := range all {
			group.Go(func() {
				for n := 1; n > 0; {
					var err error // of this node
					o.Hush()
					if n, err = do(o.Store); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
	}
	both(func(s *store.Store) (int, error) { return s.Recovering(context.Background(), 30) })
	recovery, err = o.Recovery(t.Context(), o.org.Key, "late", recovery.ID)
	if err != nil || recovery.Recovered != events || recovery.Examined != events || recovery.EndedAt == nil {
		t.Errorf("the recovery of %d events says %+v, %v", events, recovery, err)
	}
	if got := len(o.pending(t, e)); got != events {
		t.Errorf("%d events are sent again, want %d", got, events)
	}
	for _, d := range o.pending(t, e) {
		o.record(t, result(d, tidings.DeliveryDelivered, time.Time{}))
	}
	o.sound(t)
	now.Advance(48 * time.Hour)
	both(func(s *store.Store) (int, error) { return s.Retain(context.Background(), 30) })
	l, err := o.Events(t.Context(), o.org.Key, tidings.EventFilter{}, tidings.Page{})
	if err != nil || len(l.Items) != 0 {
		t.Errorf("%d events are kept for too long, %v", len(l.Items), err)
	}
	o.sound(t)
}

// A node that has given up its shards, or lost them, still tells the others what
// it accepts: requests that it is answering go on.
func testANodeWithoutShardsTells(t *testing.T) {
	url := database(t, t.TempDir())
	ending, next := node(t, url, nil), node(t, url, nil)
	o := &opened{Store: ending, org: organisation(t, ending, "default")}
	e := o.endpoint(t, "")
	heard := make(chan tidings.Wake, 1000)
	ears := store.Ears{Missed: func() {}, Shards: func() {}, Wakes: func(wakes []tidings.Wake) {
		for _, w := range wakes {
			heard <- w
		}
	}}
	var group sync.WaitGroup
	ctx, deaf := context.WithCancel(t.Context())
	defer group.Wait()
	defer deaf()
	group.Go(func() { next.Listen(ctx, ears) })
	group.Go(func() {
		ending.Listen(ctx, store.Ears{Missed: func() {}, Shards: func() {}, Wakes: func([]tidings.Wake) {}})
	})
	until(t, func() bool { return ending.Listens() && next.Listens() })
	for what, end := range map[string]func() error{
		"that has left": func() error { return ending.Leave(t.Context()) },
		"that is leaving": func() error {
			_, _, err := ending.KeepLease(t.Context(), tidings.Yield{}, true)
			return err
		},
		"whose lease has been lost": func() error { return ending.EndLease(t.Context()) },
	} {
		keepLease(t, next)
		keepLease(t, ending)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		keepLease(t, next)
		o.publish(t, tidings.IssuanceOffered, what)
		until(t, func() bool {
			select {
			case w := <-heard:
				return w.EndpointKey == e.Key
			default:
				return false
			}
		})
	}
}

// A node that accepts the second event of an issuance may not have heard of the
// first, which another accepted: its lane is read from that on.
func testNoWakePassesAnEarlierEvent(t *testing.T) {
	url := database(t, t.TempDir())
	other := node(t, url, nil)
	var wakes []tidings.Wake
	s, err := store.Open(t.Context(), store.Options{Database: url, OnWake: func(w []tidings.Wake) { wakes = append(wakes, w...) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	o := &opened{Store: other, org: organisation(t, other, "default")}
	e := o.endpoint(t, "")
	o.publish(t, tidings.IssuanceOffered, "i")
	o.Store = s
	o.publish(t, tidings.IssuanceCompleted, "i")
	first := o.pending(t, e)[0]
	if len(wakes) != 1 || len(wakes[0].Deliveries) != 0 || wakes[0].Due.After(first.Due) {
		t.Errorf("the wake is %+v, but an event that is due at %v comes first", wakes, first.Due)
	}
	wakes = nil
	o.publish(t, tidings.IssuanceOffered, "another")
	if len(wakes) != 1 || len(wakes[0].Deliveries) != 1 {
		t.Errorf("where nothing comes first, the wake is %+v", wakes)
	}
}
