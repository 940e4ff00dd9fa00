package sqlinbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"tidings/internal/pgtest"
	"tidings/webhook"
	"tidings/webhook/internal/inboxtest"
	"tidings/webhook/sqlinbox"
)

// world opens databases of one kind.
type world struct {
	dialect sqlinbox.Dialect
	fresh   func(t *testing.T) (dsn string)
}

func sqliteWorld() world {
	return world{sqlinbox.SQLite, func(t *testing.T) string {
		return "file:" + filepath.Join(t.TempDir(), "inbox.db") + "?_pragma=busy_timeout(20000)&_pragma=journal_mode(WAL)"
	}}
}

func postgresWorld(t *testing.T) world {
	server := pgtest.Start(t)
	return world{sqlinbox.PostgreSQL, func(t *testing.T) string { return pgtest.NewDatabase(t, server) }}
}

func (w world) open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	driver := map[sqlinbox.Dialect]string{sqlinbox.SQLite: "sqlite", sqlinbox.PostgreSQL: "pgx"}[w.dialect]
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func (w world) inbox(t *testing.T, db *sql.DB, table string) *sqlinbox.Inbox {
	t.Helper()
	in, err := sqlinbox.New(db, w.dialect, table)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return in
}

func TestSQLite(t *testing.T)     { testAll(t, sqliteWorld()) }
func TestPostgreSQL(t *testing.T) { testAll(t, postgresWorld(t)) }

func testAll(t *testing.T, w world) {
	t.Run("conformance", func(t *testing.T) {
		inboxtest.Run(t, func(t *testing.T) (a, b webhook.Inbox) {
			dsn := w.fresh(t)
			// Two pools, as two processes have.
			return w.inbox(t, w.open(t, dsn), ""), w.inbox(t, w.open(t, dsn), "")
		})
	})
	t.Run("migrate at once", func(t *testing.T) { migrateAtOnce(t, w) })
	t.Run("two tables", func(t *testing.T) { twoTables(t, w) })
	t.Run("durable", func(t *testing.T) { durable(t, w) })
	t.Run("out of reach", func(t *testing.T) { outOfReach(t, w) })
	t.Run("retention", func(t *testing.T) { retention(t, w) })
	t.Run("by hand", func(t *testing.T) { byHand(t, w) })
}

func migrateAtOnce(t *testing.T, w world) {
	dsn := w.fresh(t)
	var all sync.WaitGroup
	for range 8 {
		db := w.open(t, dsn)
		all.Go(func() {
			in, err := sqlinbox.New(db, w.dialect, "")
			if err != nil {
				t.Error(err)
				return
			}
			for range 2 {
				if err := in.Migrate(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func event(t *testing.T, id string) webhook.Event {
	t.Helper()
	e, err := webhook.ParseEvent(id, []byte(`{"eventType":"x","payload":{"openId4VcIssuanceId":"i1"}}`))
	if err != nil {
		t.Fatal(err)
	}
	e.Received, e.Timestamp = time.Now(), time.Now()
	return e
}

// twoTables: two inboxes in one database know nothing of one another, whatever
// SQL thinks of their names.
func twoTables(t *testing.T, w world) {
	dsn := w.fresh(t)
	db := w.open(t, dsn)
	names := []string{"orders", "table", "a" + strings.Repeat("_", 39)}
	if w.dialect == sqlinbox.PostgreSQL {
		if _, err := db.ExecContext(t.Context(), `CREATE SCHEMA "select"`); err != nil {
			t.Fatal(err)
		}
		names = append(names, "select.orders")
	}
	for _, name := range names {
		in := w.inbox(t, db, name)
		if fresh, err := in.Put(t.Context(), event(t, "e1")); !fresh || err != nil {
			t.Errorf("%s: %v, %v", name, fresh, err)
		}
		if c, _, err := in.Claim(t.Context(), time.Now(), time.Minute); c == nil || err != nil {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

// durable: what was put, claimed and settled is there after the database was
// closed.
func durable(t *testing.T, w world) {
	dsn := w.fresh(t)
	db := w.open(t, dsn)
	in := w.inbox(t, db, "")
	for n := range 3 {
		if _, err := in.Put(t.Context(), event(t, fmt.Sprint("e", n))); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	c, _, err := in.Claim(t.Context(), now, time.Hour)
	if err != nil || c == nil {
		t.Fatal(c, err)
	}
	if err := in.Settle(t.Context(), *c, webhook.Verdict{State: webhook.Processed, At: now, Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	if c, _, err = in.Claim(t.Context(), now, time.Hour); err != nil || c == nil {
		t.Fatal(c, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	in = w.inbox(t, w.open(t, dsn), "")
	again, next, err := in.Claim(t.Context(), now, time.Hour)
	if again != nil || err != nil || next.Sub(now).Round(time.Second) != time.Hour {
		t.Errorf("the claim is forgotten: %v, %s, %v", again, next, err)
	}
	if fresh, err := in.Put(t.Context(), event(t, "e0")); fresh || err != nil {
		t.Errorf("a processed event: %v, %v", fresh, err)
	}
	if err := in.Settle(t.Context(), *c, webhook.Verdict{State: webhook.Processed, At: now, Attempts: 1}); err != nil {
		t.Error(err)
	}
	if c, _, err = in.Claim(t.Context(), now, time.Hour); err != nil || c == nil || c.Event.ID != "e2" {
		t.Errorf("%v, %v", c, err)
	}
}

// outOfReach: without its database a receiver accepts nothing, and says
// nothing of the database to the sender.
func outOfReach(t *testing.T, w world) {
	db := w.open(t, w.fresh(t))
	in := w.inbox(t, db, "")
	secret := webhook.NewSecret()
	h := &webhook.Handler{Verifier: &webhook.Verifier{Secrets: []webhook.Secret{secret}}, Inbox: in, Log: slog.New(slog.DiscardHandler)}
	body := `{"eventType":"x"}`
	send := func() *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		signer, err := webhook.NewSigner(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := signer.SetHeaders(r.Header, "e1", time.Now(), []byte(body)); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if _, err := db.ExecContext(t.Context(), `ALTER TABLE webhook_inbox RENAME TO away`); err != nil {
		t.Fatal(err)
	}
	for range 2 { // nor is it a duplicate then
		if got := send(); got.Code != http.StatusServiceUnavailable || got.Body.String() != "the event could not be stored: send it again\n" {
			t.Errorf("%d %q", got.Code, got.Body)
		}
	}
	if _, _, err := in.Claim(t.Context(), time.Now(), time.Minute); err == nil {
		t.Error("Claim says nothing")
	}
	if err := in.Settle(t.Context(), webhook.Claim{Token: "x"}, webhook.Verdict{}); err == nil || errors.Is(err, webhook.ErrClaimLost) {
		t.Errorf("Settle: %v", err)
	}
	if _, err := db.ExecContext(t.Context(), `ALTER TABLE away RENAME TO webhook_inbox`); err != nil {
		t.Fatal(err)
	}
	if got := send(); got.Code != http.StatusNoContent {
		t.Errorf("back again: %d", got.Code)
	}
}

// retention: however much there is to prune, it goes while the inbox is used.
func retention(t *testing.T, w world) {
	db := w.open(t, w.fresh(t))
	in := w.inbox(t, db, "")
	in.Retention = time.Hour
	now := time.Now()
	const fill = `INSERT INTO webhook_inbox (id, type, issuance_id, sent_at, attempt, test, body, received_at, due_at, state, settled_at)
		WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2500)
		SELECT 'e' || n, 'x', '', 0, 1, 0, '', 0, 0, 'processed', CASE WHEN n <= 2400 THEN 0 ELSE %d END FROM n`
	if _, err := db.ExecContext(t.Context(), fmt.Sprintf(fill, now.UnixMicro())); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1500, 500, 100, 100} {
		if _, _, err := in.Claim(t.Context(), now, time.Minute); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM webhook_inbox`).Scan(&left); err != nil || left != want {
			t.Errorf("%d left, want %d, %v", left, want, err)
		}
	}
}

// byHand runs the statement that the package's documentation gives.
func byHand(t *testing.T, w world) {
	db := w.open(t, w.fresh(t))
	in := w.inbox(t, db, "")
	if _, err := in.Put(t.Context(), event(t, "e1")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c, _, err := in.Claim(t.Context(), time.Now(), time.Minute)
		if err != nil || c == nil || c.Attempt != 1 {
			t.Fatal(c, err)
		}
		if err := in.Settle(t.Context(), *c, webhook.Verdict{State: webhook.Failed, At: time.Now(), Attempts: 1, Reason: "no"}); err != nil {
			t.Fatal(err)
		}
		var reason string
		if err := db.QueryRowContext(t.Context(), `SELECT reason FROM webhook_inbox WHERE state = 'failed'`).Scan(&reason); err != nil || reason != "no" {
			t.Fatal(reason, err)
		}
		if _, err := db.ExecContext(t.Context(), `UPDATE webhook_inbox SET state = 'pending', attempts = 0, due_at = 0 WHERE id = 'e1'`); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNew(t *testing.T) {
	for name, row := range map[string]struct {
		dialect sqlinbox.Dialect
		table   string
		want    error
	}{
		"default":          {sqlinbox.SQLite, "", nil},
		"PostgreSQL":       {sqlinbox.PostgreSQL, "a_1", nil},
		"schema":           {sqlinbox.PostgreSQL, "s.t", nil},
		"schema in SQLite": {sqlinbox.SQLite, "s.t", sqlinbox.ErrTable},
		"two schemas":      {sqlinbox.PostgreSQL, "r.s.t", sqlinbox.ErrTable},
		"upper case":       {sqlinbox.SQLite, "Inbox", sqlinbox.ErrTable},
		"quote":            {sqlinbox.SQLite, `a"b`, sqlinbox.ErrTable},
		"dollar":           {sqlinbox.SQLite, "a$1", sqlinbox.ErrTable},
		"statement":        {sqlinbox.PostgreSQL, "a; DROP TABLE b", sqlinbox.ErrTable},
		"line end":         {sqlinbox.PostgreSQL, "a\n", sqlinbox.ErrTable},
		"digit first":      {sqlinbox.PostgreSQL, "1a", sqlinbox.ErrTable},
		"long":             {sqlinbox.PostgreSQL, strings.Repeat("a", 41), sqlinbox.ErrTable},
		"no dialect":       {"", "a", sqlinbox.ErrDialect},
		"another dialect":  {"mysql", "a", sqlinbox.ErrDialect},
	} {
		in, err := sqlinbox.New(nil, row.dialect, row.table)
		if !errors.Is(err, row.want) || (in == nil) != (err != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The statements for a tool that owns the schema.
func ExampleInbox_Schema() {
	inbox, err := sqlinbox.New(nil, sqlinbox.PostgreSQL, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, statement := range inbox.Schema() {
		fmt.Println(strings.ReplaceAll(statement, "\t", "    ") + ";")
	}
	// Output:
	// CREATE TABLE IF NOT EXISTS "webhook_inbox" (
	//     seq         BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
	//     id          TEXT NOT NULL UNIQUE,
	//     type        TEXT NOT NULL,
	//     issuance_id TEXT NOT NULL,
	//     sent_at     BIGINT NOT NULL,
	//     attempt     BIGINT NOT NULL,
	//     test        INTEGER NOT NULL,
	//     body        BYTEA NOT NULL,
	//     received_at BIGINT NOT NULL,
	//     state       TEXT NOT NULL DEFAULT 'pending',
	//     attempts    INTEGER NOT NULL DEFAULT 0,
	//     due_at      BIGINT NOT NULL,
	//     claim       TEXT NOT NULL DEFAULT '',
	//     settled_at  BIGINT NOT NULL DEFAULT 0,
	//     reason      TEXT NOT NULL DEFAULT ''
	// );
	// CREATE INDEX IF NOT EXISTS "webhook_inbox_due" ON "webhook_inbox" (due_at, seq) WHERE state = 'pending';
	// CREATE INDEX IF NOT EXISTS "webhook_inbox_issuance" ON "webhook_inbox" (issuance_id, seq) WHERE state = 'pending';
	// CREATE INDEX IF NOT EXISTS "webhook_inbox_processed" ON "webhook_inbox" (settled_at) WHERE state = 'processed';
}

// A receiver with an inbox in SQLite, in full.
func Example() {
	ctx, stop := context.WithCancel(context.Background()) // in a program: signal.NotifyContext
	defer stop()
	db, err := sql.Open("sqlite", "file::memory:?cache=shared&_pragma=busy_timeout(5000)") // in a program: a file
	if err != nil {
		fmt.Println(err)
		return
	}
	defer db.Close()
	inbox, err := sqlinbox.New(db, sqlinbox.SQLite, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := inbox.Migrate(ctx); err != nil {
		fmt.Println(err)
		return
	}
	secret := webhook.NewSecret() // in a program: webhook.ParseSecret(os.Getenv("WEBHOOK_SECRET"))
	handler := &webhook.Handler{
		Verifier: &webhook.Verifier{Secrets: []webhook.Secret{secret}},
		Inbox:    inbox,
		Process: func(_ context.Context, event webhook.Event) error {
			fmt.Println(event.Type, event.IssuanceID)
			stop()
			return nil
		},
	}
	server := httptest.NewServer(handler) // in a program: http.Handle("/webhooks", handler)
	defer server.Close()

	// What the sender does:
	body := `{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"cmfwfjxdq003js601bmgy9tva"}}`
	request, _ := http.NewRequest(http.MethodPost, server.URL, strings.NewReader(body))
	signer, _ := webhook.NewSigner(secret)
	_ = signer.SetHeaders(request.Header, "evt1", time.Now(), []byte(body))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	response.Body.Close()
	fmt.Println(response.StatusCode)

	if err := handler.Run(ctx); err != nil { // beside the server, until the program is told to stop
		fmt.Println(err)
	}
	// Output:
	// 204
	// openid4vc.issuance.completed cmfwfjxdq003js601bmgy9tva
}
