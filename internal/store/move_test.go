package store_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"tidings"
	"tidings/internal/pgtest"
	"tidings/internal/store"
)

// A move that fails, or that changes something on the way, leaves nothing behind
// and can be repeated.
func TestAMoveIsWholeOrNothing(t *testing.T) {
	dir, url := t.TempDir(), pgtest.NewDatabase(t, pgtest.Start(t))
	o := open(t, dir)
	o.endpoint(t, "e")
	for _, issuance := range []string{"a", "b", "c"} {
		o.publish(t, tidings.IssuanceOffered, issuance)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	there, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	here, err := sql.Open("sqlite", filepath.Join(dir, "tidings.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close() })
	exec := func(db *sql.DB, text string) {
		t.Helper()
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(what string) {
		t.Helper()
		_, err := store.Move(t.Context(), store.MoveOptions{Dir: dir, Database: url})
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("the move gives %v, want %s", err, what)
		}
		var rows int
		if err := there.QueryRow("SELECT (SELECT count(*) FROM organisation) + (SELECT count(*) FROM event) + (SELECT count(*) FROM secret)").Scan(&rows); err != nil || rows != 0 {
			t.Errorf("%d rows are left behind, %v", rows, err)
		}
	}
	exec(here, "UPDATE endpoint SET description = 'a' || char(0)")
	fails("moving endpoint: ")
	exec(here, "UPDATE endpoint SET description = 'a'")
	exec(there, "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.issuance_id := upper(NEW.issuance_id); RETURN NEW; END'")
	exec(there, "CREATE TRIGGER spoil BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION spoil()")
	fails("moving event: 3 rows were read and 3 are there, or they differ")
	exec(there, "DROP TRIGGER spoil ON event")

	if _, err := store.Move(t.Context(), store.MoveOptions{Dir: dir, Database: pgtest.Bouncer(t, url)}); err != nil { // a pooler is no matter
		t.Fatal(err)
	}
	var rest int
	if err := there.QueryRow("SELECT count(*) FROM event_rest").Scan(&rest); err != nil || rest != 0 {
		t.Errorf("%d events are in no partition that can be dropped, %v", rest, err)
	}
	moved, err := store.Open(t.Context(), store.Options{Database: url, Now: o.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	o = &opened{Store: moved, org: o.org, clock: o.clock}
	t.Cleanup(func() { o.Store.Close() })
	o.publish(t, tidings.IssuanceCompleted, "a") // the keys go on
	e, err := o.Endpoint(t.Context(), o.org.Key, "e")
	if err != nil || e.Backlog.Count != 4 {
		t.Errorf("%d pending, %v; want 4", e.Backlog.Count, err)
	}
	o.sound(t)
}
