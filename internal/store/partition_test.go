package store

import (
	"database/sql"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"tidings/internal/pgtest"
)

// unpartitioned makes a database as it was before its history was partitioned,
// with some history, and gives a connection to it.
func unpartitioned(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	files, err := fs.Glob(migrations, "migrations/postgres/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "CREATE TABLE migration (number INTEGER PRIMARY KEY)")
	for i, file := range files[:slices.Index(files, "migrations/postgres/0009_history_bound.sql")] {
		text, err := migrations.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, db, string(text))
		mustExec(t, db, "INSERT INTO migration (number) VALUES ($1)", i+1)
	}
	return db
}

func mustExec(t *testing.T, db interface {
	Exec(string, ...any) (sql.Result, error)
}, text string, args ...any) {
	t.Helper()
	if _, err := db.Exec(text, args...); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// older writes history as a server of the version before does: by statements that
// it has prepared, in turns.
type older struct {
	insertEvents, insertDeliveries, insertAttempts, deleteAttempts, deleteDeliveries *sql.Stmt
	db                                                                               *sql.DB
	keys                                                                             keys
	now                                                                              int64
}

func newOlder(t *testing.T, db *sql.DB, now time.Time) *older {
	t.Helper()
	w := &older{db: db, now: now.UnixMilli(), keys: keys{node: 1}}
	for stmt, s := range map[**sql.Stmt]bulkStatement{&w.insertEvents: insertEvents, &w.insertDeliveries: insertDeliveries, &w.insertAttempts: insertAttempts,
		&w.deleteAttempts: deleteAttempts, &w.deleteDeliveries: deleteDeliveries} {
		var err error
		if *stmt, err = db.Prepare(s.byColumn()); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// turn writes two events that were delivered, and drops a delivery of a third.
func (w *older) turn() error {
	w.now++
	tx, err := w.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec("SELECT pg_advisory_xact_lock($1)", int64(lockWrite)); err != nil {
		return err
	}
	var events, deliveries, attempts, gone rows
	for i := range 3 {
		event, d := w.keys.next(w.now), w.keys.next(w.now)
		deliver := 1
		if i == 2 {
			deliver = 0
			gone.add(d)
		}
		events.add(event, 1, event, event, "", "openid4vc.issuance.offered", []byte("{}"), deliver, 0, w.now)
		deliveries.add(d, 1, 1, event, "delivered", "", 1, 0, w.now, w.now, 101, 0)
		attempts.add(d, 1, w.now, 1, 0, 0, 0, 0, 204, "", "", []byte{})
	}
	for _, s := range []struct {
		stmt  *sql.Stmt
		types string
		rows  rows
	}{{w.insertEvents, insertEvents.types, events}, {w.insertDeliveries, insertDeliveries.types, deliveries}, {w.insertAttempts, insertAttempts.types, attempts},
		{w.deleteAttempts, "i", gone}, {w.deleteDeliveries, "i", gone}} {
		if _, err := tx.Stmt(s.stmt).Exec(columnsOf(s.types, s.rows.args)...); err != nil {
			return err
		}
	}
	if _, err := tx.Exec("INSERT INTO counter (name, value) VALUES ('last_key/1', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value", w.keys.last); err != nil {
		return err
	}
	return tx.Commit()
}

// History is partitioned while a server of the version before goes on writing:
// what was there is the oldest partition, and nothing is missing afterwards.
func TestHistoryIsPartitionedBesideAServer(t *testing.T) {
	server := pgtest.Start(t)
	for name, ahead := range map[string]time.Duration{"": 0, " of a clock that was ahead": 400 * 24 * time.Hour} {
		url := pgtest.NewDatabase(t, server)
		db := unpartitioned(t, url)
		now := time.Now().Add(ahead)
		w := newOlder(t, db, now)
		for range 20 {
			if err := w.turn(); err != nil {
				t.Fatal(err)
			}
		}
		turns := 20
		// Somebody reads for long: the migration waits, and the server does not.
		reader, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, reader, "SELECT count(*) FROM event")
		migrated := make(chan error, 1)
		go func() {
			ran, err := Migrate(t.Context(), url)
			if err == nil && ran < 3 {
				err = fmt.Errorf("%d migrations ran", ran)
			}
			migrated <- err
		}()
		for ended := false; !ended; {
			select {
			case err := <-migrated:
				if err != nil {
					t.Fatal(err)
				}
				ended = true
			default:
			}
			if err := w.turn(); err != nil {
				t.Fatalf("a server of the version before, beside the migration: %v", err)
			}
			if turns++; turns == 40 {
				reader.Rollback()
			}
		}
		for range 20 {
			if err := w.turn(); err != nil {
				t.Fatalf("a server of the version before, behind the migration: %v", err)
			}
			turns++
		}
		var events, deliveries, attempts, first int
		if err := db.QueryRow("SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM delivery), (SELECT count(*) FROM attempt), (SELECT count(*) FROM event_2025010100)").Scan(&events, &deliveries, &attempts, &first); err != nil {
			t.Fatal(err)
		}
		if events != 3*turns || first != events || deliveries != 2*turns || attempts != 2*turns {
			t.Errorf("%d turns%s left %d events (%d of them in the oldest partition), %d deliveries and %d attempts", turns, name, events, first, deliveries, attempts)
		}
		s, err := Open(t.Context(), Options{Database: url, Retention: 720 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		there, err := periods(s.reader(t.Context()))
		if err != nil || len(there) == 0 || !there[0].first() || timeOf(there[0].to) < now.Add(7*24*time.Hour).UnixMilli() {
			t.Errorf("the periods%s are %v, %v", name, there, err)
		}
		if breaches, err := s.Check(t.Context(), 10); err != nil || len(breaches) > 0 {
			t.Errorf("the store's invariants: %v %q", err, breaches)
		}
	}
}

func TestPeriodsAhead(t *testing.T) {
	const hour = int64(time.Hour/time.Millisecond) << (nodeBits + counterBits)
	now := keyEpoch + (100*time.Hour + 30*time.Minute).Milliseconds()
	hours := func(pairs ...int64) (out []period) {
		for pair := range slices.Chunk(pairs, 2) {
			out = append(out, period{pair[0] * hour, pair[1] * hour})
		}
		return out
	}
	for name, row := range map[string]struct{ there, want []period }{
		"none":                       {nil, hours(96, 102, 102, 108)},
		"this one":                   {hours(96, 102), hours(102, 108)},
		"both":                       {hours(96, 102, 102, 108), nil},
		"long ago":                   {hours(6, 12), hours(96, 102, 102, 108)},
		"only the next":              {hours(102, 108), hours(96, 102)},
		"shorter ones":               {hours(96, 98, 98, 101), hours(101, 102, 102, 108)},
		"shorter ones with a gap":    {hours(97, 98), hours(96, 97, 98, 102, 102, 108)},
		"a longer one":               {hours(0, 103), hours(103, 108)},
		"what was there, far enough": {hours(0, 200), nil},
	} {
		if got := aheadPeriods(row.there, now, 6*time.Hour); !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
	for retention, want := range map[time.Duration]time.Duration{0: foreverPeriod, time.Hour: time.Hour, 24 * time.Hour: 6 * time.Hour, 30 * time.Hour: 7 * time.Hour,
		720 * time.Hour: 7 * 24 * time.Hour, 365 * 24 * time.Hour: 91 * 24 * time.Hour} {
		if got := periodLength(retention); got != want {
			t.Errorf("kept for %v, a period takes %v, want %v", retention, got, want)
		}
	}
}

func TestOldPart(t *testing.T) {
	const hour = int64(time.Hour/time.Millisecond) << (nodeBits + counterBits)
	const kept = 3 * time.Hour
	first, second, long := period{0, 10 * hour}, period{10 * hour, 16 * hour}, period{10 * hour, 34 * hour}
	for name, row := range map[string]struct {
		there   []period
		before  int64
		crowded period
		whole   period
		singly  int64
	}{
		"no partitions":                  {nil, 50 * hour, period{}, period{}, 50 * hour},
		"what was there before, in part": {[]period{first, second}, 5 * hour, period{}, period{}, 5 * hour},
		"all of it but the slack":        {[]period{first, second}, 11*hour - 1, period{}, period{}, 10 * hour},
		"all of it":                      {[]period{first, second}, 11 * hour, period{}, first, 0},
		"a partition in part":            {[]period{second}, 12 * hour, period{}, period{}, 10 * hour},
		"nothing of it":                  {[]period{second}, 5 * hour, period{}, period{}, 5 * hour},
		"a partition":                    {[]period{second}, 17 * hour, period{}, second, 10 * hour},
		"a crowded one":                  {[]period{second}, 19 * hour, second, second, 10 * hour},
		"one that is crowded for long":   {[]period{second}, 20 * hour, second, second, 20 * hour},
		"one of when more was kept":      {[]period{long}, 20 * hour, period{}, period{}, 20 * hour},
		"all of that but the slack":      {[]period{long}, 35*hour - 1, period{}, period{}, 34 * hour},
		"all of that":                    {[]period{long}, 35 * hour, period{}, long, 10 * hour},
	} {
		whole, singly := oldPart(row.there, row.before, row.crowded, kept, 6*time.Hour)
		if whole == nil {
			whole = &period{}
		}
		if *whole != row.whole || singly != row.singly {
			t.Errorf("%s: %v as a whole and all before %d; want %v and %d", name, *whole, singly, row.whole, row.singly)
		}
	}
}

// parted is a store on PostgreSQL whose clock a test moves, with a connection to
// its database.
type parted struct {
	*Store
	t   *testing.T
	url string
	db  *sql.DB
	now time.Time
}

func newParted(t *testing.T, server string) *parted {
	t.Helper()
	p := &parted{t: t, url: pgtest.NewDatabase(t, server), now: time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC)}
	var err error
	if p.db, err = sql.Open("pgx", p.url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.db.Close() })
	p.Store = p.open()
	return p
}

func (p *parted) open() *Store {
	p.t.Helper()
	s, err := Open(p.t.Context(), Options{Database: p.url, Retention: 24 * time.Hour, Now: func() time.Time { return p.now }})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { s.Close() })
	return s
}

// write writes history of a time: three events and two deliveries each turn.
func (p *parted) write(at time.Time, turns int) {
	p.t.Helper()
	w := newOlder(p.t, p.db, at)
	for range turns {
		if err := w.turn(); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *parted) retain() {
	p.t.Helper()
	for {
		p.Hush()
		if n, err := p.Retain(p.t.Context(), 1000); err != nil || n == 0 {
			if err != nil {
				p.t.Fatal(err)
			}
			return
		}
	}
}

func (p *parted) partition(want int) {
	p.t.Helper()
	if made, err := p.Partition(p.t.Context(), 0); err != nil || made != want {
		p.t.Errorf("%d periods were made, %v; want %d", made, err, want)
	}
}

// holds compares how many periods, events and deliveries there are, and events in
// the partition for the rest.
func (p *parted) holds(when string, want [4]int) {
	p.t.Helper()
	var got [4]int
	err := p.db.QueryRow("SELECT (SELECT count(*) - 1 FROM pg_inherits WHERE inhparent = 'event'::regclass), (SELECT count(*) FROM event), (SELECT count(*) FROM delivery), (SELECT count(*) FROM event_rest)").
		Scan(&got[0], &got[1], &got[2], &got[3])
	if err != nil || got != want {
		p.t.Errorf("%s there are %v periods, events, deliveries, and events in the rest, %v; want %v", when, got, err, want)
	}
	if breaches, err := p.Check(p.t.Context(), 10); err != nil || len(breaches) > 0 {
		p.t.Errorf("the store's invariants %s: %v %q", when, err, breaches)
	}
}

func TestPartitionsComeAndGo(t *testing.T) {
	server := pgtest.Start(t)
	t.Run("AheadOfTime", func(t *testing.T) {
		p := newParted(t, server)
		p.holds("at first", [4]int{2, 0, 0, 0})
		p.now = p.now.Add(6 * time.Hour)
		p.partition(1)
		p.partition(0)
		p.Store = p.open() // as another node
		p.partition(0)
		p.holds("a period later", [4]int{3, 0, 0, 0})
	})
	t.Run("OverWhatIsThere", func(t *testing.T) {
		p := newParted(t, server)
		p.write(p.now.Add(48*time.Hour), 10) // a clock is ahead, or nobody has kept the house for long
		p.holds("with nowhere else to go", [4]int{2, 30, 20, 30})
		p.now = p.now.Add(48 * time.Hour)
		p.partition(2)
		p.holds("behind the house-keeping", [4]int{4, 30, 20, 0})
	})
	t.Run("OverTooMuch", func(t *testing.T) {
		p := newParted(t, server)
		p.now = p.now.Add(48 * time.Hour)
		mustExec(t, p.db, "INSERT INTO event SELECT $1::bigint + i, 1, i, i, '', 'openid4vc.issuance.offered', '', 0, 0, 0 FROM generate_series(1, 5001) AS i", keyAt(p.now.UnixMilli()))
		p.partition(1) // the next one, as there are too many of this
		p.holds("with too much in the rest", [4]int{3, 5001, 0, 5001})
		p.now = p.now.Add(40 * time.Hour)
		p.retain()
		p.holds("when that is too old", [4]int{0, 0, 0, 0})
	})
	t.Run("WhileSomebodyReads", func(t *testing.T) {
		p := newParted(t, server)
		p.write(p.now, 10)
		p.now = p.now.Add(30 * time.Hour)
		reader, err := p.db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Rollback()
		mustExec(t, reader, "SELECT count(*) FROM event")
		p.retain()
		p.partition(0)
		p.holds("while somebody reads", [4]int{2, 30, 20, 0})
		if err := reader.Commit(); err != nil {
			t.Fatal(err)
		}
		p.now = p.now.Add(lockAgain)
		p.retain()
		p.partition(2)
		p.holds("afterwards", [4]int{3, 0, 0, 0})
	})
	t.Run("OrNotAtAll", func(t *testing.T) {
		p := newParted(t, server)
		p.write(p.now, 10)
		p.now = p.now.Add(30 * time.Hour)
		there, err := periods(p.reader(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		dying, err := p.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer dying.Close()
		var outcome string
		var pid int
		if _, err := dying.ExecContext(t.Context(), "BEGIN"); err != nil {
			t.Fatal(err)
		}
		if err := dying.QueryRowContext(t.Context(), "SELECT drop_history($1, $2, 0), pg_backend_pid()", there[0].from, there[0].to).Scan(&outcome, &pid); err != nil || outcome != "dropped" {
			t.Fatal(outcome, err)
		}
		mustExec(t, p.db, "SELECT pg_terminate_backend($1, 10000)", pid)
		p.holds("when the connection died before the commit", [4]int{2, 30, 20, 0})
		p.retain()
		p.holds("when it was done again", [4]int{1, 0, 0, 0})
	})
	t.Run("WithTheirFiles", func(t *testing.T) { testFilesAreDeleted(t, newParted(t, server)) })
	t.Run("CrowdedRowByRow", func(t *testing.T) { testCrowdedGoesRowByRow(t, newParted(t, server)) })
}

func TestPartitionsAreWhereTheKeysAre(t *testing.T) {
	p := newParted(t, pgtest.Start(t))
	p.write(p.now.Add(400*24*time.Hour), 10) // as it was for a moment: keys do not go back with the clock
	p.partition(2)
	p.partition(0)
	p.holds("when the clock is right again", [4]int{4, 30, 20, 0})
}

// testFilesAreDeleted drops what was taken out, once nobody reads it.
func testFilesAreDeleted(t *testing.T, p *parted) {
	mustExec(t, p.db, "CREATE TABLE gone_event_of_somebody ()") // which is nothing of history
	p.write(p.now, 10)
	p.now = p.now.Add(30 * time.Hour)
	p.retain()
	p.holds("when they are taken out", [4]int{1, 0, 0, 0})
	reader, err := p.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback()
	forget := func(want int) {
		t.Helper()
		if dropped, err := p.Forget(t.Context(), 0); err != nil || dropped != want {
			t.Errorf("%d tables were dropped, %v; want %d", dropped, err, want)
		}
	}
	mustExec(t, reader, "SELECT (SELECT count(*) FROM gone_event_2026030112), (SELECT count(*) FROM gone_delivery_2026030112), (SELECT count(*) FROM gone_attempt_2026030112)")
	forget(0)
	if err := reader.Commit(); err != nil {
		t.Fatal(err)
	}
	forget(0) // not at once
	p.now = p.now.Add(lockAgain)
	for _, want := range []int{1, 1, 1, 0} {
		forget(want)
	}
	if p.forgetAgain.Load() > p.now.UnixMilli() {
		t.Error("a table of somebody else's is asked for again and again")
	}
	var left string
	if err := p.db.QueryRow("SELECT string_agg(relname, ' ') FROM pg_class WHERE relname LIKE 'gone%'").Scan(&left); err != nil || left != "gone_event_of_somebody" {
		t.Errorf("of tables and indexes %q is left, %v", left, err)
	}
}

// testCrowdedGoesRowByRow has too much of a period live on.
func testCrowdedGoesRowByRow(t *testing.T, p *parted) {
	p.write(p.now, 10)
	key := keyAt(p.now.Add(time.Minute).UnixMilli())
	mustExec(t, p.db, "INSERT INTO event SELECT $1::bigint, 1, 1, 1, '', 'openid4vc.issuance.offered', '', 5001, 0, 0", key)
	mustExec(t, p.db, "INSERT INTO delivery SELECT $1::bigint + i, 1, 1, $1::bigint, 'failed', 'retention', 0, 0, 0, $2::bigint, 201, 1 FROM generate_series(1, 5001) AS i",
		key, p.now.Add(30*time.Hour).UnixMilli())
	p.now = p.now.Add(30 * time.Hour)
	p.retain()
	p.holds("with too much that lives on", [4]int{2, 31, 5021, 0})
	p.now = p.now.Add(12 * time.Hour) // when that should be past
	mustExec(t, p.db, "UPDATE delivery SET ended_at = $1 WHERE late = 1", p.now.UnixMilli())
	p.retain()
	p.holds("row by row", [4]int{2, 1, 5001, 0})
	p.now = p.now.Add(12*time.Hour + time.Millisecond)
	p.retain()
	p.holds("when nothing lives on", [4]int{0, 0, 0, 0})
}
