// Package pgtest starts a PostgreSQL server of its own for a test. It is for
// tests only.
//
// The server's programs are those of the machine (Debian: apt-get install
// postgresql). It runs as an unprivileged user, keeps its data in a temporary
// folder, listens on a socket in there and nowhere else, and ends with the
// test. Nothing that runs on the machine already is touched.
package pgtest

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx" that NewDatabase uses
)

const (
	superuser = "postgres"
	missing   = "PostgreSQL's programs initdb and postgres are not on this machine: install it with apt-get install postgresql"

	startTimeout = 60 * time.Second
	stopTimeout  = 20 * time.Second
)

// Start starts a server for t and its subtests and gives the URL of its
// database "postgres", of which the connecting user is the superuser. Any
// number of tests may start servers at the same time; each takes about two
// seconds, so several tests rather share one and take a NewDatabase each.
//
// It keeps nothing over a crash of the machine, which is faster; settings
// ("name=value") stand over that, see [Durable].
func Start(t testing.TB, settings ...string) (dsn string) { return NewServer(t, settings...).URL }

// Server is a server that can crash.
type Server struct {
	URL string // as [Start] gives it

	t    testing.TB
	make func() *exec.Cmd
	end  func(os.Signal)
}

// Crash ends the server as one that crashed, with all of its connections, and
// starts it again after a while. What it acknowledged it still has, as the
// machine runs on.
func (s *Server) Crash(while time.Duration) {
	s.t.Helper()
	s.end(syscall.SIGQUIT)
	time.Sleep(while)
	s.end = run(s.t, s.make(), readySign)
}

const readySign = "ready to accept connections"

// NewServer starts a server as [Start] does.
func NewServer(t testing.TB, settings ...string) *Server {
	t.Helper()
	programs, err := findPrograms()
	if err != nil {
		t.Fatal(err)
	}
	owner, err := unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := owner.tempDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	data := filepath.Join(dir, "data")
	initdb := owner.command(filepath.Join(programs, "initdb"), "-D", data, "-U", superuser,
		"--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("pgtest: initdb: %v\n%s", err, out)
	}
	s := &Server{URL: address(dir, "postgres"), t: t, make: func() *exec.Cmd {
		server := owner.command(filepath.Join(programs, "postgres"), "-D", data, "-k", dir,
			"-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=32MB",
			"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "log_min_messages=warning")
		for _, setting := range settings {
			server.Args = append(server.Args, "-c", setting)
		}
		server.Dir = dir
		return server
	}}
	s.end = run(t, s.make(), readySign)
	return s
}

// Durable are the settings of a server that keeps what it acknowledged, as an
// installation's does.
var Durable = []string{"fsync=on", "synchronous_commit=on", "full_page_writes=on"}

// address gives the URL of a database by the folder of its server's socket.
func address(dir, database string) string {
	return "postgres:///" + database + "?host=" + url.QueryEscape(dir) + "&user=" + superuser + "&sslmode=disable"
}

// databases numbers the databases of all servers.
var databases atomic.Int64

// NewDatabase makes an empty database on the server of dsn, which Start gave,
// and gives its URL.
func NewDatabase(t testing.TB, dsn string) string {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	defer db.Close()
	name := fmt.Sprintf("test%d", databases.Add(1))
	if _, err := db.ExecContext(context.Background(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("pgtest: make a database: %v", err)
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	u.Path = "/" + name
	return u.String()
}

// run starts a server, waits until its log says by a sign that it takes
// connections, and stops it at the end of the test, or when end is called.
func run(t testing.TB, server *exec.Cmd, sign string) (end func(os.Signal)) {
	t.Helper()
	output, err := server.StderrPipe()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	started, ended := make(chan error, 1), make(chan error, 1)
	lines := make(chan []string, 1)
	ready := make(chan struct{})
	go func() {
		// The server ends when this thread does, and so with the test binary,
		// however that ends; no other goroutine may end the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := server.Start()
		started <- err
		if err != nil {
			return
		}
		lines <- watch(output, sign, ready)
		ended <- server.Wait()
	}()
	name := filepath.Base(server.Path)
	if err := <-started; err != nil {
		t.Fatalf("pgtest: start %s: %v", name, err)
	}
	var once sync.Once
	end = func(how os.Signal) { once.Do(func() { stop(t, server, how, ended) }) }
	t.Cleanup(func() { end(os.Interrupt) })
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-ready:
	case last := <-lines:
		t.Fatalf("pgtest: %s ended at once:\n%s", name, strings.Join(last, "\n"))
	case <-timeout.C:
		t.Fatalf("pgtest: %s took no connections within %s", name, startTimeout)
	}
	return end
}

// watch reads a server's log to its end, closes ready once a line has the sign, and
// gives the last lines.
func watch(output io.Reader, sign string, ready chan<- struct{}) (last []string) {
	const keep = 30
	scanner := bufio.NewScanner(output)
	open := false
	for scanner.Scan() {
		if !open && strings.Contains(scanner.Text(), sign) {
			close(ready)
			open = true
		}
		if last = append(last, scanner.Text()); len(last) > keep {
			last = last[1:]
		}
	}
	return last
}

// stop ends the server: connections are cut, nothing is waited for.
func stop(t testing.TB, server *exec.Cmd, how os.Signal, ended <-chan error) {
	if err := server.Process.Signal(how); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("pgtest: stop postgres: %v", err)
	}
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-ended:
	case <-timeout.C:
		t.Errorf("pgtest: postgres did not stop within %s", stopTimeout)
		_ = server.Process.Kill() // it may have ended just now
		<-ended
	}
}

// findPrograms gives the folder of initdb and postgres, the newest version
// where there are several.
func findPrograms() (dir string, err error) {
	debian, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	newest := -1
	for _, candidate := range debian {
		version, err := strconv.Atoi(filepath.Base(filepath.Dir(candidate)))
		if err == nil && version > newest && complete(candidate) {
			newest, dir = version, candidate
		}
	}
	if newest >= 0 {
		return dir, nil
	}
	if path, err := exec.LookPath("initdb"); err == nil && complete(filepath.Dir(path)) {
		return filepath.Dir(path), nil
	}
	return "", errors.New(missing)
}

func complete(dir string) bool {
	for _, program := range []string{"initdb", "postgres"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err != nil || info.IsDir() {
			return false
		}
	}
	return true
}

// owner is the user whom the server runs as.
type owner struct {
	uid, gid uint32
	switched bool // from root, whom PostgreSQL refuses
}

// unprivileged gives the user of the tests, or where that is root one that
// has no rights.
func unprivileged() (owner, error) {
	if os.Getuid() != 0 {
		return owner{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(found.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(found.Gid, 10, 32)
		if errUID == nil && errGID == nil && uid != 0 {
			return owner{uid: uint32(uid), gid: uint32(gid), switched: true}, nil
		}
	}
	return owner{}, errors.New("pgtest: PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}

// tempDir makes a folder of the user's. The path of a socket in it must not be
// longer than some hundred bytes, so it lies in /tmp where TMPDIR is long.
func (o owner) tempDir() (string, error) {
	const most = 60
	parent := os.TempDir()
	if len(parent) > most {
		parent = "/tmp"
	}
	dir, err := os.MkdirTemp(parent, "pgtest")
	if err != nil {
		return "", fmt.Errorf("pgtest: %w", err)
	}
	if o.switched {
		if err := os.Chown(dir, int(o.uid), int(o.gid)); err != nil {
			return "", fmt.Errorf("pgtest: %w", errors.Join(err, os.Remove(dir)))
		}
	}
	return dir, nil
}

// command runs a program as the user, without the settings that the
// environment has for another server.
func (o owner) command(path string, arguments ...string) *exec.Cmd {
	c := exec.Command(path, arguments...)
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "PG") && !strings.HasPrefix(setting, "LC_") && !strings.HasPrefix(setting, "LANG") {
			c.Env = append(c.Env, setting)
		}
	}
	c.Env = append(c.Env, "LC_ALL=C")
	o.apply(c)
	return c
}
