package store

import (
	"database/sql"
	"testing"
	"time"

	"tidings/internal/pgtest"
)

// What was sent again later keeps its events, be it ever so much: that must not
// keep retention from what is too old besides.
func TestWhatWasSentAgainHoldsRetentionUpNoLongerThanItLives(t *testing.T) {
	url := pgtest.NewDatabase(t, pgtest.Start(t))
	now := time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC)
	s, err := Open(t.Context(), Options{Database: url, Retention: 24 * time.Hour, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	const many = 5001 // see drop_history
	then := keyAt(now.UnixMilli())
	mustExec(t, db, "INSERT INTO event SELECT $1::bigint + i, 1, i, i, '', 'openid4vc.issuance.offered', '', 0, 0, 0 FROM generate_series(1, $2::bigint) AS i", then, many)
	house := func(by time.Duration) {
		t.Helper()
		now = now.Add(by)
		s.Hush()
		if _, err := s.Partition(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		for n := 1; n > 0; s.Hush() {
			if n, err = s.Retain(t.Context(), 1000); err != nil {
				t.Fatal(err)
			}
		}
	}
	house(12 * time.Hour)
	mustExec(t, db, "INSERT INTO delivery SELECT $1::bigint + i, 1, 1, $2::bigint + i, 'delivered', '', 1, 1, 0, 0, 101, 0 FROM generate_series(1, $3::bigint) AS i", keyAt(now.UnixMilli()), then, many)
	for range 10 {
		house(6 * time.Hour)
	}
	var events, deliveries, oldest int
	if err := db.QueryRow("SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM delivery)").Scan(&events, &deliveries); err != nil {
		t.Fatal(err)
	}
	there, err := periods(s.reader(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range there {
		if p.to < keyAt(now.Add(-48*time.Hour).UnixMilli()) {
			oldest++
		}
	}
	if events != 0 || deliveries != 0 || oldest != 0 {
		t.Errorf("two and a half days later %d events, %d deliveries and %d old periods are left", events, deliveries, oldest)
	}
}
