package store

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tidings"
	"tidings/internal/pgtest"
	"tidings/internal/sqlitelog"
)

// BenchmarkDelivery is what the store does for one delivery: an event comes in,
// and the result of its one attempt is recorded. 64 of each share a commit, as
// with 64 publishers. Where many organisations publish in turns, each has its own
// pages in most indexes.
func BenchmarkDelivery(b *testing.B) {
	for _, organisations := range []int{1, 100} {
		b.Run(fmt.Sprint("organisations-", organisations), func(b *testing.B) {
			benchmarkDelivery(b, Options{Dir: b.TempDir()}, organisations, 64)
		})
	}
}

// BenchmarkDeliveryOnPostgreSQL is the same on a PostgreSQL that syncs. As servers
// take turns to write, the time is what one database has for a delivery; the
// other figures are what it writes.
func BenchmarkDeliveryOnPostgreSQL(b *testing.B) {
	for _, group := range []int{64, 512, 2000} {
		b.Run(fmt.Sprint("commits-of-", group), func(b *testing.B) {
			url := pgtest.Start(b, append(pgtest.Durable, "shared_buffers=512MB", "max_wal_size=4GB")...)
			db, err := sql.Open("pgx", url)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			size := func() (bytes, wal float64) {
				if err := db.QueryRow("SELECT pg_database_size(current_database()), pg_current_wal_insert_lsn() - '0/0'::pg_lsn").Scan(&bytes, &wal); err != nil {
					b.Fatal(err)
				}
				return bytes, wal
			}
			bytes, wal := size()
			benchmarkDelivery(b, Options{Database: url}, 1, group)
			bytesThen, walThen := size()
			b.ReportMetric((bytesThen-bytes)/float64(b.N), "stored-B/op")
			b.ReportMetric((walThen-wal)/float64(b.N), "wal-B/op")
		})
	}
}

// benched opens a store for a benchmark, with an organisation.
func benched(b *testing.B, o Options) (*Store, tidings.Organisation) {
	b.Helper()
	s, err := Open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	c, err := s.CreateClient(b.Context(), "default", tidings.Client{ID: "client", Scopes: tidings.AllScopes})
	if err != nil {
		b.Fatal(err)
	}
	return s, c.Organisation
}

func addEndpoint(b *testing.B, s *Store, org int64) {
	b.Helper()
	if _, err := s.CreateEndpoint(b.Context(), org, tidings.NewEndpoint{Settings: tidings.Settings{URL: "https://receiver.example/webhooks", MaxInFlight: 8}}); err != nil {
		b.Fatal(err)
	}
}

func addTemplate(b *testing.B, s *Store, org int64) tidings.Template {
	b.Helper()
	t, err := s.CreateTemplate(b.Context(), org, tidings.NewTemplate{Name: "Library card", Code: "library-card", Attributes: map[string]tidings.Attribute{"card_number": {Type: "string"}}})
	if err != nil {
		b.Fatal(err)
	}
	return t
}

// spent is what this process has used of the processor, and what it has written
// to files, since it began.
func spent(b *testing.B) (cpu time.Duration, written int64) {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	counts, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(counts), "rchar: %d\nwchar: %d", new(int64), &written); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), written
}

func benchmarkDelivery(b *testing.B, o Options, organisations, group int) {
	var wakes []tidings.Wake
	o.OnWake = func(w []tidings.Wake) { wakes = append(wakes, w...) }
	s, first := benched(b, o)
	orgs := []int64{first.Key}
	for len(orgs) < organisations {
		name := fmt.Sprint("organisation-", len(orgs))
		c, err := s.CreateClient(b.Context(), name, tidings.Client{ID: name, Scopes: tidings.AllScopes})
		if err != nil {
			b.Fatal(err)
		}
		orgs = append(orgs, c.Organisation.Key)
	}
	for _, org := range orgs {
		addEndpoint(b, s, org)
	}
	var recording time.Duration
	b.ReportAllocs()
	b.ResetTimer()
	cpu, written := spent(b)
	for done := 0; done < b.N; done += group {
		wakes = wakes[:0]
		writes := make([]func(*tx) error, group)
		for i := range writes {
			org := orgs[(done+i)%len(orgs)]
			event := tidings.NewEvent{Type: tidings.IssuanceCompleted, IssuanceID: fmt.Sprint("bench-", done+i)}
			writes[i] = func(t *tx) error {
				_, err := s.publish(t, org, []tidings.NewEvent{event})
				return err
			}
		}
		for _, err := range s.w.submitAll(classPublish, 1, writes) {
			if err != nil {
				b.Fatal(err)
			}
		}
		var results []tidings.AttemptResult
		for _, w := range wakes {
			for _, d := range w.Deliveries {
				results = append(results, tidings.AttemptResult{Delivery: d, Status: tidings.DeliveryDelivered,
					Attempt: tidings.Attempt{Number: 1, StartedAt: time.Now(), Duration: time.Millisecond, StatusCode: 204}})
			}
		}
		begun := time.Now()
		for _, err := range s.Record(results) {
			if err != nil {
				b.Fatal(err)
			}
		}
		recording += time.Since(begun)
	}
	b.StopTimer()
	cpuThen, writtenThen := spent(b)
	b.ReportMetric(float64((cpuThen-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(writtenThen-written)/float64(b.N), "written-B/op")
	b.ReportMetric(float64(recording.Nanoseconds())/float64(b.N), "record-ns/op")
	if n, err := s.BusyLanes(b.Context()); err != nil || len(n) != 0 {
		b.Fatal(n, err)
	}
}

// BenchmarkIssuance reads an issuance with its credential, as a wallet's steps do
// six times.
func BenchmarkIssuance(b *testing.B) {
	s, org := benched(b, Options{Dir: b.TempDir()})
	t := addTemplate(b, s, org.Key)
	i, err := s.CreateIssuance(b.Context(), org, tidings.NewIssuance{Life: time.Hour, Credentials: []tidings.NewCredential{
		{Template: t, Claims: map[string]any{"card_number": "LC-1042", "holder_name": "Ada Example", "valid_until": "2030-12-31"}}}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Issuance(b.Context(), org.Key, i.ID); err != nil {
			b.Fatal(err)
		}
	}
}

// TestOnlySyncedConnectionsWrite: the writer's is, and one that is not is refused.
func TestOnlySyncedConnectionsWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tidings.db")
	if err := sqlitelog.Register(); err != nil {
		t.Fatal(err)
	}
	for dsn, ok := range map[string]bool{dsn(file, false): true, "file:" + file + "?_pragma=synchronous(normal)": false} {
		db, err := sql.Open("sqlite", dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := synced(t.Context(), conn); (err == nil) != ok {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}

func TestBind(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT 1":          "SELECT 1",
		"a = $1 AND b = $2": "a = ? AND b = ?",
		"a = $2 AND b = $1": "a = ?2 AND b = ?1",
		"a = $1 AND b = $1": "a = ?1 AND b = ?1",
		"a = $1 AND b = $3": "a = ?1 AND b = ?3",
		"a = $12":           "a = ?12",
		"$1, $2, $3, $4, $5, $6, $7, $8, $9, $10": "?, ?, ?, ?, ?, ?, ?, ?, ?, ?",
	} {
		if got := new(embedded).bind(query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// Where nothing is traced, the store's way pays nothing for it.
func TestTracesThatAreOffCostNothing(t *testing.T) {
	s := &Store{w: &writer{}}
	x := &tx{w: s.w}
	read, ctx := make([]tidings.PendingDelivery, 8), t.Context()
	allocations := testing.AllocsPerRun(100, func() {
		traceparent, err := x.traceOf(1)
		if err != nil || traceparent != "" || x.keepTrace(1) != nil || s.addTraces(ctx, read) != nil {
			t.Error(traceparent, err)
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}
