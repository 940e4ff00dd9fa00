package apptest_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/localca"
	"tidings/internal/pgtest"
)

// postgresDocs gives the commands of operating.md that hold a word, with
// PostgreSQL's own programs and what the test has in place of the page's.
func postgresDocs(t *testing.T, word string, places map[string]string) string {
	t.Helper()
	pairs := []string{"bin/tidings", apptest.Binary(t, false)}
	for _, program := range []string{"psql", "pg_dump", "pg_restore"} {
		pairs = append(pairs, program+" --", filepath.Join(pgtest.Programs(t), program)+" --")
	}
	for from, to := range places {
		pairs = append(pairs, from, to)
	}
	for _, b := range docsBlocks(t, "operating.md") {
		if strings.Contains(b.text, word) {
			return strings.NewReplacer(pairs...).Replace(b.text)
		}
	}
	t.Fatalf("operating.md has no commands with %q", word)
	return ""
}

// What pg_dump took beside a running server is whole, and goes on elsewhere.
func TestDocsOfBackupRestorePostgreSQL(t *testing.T) {
	server, dir := pgtest.Start(t), t.TempDir()
	first, second := pgtest.NewDatabase(t, server), pgtest.NewDatabase(t, server)
	places := map[string]string{"/var/backups": dir, "$TIDINGS_DATABASE": first, "$RESTORED": second}
	up := answering(http.StatusServiceUnavailable)
	p := apptest.Serve(t, apptest.Setup{Plain: true, Flags: []string{oftenRetried, "--attempt-timeout=1s", "--node-lease=8s"}, Env: []string{"TIDINGS_DATABASE=" + first}})
	receiver := apptest.NewReceiver(t, p.CA, up.answer)
	p.Register(receiver.URL)
	pending := publish(t, p.API, many(20, offered, "pending")...)
	runBackupDocs(t, dir, postgresDocs(t, "pg_dump", places))
	later := p.Publish(offered, "later")
	if code := p.Stop(); code != 0 {
		t.Fatalf("the server ends with %d", code)
	}
	runBackupDocs(t, dir, postgresDocs(t, "pg_restore", places))
	up.status.Store(http.StatusNoContent)
	p.Use(second)
	p.Start()
	p.Call("GET", "/events/"+later, nil, http.StatusNotFound, nil)
	p.Await("everything that was pending is delivered", func() bool {
		return len(list[struct{ ID string }](p.API, "/deliveries?filter%5Bstatus%5D=delivered")) == len(pending)
	})
	p.Check()
}

// as gives a database's URL for another user and database.
func as(t *testing.T, dsn, user, database string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("user", user)
	u.Path, u.RawQuery = "/"+database, q.Encode()
	return u.String()
}

// A server whose role may only read and write rows serves, once the schema's
// owner has brought it up to date.
func TestDocsOfRolesGiveServersLittle(t *testing.T) {
	admin := pgtest.Start(t)
	runBackupDocs(t, t.TempDir(), postgresDocs(t, "CREATE ROLE", map[string]string{"$ADMIN": admin}))
	owner, serving := as(t, admin, "tidings_owner", "tidings"), as(t, admin, "tidings", "tidings")
	tidings := func(args ...string) (string, int) {
		c := exec.Command(apptest.Binary(t, false), args...)
		c.Env = append(c.Environ(), "TIDINGS_CLIENT_ID=", "TIDINGS_CLIENT_SECRET=")
		out, _ := c.CombinedOutput() // the code tells
		return string(out), c.ProcessState.ExitCode()
	}
	if out, code := tidings("serve", "--listen", "127.0.0.1:0", "--database", serving); code != 1 || !strings.Contains(out, "run tidings migrate") {
		t.Errorf("a server without a schema ends with %d: %s", code, out)
	}
	if out, code := tidings("migrate", "--database", owner); code != 0 || strings.Contains(out, " 0 migrations") {
		t.Fatalf("migrating ends with %d: %s", code, out)
	}
	if out, code := tidings("migrate", "--database", owner); code != 0 || !strings.Contains(out, " 0 migrations") {
		t.Errorf("migrating again ends with %d: %s", code, out)
	}
	a := apptest.New(t, func(c *app.Config) { c.Database, c.Data = serving, "" })
	receiver := apptest.NewReceiver(t, a.CA, nil)
	a.Register(receiver.URL)
	a.Publish(offered, "one")
	receiver.Wait(1)
	db, err := sql.Open("pgx", serving)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, text := range []string{"CREATE TABLE own (n int)", "DROP TABLE event", "ALTER TABLE event ADD COLUMN n int", "TRUNCATE event"} {
		if _, err := db.Exec(text); err == nil {
			t.Errorf("the serving role may do this: %s", text)
		}
	}
	if out, code := tidings("check", "--database", serving); code != 0 {
		t.Errorf("the check ends with %d: %s", code, out)
	}
	// Of history it makes partitions, and drops them, all the same; nobody else does.
	var parts int
	if err := db.QueryRow("SELECT count(*) FROM pg_inherits WHERE inhparent = 'event'::regclass").Scan(&parts); err != nil || parts != 3 {
		t.Errorf("events are in %d partitions, %v; want those of two periods, and the rest", parts, err)
	}
	all, err := sql.Open("pgx", as(t, admin, "postgres", "tidings"))
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	if _, err := all.Exec("CREATE ROLE visitor LOGIN; GRANT CONNECT ON DATABASE tidings TO visitor; GRANT USAGE ON SCHEMA public TO visitor"); err != nil {
		t.Fatal(err)
	}
	visitor, err := sql.Open("pgx", as(t, admin, "visitor", "tidings"))
	if err != nil {
		t.Fatal(err)
	}
	defer visitor.Close()
	for _, text := range []string{"SELECT make_history(0, 4194304)", "SELECT drop_history(0, 4194304, 0)"} {
		if _, err := visitor.Exec(text); err == nil || !strings.Contains(err.Error(), "only who may delete events") {
			t.Errorf("who may not delete events gets %v for %s", err, text)
		}
	}
}

// With sslmode=verify-full a server talks to the database that has the right
// certificate and name, over TLS, and to no other.
func TestTLSToPostgreSQL(t *testing.T) {
	ca, err := localca.New()
	if err != nil {
		t.Fatal(err)
	}
	files, err := ca.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other, err := localca.New()
	if err != nil {
		t.Fatal(err)
	}
	others, err := other.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dsn := pgtest.StartTLS(t, files.Cert, files.Key)
	verified := dsn + "?sslmode=verify-full&sslrootcert=" + files.CA
	a := apptest.New(t, func(c *app.Config) { c.Database, c.Data = verified, "" })
	a.Publish(offered, "one")
	db, err := sql.Open("pgx", verified)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var plain, sessions int
	if err := db.QueryRow("SELECT count(*) FILTER (WHERE NOT ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = current_database()").Scan(&plain, &sessions); err != nil || plain != 0 || sessions < 3 {
		t.Errorf("%d of %d sessions are not encrypted, %v", plain, sessions, err)
	}
	for what, wrong := range map[string]string{
		"another authority": dsn + "?sslmode=verify-full&sslrootcert=" + others.CA,
		"another name":      strings.Replace(verified, "@localhost:", "@127.0.0.2:", 1),
	} {
		c := exec.Command(apptest.Binary(t, false), "check", "--database", wrong)
		if out, _ := c.CombinedOutput(); c.ProcessState.ExitCode() != 74 || !strings.Contains(fmt.Sprintf("%s", out), "certificate") {
			t.Errorf("%s: it ends with %d: %s", what, c.ProcessState.ExitCode(), out)
		}
	}
}
