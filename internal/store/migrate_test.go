package store

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"tidings"
	"tidings/internal/pgtest"
	"tidings/internal/sqlitelog"
)

// before holds what a store of the first schema may hold: a delivery of each
// status, and an issuance in each state that is shown in another way.
const before = `
	INSERT INTO organisation (id, slug, created_at) VALUES (1, 'default', 0);
	INSERT INTO endpoint (id, organisation_id, public_id, url, filter_types, description, headers, rate_limit, max_in_flight, retry_schedule, signatures, status, created_at, updated_at)
		VALUES (2, 1, 'a', 'https://receiver.example/', '', '', '{}', 0, 8, '', 'v1', 'enabled', 0, 0);
	INSERT INTO signing_secret (endpoint_id, id, secret) VALUES (2, 3, 'whsec_x');
	INSERT INTO lane (endpoint_id, organisation_id, backlog) VALUES (2, 1, 1);
	INSERT INTO event (id, organisation_id, position, issuance_key, issuance_id, type, body, fanout, test, created_at) VALUES
		(10, 1, 10, 7, 'i', 'openid4vc.issuance.offered', '{}', 2, 0, 0),
		(11, 1, 11, 7, 'i', 'openid4vc.issuance.failed', '{}', 2, 0, 0);
	INSERT INTO queue (endpoint_id, due, id, event_id, issuance_key, attempt_count, retry_of, created_at) VALUES (2, 9e15, 20, 10, 7, 0, 0, 0);
	INSERT INTO delivery (id, organisation_id, endpoint_id, event_id, status, reason, attempt_count, retry_of, created_at, ended_at) VALUES
		(21, 1, 2, 10, 'delivered', '', 1, 0, 0, 0), (22, 1, 2, 11, 'failed', 'exhausted', 0, 0, 0, 0), (23, 1, 2, 11, 'canceled', 'endpoint_deleted', 0, 0, 0, 0);
	INSERT INTO attempt VALUES (21, 1, 0, 0, 204, '', '', NULL);
	INSERT INTO template (id, organisation_id, name, code, description, attributes, created_at, updated_at) VALUES (30, 1, 'T', 't', '', '{}', 0, 0);
	INSERT INTO issuance (id, organisation_id, state, deadline, expires_at, created_at, updated_at) VALUES
		(40, 1, 'delivered', 9e15, 0, 0, 0), (41, 1, 'redeemed', 9e15, 0, 0, 0), (42, 1, 'redeemed', 9e15, 0, 0, 0), (43, 1, 'offered', 9e15, 0, 0, 0);
	INSERT INTO credential (id, issuance_id, template_id, status, claims) VALUES
		(50, 40, 30, 'issued', '{}'), (51, 41, 30, 'issued', '{}'), (52, 42, 30, 'offered', '{}'), (53, 43, 30, 'offered', '{}');
	INSERT INTO secret (name, value, created_at) VALUES ('issuer-key/default/https://b.example', x'62', 6), ('issuer-key/default/https://a.example', x'61', 5),
		('issuer-ca/default', x'63', 4);
	INSERT INTO counter (name, value) VALUES ('retained', 9e15); -- their events may be forgotten
	PRAGMA user_version = 1;`

// What a store held before its lists had indexes of their own stands in the
// lists afterwards.
func TestAnOlderStoreIsListedAsANewOne(t *testing.T) {
	dir := t.TempDir()
	first, err := migrations.ReadFile("migrations/sqlite/0001_initial.sql")
	if err != nil {
		t.Fatal(err)
	}
	if err := sqlitelog.Register(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", dsn(filepath.Join(dir, "tidings.db"), false))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(string(first) + before); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if breaches, err := s.Check(t.Context(), 10); err != nil || len(breaches) > 0 {
		t.Errorf("the store's invariants: %v %q", err, breaches)
	}
	keys, err := s.IssuerKeys(t.Context(), 1)
	if err != nil || len(keys) != 2 || keys[0].PublicURL != "https://a.example" || string(keys[0].PEM) != "a" || keys[1].Number != 2 || string(keys[1].PEM) != "b" {
		t.Errorf("the keys that signed are %+v, %v", keys, err)
	}
	for want, filters := range map[int][]tidings.DeliveryFilter{
		4: {{}}, 2: {{EventType: tidings.IssuanceOffered}, {EndpointID: "a", EventType: tidings.IssuanceFailed}},
		1: {{Status: tidings.DeliveryFailed, EventType: tidings.IssuanceFailed}, {Status: tidings.DeliveryPending, EventType: tidings.IssuanceOffered}, {Status: tidings.DeliveryDelivered}},
		0: {{Status: tidings.DeliveryFailed, EventType: tidings.IssuanceOffered}},
	} {
		for _, f := range filters {
			if l, err := s.Deliveries(t.Context(), 1, f, tidings.Page{}); err != nil || len(l.Items) != want {
				t.Errorf("%+v gives %d deliveries, %v; want %d", f, len(l.Items), err, want)
			}
		}
	}
	for status, want := range map[string]int{"offered": 3, "partiallyIssued": 1, "completed": 0} {
		for _, template := range []string{"", s.ids.public(30)} {
			l, err := s.Issuances(t.Context(), 1, tidings.IssuanceFilter{Status: status, TemplateID: template}, tidings.Page{})
			if err != nil || len(l.Items) != want {
				t.Errorf("%d issuances are %s, %v; want %d", len(l.Items), status, err, want)
			}
		}
	}
}

// A database counts the migrations that it has had, so the n-th must stay the
// n-th: each has the next number, in the order in which they came.
func TestMigrationsAreNumberedInOrder(t *testing.T) {
	kinds, err := fs.Glob(migrations, "migrations/*")
	if err != nil || len(kinds) == 0 {
		t.Fatal(kinds, err)
	}
	for _, kind := range kinds {
		files, err := fs.Glob(migrations, kind+"/*")
		if err != nil || len(files) == 0 {
			t.Fatal(kind, err)
		}
		for i, file := range files {
			if name := path.Base(file); !strings.HasPrefix(name, fmt.Sprintf("%04d_", i+1)) || path.Ext(name) != ".sql" {
				t.Errorf("%s comes as number %d", file, i+1)
			}
		}
	}
}

// While servers are upgraded one after the other, those of the version before work
// on the new schema: a migration of PostgreSQL takes nothing away that they use. One
// that does so later, when no server does any more, says "contract" and since when.
func TestMigrationsOfPostgreSQLOnlyAdd(t *testing.T) {
	files, err := filepath.Glob("migrations/postgres/*.sql")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	takes := regexp.MustCompile(`(?i)\bDROP\s+(TABLE|COLUMN|CONSTRAINT)\b|\bRENAME\b|\bALTER\s+COLUMN\b|\bSET\s+NOT\s+NULL\b|\bADD\s+(CONSTRAINT|UNIQUE|CHECK|FOREIGN)\b`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := takes.Find(text); found != nil && !strings.Contains(string(text), "-- contract") {
			t.Errorf("%s has %s: servers of the version before would fail", file, found)
		}
		for statement := range strings.SplitSeq(string(text), ";") {
			if strings.Contains(statement, "ADD COLUMN") && strings.Contains(statement, "NOT NULL") && !strings.Contains(statement, "DEFAULT") {
				t.Errorf("%s adds a column that servers of the version before cannot fill: %s", file, statement)
			}
		}
	}
}

// A new version brings the schema up to date while a server of this one works and
// somebody reads a table for long, as a backup does: neither waits for the other.
func TestAMigrationHoldsNobodyUp(t *testing.T) {
	url := pgtest.NewDatabase(t, pgtest.Start(t))
	s, err := Open(t.Context(), Options{Database: url, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.CreateClient(t.Context(), "default", tidings.Client{ID: "a", Scopes: tidings.AllScopes}); err != nil {
		t.Fatal(err)
	}
	org, err := s.OrganisationBySlug(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	publish := func(when string) {
		t.Helper()
		if _, err := s.Publish(t.Context(), org.Key, []tidings.NewEvent{{Type: tidings.IssuanceOffered, IssuanceID: "i"}}, nil); err != nil {
			t.Errorf("publishing %s: %v", when, err)
		}
		if _, err := s.Events(t.Context(), org.Key, tidings.EventFilter{}, tidings.Page{}); err != nil {
			t.Errorf("reading %s: %v", when, err)
		}
	}
	publish("before")

	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	backup, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer backup.Rollback()
	if _, err := backup.Exec("SELECT count(*) FROM event"); err != nil {
		t.Fatal(err)
	}
	next, have := nextVersion(t, "ALTER TABLE event ADD COLUMN next BIGINT NOT NULL DEFAULT 0;")
	type outcome struct {
		ran int
		err error
	}
	migrated := make(chan outcome, 1)
	go func() {
		ran, err := migratePostgres(context.Background(), db, next, false, slog.New(slog.DiscardHandler))
		migrated <- outcome{ran, err}
	}()
	for waiting := 0; waiting == 0; {
		if err := db.QueryRow("SELECT count(*) FROM pg_locks WHERE relation = 'event'::regclass AND NOT granted").Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	publish("while the migration waits for the backup")
	if err := backup.Commit(); err != nil {
		t.Fatal(err)
	}
	if got := <-migrated; got.err != nil || got.ran != 1 {
		t.Errorf("%d migrations ran, want one: %v", got.ran, got.err)
	}
	publish("on the new schema")

	want := fmt.Sprintf("the database has schema version %d, this program knows up to %d: it was written by a newer tidings", have+1, have)
	if _, err := Open(t.Context(), Options{Database: url}); err == nil || err.Error() != want {
		t.Errorf("opening it anew: %v, want: %s", err, want)
	}
}

// nextVersion has the migrations of PostgreSQL, and one more. It tells how many
// there are without that.
func nextVersion(t *testing.T, text string) (all fstest.MapFS, have int) {
	t.Helper()
	files, err := fs.Glob(migrations, "migrations/postgres/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	all = fstest.MapFS{fmt.Sprintf("migrations/postgres/%04d_next.sql", len(files)+1): {Data: []byte(text)}}
	for _, file := range files {
		data, err := migrations.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = &fstest.MapFile{Data: data}
	}
	return all, len(files)
}

// Servers that start at the same time on an empty database make its schema once, also
// through a pooler in transaction mode.
func TestServersThatStartTogetherMakeOneSchema(t *testing.T) {
	server := pgtest.Start(t)
	for how, url := range map[string]string{"directly": server, "through PgBouncer": pgtest.Bouncer(t, server)} {
		t.Run(how, func(t *testing.T) {
			url := pgtest.NewDatabase(t, url)
			errs := make(chan error)
			const servers = 4
			for range servers {
				go func() {
					s, err := Open(context.Background(), Options{Database: url})
					if err == nil {
						err = s.Close()
					}
					errs <- err
				}()
			}
			for range servers {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
		})
	}
}
