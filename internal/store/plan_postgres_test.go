package store

import (
	"database/sql"
	"strings"
	"testing"

	"tidings/internal/pgtest"
)

// TestPlansOnPostgreSQL holds the plans of a writer's statements where the
// statistics are at their worst: of a queue that was empty when it was vacuumed
// last, and has grown since. Any plan seems to cost nothing then.
func TestPlansOnPostgreSQL(t *testing.T) {
	url := pgtest.NewDatabase(t, pgtest.Start(t, "autovacuum=off"))
	s, err := Open(t.Context(), Options{Database: url})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exec := func(text string) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	const fill = "INSERT INTO queue SELECT i % 100, i, i, i, i, 0, 0, 0, 0 FROM generate_series(1, 20000) AS i"
	exec(fill)
	exec("DELETE FROM queue")
	exec("VACUUM (TRUNCATE off, ANALYZE)")
	exec(fill)
	for _, row := range []struct{ query, args, plan string }{
		{deleteEnded.byColumn(), "NULL, NULL, NULL", "Index Scan using queue_id on queue q|Index Cond: ((endpoint_id = v.endpoint) AND (id = v.id))"},
		{deleteEnded.text(1), "1, 1, 1", "Index Scan using queue_id on queue|Index Cond: ((endpoint_id = $1) AND (id = $3))"},
		{endQueued, "1, 1, 1", "Index Scan using queue_id on queue|Index Cond: ((endpoint_id = $1) AND (id = $3))"},
		{issuancesWaiting.byColumn(), "NULL", "Index Only Scan using queue_issuance on queue|Index Cond: (issuance_key = unnest.unnest)"},
		{heldAnywhere, "1", "Index Only Scan using queue_issuance on queue|Index Cond: (issuance_key = $1)"},
		{heldDue, "1, 1, 1", "using queue_issuance on queue|Index Cond: ((issuance_key = $1) AND (endpoint_id = $2)"},
		{firstHeld, "1, 1, 1", "using queue_issuance on queue|Index Cond: ((issuance_key = $1) AND (endpoint_id = $2)"},
		{moveAlong, "1, 1, 1, 1", "Index Scan using queue_issuance on queue|Index Cond: (issuance_key = $2)"},
		{stillMissing.byColumn(), "NULL, NULL, NULL", "Index Scan using queue_issuance on queue q|Index Scan using delivery_event on delivery d"},
	} {
		exec("BEGIN")
		exec("SELECT set_config('plan_cache_mode', 'force_generic_plan', true)" + byIndex)
		exec("PREPARE statement AS " + s.db.bind(row.query))
		rows, err := conn.QueryContext(t.Context(), "EXPLAIN (COSTS OFF) EXECUTE statement ("+row.args+")")
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		if err := eachRow(rows, func(r scanner) error {
			var line string
			err := r.Scan(&line)
			lines = append(lines, line)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		exec("ROLLBACK")
		exec("DEALLOCATE statement")
		plan := strings.Join(lines, "\n")
		for want := range strings.SplitSeq(row.plan, "|") {
			if !strings.Contains(plan, want) {
				t.Errorf("%s\nis planned as\n%s\nwant %s", row.query, plan, want)
			}
		}
	}
}
