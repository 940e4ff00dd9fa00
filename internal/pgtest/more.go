package pgtest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Programs gives the folder of PostgreSQL's programs, such as pg_dump.
func Programs(t testing.TB) string {
	t.Helper()
	dir, err := findPrograms()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// StartTLS starts a server that listens on loopback, too, with a certificate
// (PEM), and gives the URL of its database "postgres" there, which says nothing
// of TLS.
func StartTLS(t testing.TB, cert, key string) (dsn string) {
	t.Helper()
	o, dir := ownDir(t)
	for from, to := range map[string]string{cert: "server.crt", key: "server.key"} {
		if err := o.copy(from, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	port := freePort(t)
	Start(t, "listen_addresses=127.0.0.1,127.0.0.2", fmt.Sprint("port=", port), "ssl=on",
		"ssl_cert_file="+filepath.Join(dir, "server.crt"), "ssl_key_file="+filepath.Join(dir, "server.key"))
	return fmt.Sprintf("postgres://%s@localhost:%d/postgres", superuser, port)
}

// Bouncer starts PgBouncer before the server of dsn, which Start gave, in
// transaction mode, and gives the URL of the same database through it. It has few
// connections, so that clients take turns on them.
func Bouncer(t testing.TB, dsn string) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // where Debian has it, outside of most paths
	}
	if info, err := os.Stat(program); err != nil || info.IsDir() {
		t.Fatal("PgBouncer is not on this machine: install it with apt-get install pgbouncer")
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	o, dir := ownDir(t)
	settings := fmt.Sprintf(`[databases]
* = host=%s user=%s
[pgbouncer]
listen_addr =
listen_port = 5432
unix_socket_dir = %s
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 200
log_connections = 0
log_disconnections = 0
`, u.Query().Get("host"), superuser, dir)
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := errors.Join(os.WriteFile(file, []byte(settings), 0o600), o.own(file)); err != nil {
		t.Fatal(err)
	}
	c := o.command(program, file)
	c.Dir = dir
	run(t, c, "process up")
	return address(dir, filepath.Base(u.Path))
}

// ownDir makes a folder of the user whom servers run as, until the end of t.
func ownDir(t testing.TB) (owner, string) {
	t.Helper()
	o, err := unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := o.tempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return o, dir
}

// copy copies a file for the user, and nobody else.
func (o owner) copy(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, text, 0o600), o.own(to))
}

func (o owner) own(file string) error {
	if !o.switched {
		return nil
	}
	return os.Chown(file, int(o.uid), int(o.gid))
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
