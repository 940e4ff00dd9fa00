package store

import (
	"cmp"
	"database/sql"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/internal/pgtest"
)

// session opens a session on a PostgreSQL, and gives what runs a statement in it.
func session(t *testing.T, url string) (conn *sql.Conn, exec func(text string, args ...any)) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if conn, err = db.Conn(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, func(text string, args ...any) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), text, args...); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

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
	conn, exec := session(t, url)
	fill := func() {
		exec("INSERT INTO queue SELECT i % 100, i, i, i, i, 0, 0, 0, 0 FROM generate_series(1, 20000) AS i")
		exec("INSERT INTO nonce SELECT int8send(i), i FROM generate_series(1, 20000) AS i")
		exec("INSERT INTO idempotency SELECT i % 100, 'issuances', i, '', '', i FROM generate_series(1, 20000) AS i")
	}
	fill()
	for _, table := range []string{"queue", "nonce", "idempotency"} {
		exec("DELETE FROM " + table)
	}
	exec("VACUUM (TRUNCATE off, ANALYZE)")
	fill()
	exec("INSERT INTO event SELECT i, 1, i, i, '', '', '', 0, 0, 0 FROM generate_series(1, 20000) AS i")
	exec("INSERT INTO organisation VALUES (1, 'a', 0)")
	exec("INSERT INTO template (id, organisation_id, name, code, description, attributes, created_at, updated_at) VALUES (1, 1, '', '', '', '', 0, 0)")
	exec("INSERT INTO issuance (id, organisation_id, state, expires_at, created_at, updated_at) SELECT i, 1, '', 0, 0, 0 FROM generate_series(1, 20000) AS i")
	exec("INSERT INTO credential (id, issuance_id, template_id, status, claims) SELECT i, i, 1, '', '' FROM generate_series(1, 20000) AS i")
	for _, row := range []struct{ query, args, plan string }{
		{deleteEnded.byColumn(), "NULL, NULL, NULL", "Index Scan using queue_id on queue q|Index Cond: ((endpoint_id = v.endpoint) AND (id = v.id))"},
		{deleteEnded.text(1), "1, 1, 1", "Index Scan using queue_id on queue|Index Cond: ((endpoint_id = $1) AND (id = $3))"},
		{endQueued, "1, 1, 1", "Index Scan using queue_id on queue|Index Cond: ((endpoint_id = $1) AND (id = $3))"},
		{issuancesWaiting.byColumn(), "NULL", "Index Only Scan using queue_issuance on queue|Index Cond: (issuance_key = unnest.unnest)"},
		{heldWithin.byColumn(), "NULL, NULL, NULL", "Index Only Scan using queue_issuance on queue|Index Cond: ((issuance_key = v.issuance) AND (endpoint_id >= v.first) AND (endpoint_id <= v.last)"},
		{heldWithin.text(1), "1, 1, 1", "Index Only Scan using queue_issuance on queue|Index Cond: ((issuance_key = $1) AND (endpoint_id >= $2) AND (endpoint_id <= $3)"},
		{waveOf, "1, 1", "Index Scan using expansion_pkey on expansion|Index Cond: (organisation_id = $1)"},
		{eventsToSend.byColumn(), "NULL", "event_rest_pkey|Index Cond: (id = ANY ("},
		{waitsToExpand, "1", "using expansion_issuance on expansion"},
		{issuancesOfSteps.byColumn(), "NULL, NULL", "on issuance i|id = v.issuance)|credential_issuance|Index Cond: (issuance_id = v.issuance)"},
		{noncesUsed.byColumn(), "NULL", "using nonce_pkey on nonce n|Index Cond: (hash = unnest.unnest)"},
		{requestsMade.byColumn(), "NULL, NULL, NULL", "Index Scan using idempotency_pkey on idempotency d|Index Cond: ((organisation_id = v.organisation)"},
		{moveIssuances.byColumn(), "NULL, NULL, NULL, NULL, NULL, NULL", "issuance_pkey|Index Cond: (id = ANY ($1))"},
		{tellCredentials.byColumn(), "NULL, NULL, NULL, NULL, NULL", "credential_pkey|Index Cond: (id = ANY ($1))"},
		{heldAnywhere, "1", "Index Only Scan using queue_issuance on queue|Index Cond: (issuance_key = $1)"},
		{heldDue, "1, 1, 1", "using queue_issuance on queue|Index Cond: ((issuance_key = $1) AND (endpoint_id = $2)"},
		{laneOfQueued, "1, 1", "using queue_id on queue|Index Cond: ((endpoint_id = l.endpoint_id) AND (id = $2))"},
		{queuedByKey, "1, 1", "Index Scan using queue_id on queue|Index Cond: ((endpoint_id = l.endpoint_id) AND (id = $2))"},
		{firstHeld, "1, 1, 1", "using queue_issuance on queue|Index Cond: ((issuance_key = $1) AND (endpoint_id = $2)"},
		{moveAlong, "1, 1, 1, 1", "Index Scan using queue_issuance on queue|Index Cond: (issuance_key = $2)"},
		{stillMissing.byColumn(), "NULL, NULL, NULL", "Index Scan using queue_issuance on queue q|Index Scan using delivery_rest_event_id_idx on delivery_rest|Index Only Scan using event_rest_pkey on event_rest"},
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

// TestTheWriterPlansOnce holds that what a wallet's flow does is not planned anew for
// each batch, whatever arrays it comes with.
func TestTheWriterPlansOnce(t *testing.T) {
	s, err := Open(t.Context(), Options{Database: pgtest.NewDatabase(t, pgtest.Start(t))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreateClient(t.Context(), "default", tidings.Client{ID: "c"}); err != nil {
		t.Fatal(err)
	}
	org, err := s.OrganisationBySlug(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	template, err := s.CreateTemplate(t.Context(), org.Key, tidings.NewTemplate{Name: "T", Code: "t"})
	if err != nil {
		t.Fatal(err)
	}
	// How often each statement of the writer was planned anew, and all of them not.
	plans := func() (anew map[string]int, once int) {
		anew = map[string]int{}
		err := s.w.submit(t.Context(), classTransition, 0, 1, func(tx *tx) error {
			return tx.query("SELECT statement, custom_plans, generic_plans FROM pg_prepared_statements", nil, func(r scanner) error {
				var text string
				var n, kept int
				err := r.Scan(&text, &n, &kept)
				anew[text], once = n, once+kept
				return err
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return anew, once
	}
	before, _ := plans() // of migrations
	for range 3 {
		if err := s.flow(t.Context(), org, template); err != nil {
			t.Fatal(err)
		}
	}
	after, once := plans()
	for text, n := range after {
		if n > before[text] {
			t.Errorf("%d times it was planned for what it came with: %s", n-before[text], text)
		}
	}
	if once < 20 {
		t.Errorf("plans that are kept were used %d times only", once)
	}
}

// TestHistoryIsFoundOverPartitions holds what statements read that history is
// found by, over several partitions, whatever the statistics say: as many pages as
// there are rows to be found, and never a table. A statement that names no key has
// to look into each partition.
func TestHistoryIsFoundOverPartitions(t *testing.T) {
	url := pgtest.NewDatabase(t, pgtest.Start(t, "autovacuum=off", "shared_buffers=128MB"))
	now := time.Now()
	s, err := Open(t.Context(), Options{Database: url, Retention: 20 * 24 * time.Hour, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	conn, exec := session(t, url)
	there, err := periods(s.reader(t.Context()))
	if err != nil || len(there) != 2 {
		t.Fatalf("the periods are %v, %v", there, err)
	}
	// Events of 100 endpoints of 10 organisations, 20,000 for each of six periods
	// and for the rest.
	const each = 20_000
	step := there[0].to - there[0].from
	exec("INSERT INTO organisation SELECT i, i::text, 0 FROM generate_series(0, 9) AS i")
	exec(`INSERT INTO endpoint (id, organisation_id, public_id, url, filter_types, description, headers, rate_limit, max_in_flight, retry_schedule, signatures, status, created_at, updated_at)
		SELECT i, i % 10, i::text, '', '', '', '{}', 0, 8, '', 'v1', 'enabled', 0, 0 FROM generate_series(0, 99) AS i`)
	for n := range int64(7) {
		p := period{there[0].from - n*step, there[0].to - n*step}
		if n > 0 && n < 6 {
			exec("SELECT make_history($1, $2)", p.from, p.to)
		}
		exec(`INSERT INTO event SELECT k, i % 10, k, k, 'i' || k, 'openid4vc.issuance.completed', convert_to(repeat('x', 200), 'UTF8'), 1, 0, 0
			FROM (SELECT i, $1::bigint + i * 4 FROM generate_series(1, $2::bigint) AS i) AS v (i, k)`, p.from+step/2, each)
		exec(`INSERT INTO delivery SELECT k + 1, i % 10, i % 100, k, 'delivered', '', 1, 0, 0, 0, 101, 0
			FROM (SELECT i, $1::bigint + i * 4 FROM generate_series(1, $2::bigint) AS i) AS v (i, k)`, p.from+step/2, each)
		exec(`INSERT INTO attempt (delivery_id, number, started_at, duration_us, status_code, error_code, error) SELECT k + 1, 1, 0, 0, 204, '', ''
			FROM (SELECT i, $1::bigint + i * 4 FROM generate_series(1, $2::bigint) AS i) AS v (i, k)`, p.from+step/2, each)
	}
	exec("INSERT INTO queue SELECT 1, 1, $1::bigint + i * 4 + 2, $1::bigint + i * 4, 1, 0, 0, 0, 1 FROM generate_series(1, 100) AS i", there[0].from+step/2)

	exec("INSERT INTO template (id, organisation_id, name, code, description, attributes, created_at, updated_at) VALUES (1, 1, '', '', '', '{}', 0, 0)")
	exec("INSERT INTO issuance (id, organisation_id, state, status, expires_at, created_at, updated_at) SELECT i * 4, 1, s, s, 0, 0, 0 FROM (SELECT i, (ARRAY['offered', 'failed', 'completed'])[1 + i % 3] AS s FROM generate_series(1, $1::bigint) AS i) AS v", each)
	exec("INSERT INTO credential (id, issuance_id, template_id, status, issuance_status, claims) SELECT id + 1, id, 1, 'issued', status, '' FROM issuance")

	// A hundred rows with their joins take some 1,000 pages; each of the tables with
	// the index that finds a row has more.
	limits := map[string]int{
		"what is to be recovered": 3500, // each of a hundred events is looked for in eight partitions
		// Lists look for each sort of event and end in each partition.
		"deliveries": 2000, "deliveries of an endpoint": 2000,
	}
	reads := historyReads(t, s, there[0].from+step/2+400-3*step)
	// There are none at first; then those that autovacuum makes, which are of each
	// partition, but of no table as a whole.
	for _, statistics := range []string{"no statistics", "statistics"} {
		if statistics == "statistics" {
			exec("DO $$ DECLARE c regclass; BEGIN FOR c IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP EXECUTE format('ANALYZE %s', c); END LOOP; END $$")
		}
		for _, r := range reads {
			for _, plan := range []string{"force_generic_plan", "force_custom_plan"} {
				if pages, text := pagesOf(t, conn, plan, r.text, r.args); pages > cmp.Or(limits[r.name], 1000) {
					t.Errorf("%s: %d pages, by %s with %s:\n%s\n%s", r.name, pages, plan, statistics, r.text, text)
				}
			}
		}
	}
}

// read is a statement that finds history.
type read struct {
	name, text string
	args       []any
}

// historyReads are the statements that find history, an event or what stands
// behind it.
func historyReads(t *testing.T, s *Store, event int64) []read {
	t.Helper()
	reads := []read{
		{"an event", "SELECT " + eventColumns + " FROM event e WHERE e.id = $1 AND e.organisation_id = $2", []any{event, 1}},
		{"a delivery", s.db.bind("SELECT " + historyColumns + " FROM delivery d" + historyJoin + " WHERE d.id = $1"), []any{event + 1}},
		{"attempts", "SELECT number FROM attempt WHERE delivery_id = $1 ORDER BY number", []any{event + 1}},
		{"what is pending", s.db.bind(pendingOf), []any{1, 0, 0, 100}},
		{"the oldest event", "SELECT created_at FROM event ORDER BY id LIMIT 1", nil},
		{"the newest event", "SELECT id FROM event WHERE organisation_id = $1 ORDER BY position DESC LIMIT 1", []any{1}},
		{"the story of an issuance", s.db.bind(storyOf), []any{1, "i1"}},
		{"what is to be recovered", s.db.bind(eventsOf), []any{1, event, far, far, 100, 1}},
		{"what failed", failedOf, []any{1, 101, 1, 100}},
		{"what is missing", s.db.bind(stillMissing.byColumn()), []any{[]int64{1, 1}, []int64{1, 1}, []int64{event, event + 4}}},
		{"dropping an event", dropEvent, []any{event}},
		{"dropping events", dropManyEvents.byColumn(), []any{[]int64{event, event + 4, event + 1<<30}}},
		{"dropping deliveries", deleteDeliveries.byColumn(), []any{[]int64{event + 1, event + 5}}},
		{"dropping attempts", deleteAttempts.byColumn(), []any{[]int64{event + 1, event + 5}}},
		{"counting off", countOff.byColumn(), []any{[]int64{event, event + 4}, []int64{1, 1}}},
		{"the oldest deliveries", "SELECT id FROM delivery WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3", []any{0, far, 100}},
		{"late deliveries", "SELECT id FROM delivery WHERE late = 1 AND ended_at < $1 ORDER BY ended_at LIMIT $2", []any{far, 100}},
		{"the oldest events", "SELECT id FROM event WHERE id < $1 AND id > $2 ORDER BY id LIMIT $3", []any{far, 0, 100}},
	}
	for name, f := range map[string]tidings.DeliveryFilter{"deliveries": {}, "deliveries of an endpoint": {EndpointID: "1"}, "deliveries of a type": {EventType: tidings.IssuanceCompleted},
		"deliveries that failed": {Status: tidings.DeliveryFailed}, "deliveries of an issuance": {IssuanceID: "i1"}} {
		sel, err := s.selectDeliveries(t.Context(), 1, f)
		if err != nil || sel.none {
			t.Fatal(name, err)
		}
		for _, q := range append(sel.queue, sel.history...) {
			for _, boundary := range []int64{0, event} {
				text, args := q.text(boundary, false, 100)
				reads = append(reads, read{name, s.db.bind(text), args})
			}
		}
	}
	template := s.ids.public(1)
	for name, f := range map[string]tidings.IssuanceFilter{"issuances": {}, "issuances of a status": {Status: "failed"}, "issuances of a template": {TemplateID: template},
		"issuances of a template and a status": {TemplateID: template, Status: "failed"}, "an issuance": {ID: s.ids.public(400)}} {
		q, ok, err := s.selectIssuances(t.Context(), 1, f)
		if err != nil || !ok {
			t.Fatal(name, err)
		}
		for _, boundary := range []int64{0, 40_000} {
			text, args := q.text(boundary, false, 100)
			reads = append(reads, read{name, s.db.bind(text), args})
		}
	}
	for name, f := range map[string]tidings.EventFilter{"events": {}, "events of a type": {Type: tidings.IssuanceCompleted}, "events of an issuance": {IssuanceID: "i1"}, "events since": {Since: s.now()}} {
		for _, backwards := range []bool{false, true} {
			text, args := selectEvents(1, f).text(event, backwards, 100)
			reads = append(reads, read{name, text, args})
		}
	}
	return reads
}

// pagesOf tells how many pages a statement reads.
func pagesOf(t *testing.T, conn *sql.Conn, plan, text string, args []any) (pages int, lines string) {
	t.Helper()
	tx, err := conn.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	mustExec(t, tx, "SELECT set_config('plan_cache_mode', $1, true)"+byIndex, plan) // readers have the same settings
	stmt, err := tx.Prepare("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) " + text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer stmt.Close()
	rows, err := stmt.Query(args...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	first := true
	err = eachRow(rows, func(r scanner) error {
		var line string
		err := r.Scan(&line)
		lines += line + "\n"
		if _, counts, ok := strings.Cut(line, "Buffers: shared "); ok && first {
			first = false
			for word := range strings.FieldsSeq(counts) {
				kind, n, _ := strings.Cut(strings.TrimSuffix(word, ","), "=")
				if kind == "hit" || kind == "read" {
					count, err := strconv.Atoi(n)
					if err != nil {
						return err
					}
					pages += count
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages, lines
}
