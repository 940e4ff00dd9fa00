package store_test

import (
	"database/sql"
	"testing"
	"time"

	"tidings"
	"tidings/internal/store"
)

// testACheckSeesAWholeDrop has partitions be dropped while a check begins: it waits for
// them, and sees what is there then. A table without a partition and rows of before
// that is a store that never was.
func testACheckSeesAWholeDrop(t *testing.T) {
	url := database(t, t.TempDir())
	o := &opened{clock: newClock()}
	var err error
	if o.Store, err = store.Open(t.Context(), store.Options{Database: url, Now: o.clock.Now, Retention: 24 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Store.Close() })
	o.org = organisation(t, o.Store, "default")
	e := o.endpoint(t, "a")
	o.publish(t, tidings.IssuanceCompleted, "i")
	o.deliver(t, e, tidings.DeliveryFailed)
	o.clock.Advance(12 * time.Hour)
	l, err := o.Deliveries(t.Context(), o.org.Key, tidings.DeliveryFilter{}, tidings.Page{})
	if err != nil || len(l.Items) != 1 {
		t.Fatalf("%v %v", l, err)
	}
	if _, err := o.RetryDelivery(t.Context(), o.org.Key, l.Items[0].ID, tidings.Origin{}); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	drop, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer drop.Rollback()
	var from, to int64
	err = db.QueryRow(`SELECT CAST(substring(bound FROM 'FROM \(''(\d+)''\)') AS BIGINT), CAST(substring(bound FROM 'TO \(''(\d+)''\)') AS BIGINT)
		FROM (SELECT pg_get_expr(relpartbound, oid) AS bound FROM pg_class WHERE oid = (SELECT tableoid FROM event)) AS part`).Scan(&from, &to)
	if err != nil {
		t.Fatal(err)
	}
	var outcome string
	if err := drop.QueryRow("SELECT drop_history($1, $2, 0)", from, to).Scan(&outcome); err != nil || outcome != "dropped" {
		t.Fatal(outcome, err)
	}
	type found struct {
		breaches []string
		err      error
	}
	checked := make(chan found, 1)
	go func() {
		breaches, err := o.Check(t.Context(), 10)
		checked <- found{breaches, err}
	}()
	until(t, func() bool {
		var waiting bool
		err := db.QueryRow("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')").Scan(&waiting)
		return err == nil && waiting
	})
	if err := drop.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := <-checked; got.err != nil || len(got.breaches) > 0 {
		t.Errorf("a check that waited for a drop: %v %q", got.err, got.breaches)
	}
}
