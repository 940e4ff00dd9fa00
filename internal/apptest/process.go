package apptest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tidings/internal/localca"
)

// Setup says how a server is started as a process. The zero Setup is right
// for most tests.
type Setup struct {
	Dir      string   // the data folder; default: a temporary one
	Flags    []string // of tidings serve, besides those that every test needs
	Env      []string
	CA       *localca.CA // whose certificates are trusted; default: one of its own
	Database string      // URL of a PostgreSQL instead of the folder
	Plain    bool        // build without the race detector, although the test has it: to measure
}

// Process is the built binary as a process of its own, serving on loopback. It
// can be killed and started again on the same data and address.
type Process struct {
	*API
	CA   *localca.CA
	Dir  string // its data folder
	Logs *Log   // of all its lives

	t       testing.TB
	binary  string
	args    []string
	env     []string
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the process has ended
	code    int           // its exit code then
	ordered bool          // it was told to end
}

// Serve starts the server as a process and waits until it is ready. Receivers
// with a certificate of its CA are trusted, and webhooks may go to loopback. At
// the end of the test it is stopped, and must not have found a data race.
func Serve(t testing.TB, s Setup) *Process {
	t.Helper()
	ca := s.CA
	if ca == nil {
		var err error
		if ca, err = localca.New(); err != nil {
			t.Fatal(err)
		}
	}
	files, err := ca.Write(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if s.Dir == "" {
		s.Dir = filepath.Join(t.TempDir(), "data")
	}
	address := freeAddress(t)
	p := &Process{CA: ca, Dir: s.Dir, Logs: &Log{}, t: t, binary: Binary(t, RaceEnabled && !s.Plain)}
	p.args = append([]string{"serve", "--listen", address, "--data", s.Dir, "--tls-cert", files.Cert, "--tls-key", files.Key,
		"--egress-ca", files.CA, "--egress-allow", "127.0.0.0/8"}, s.Flags...)
	p.env = append(environment(), "TIDINGS_DATA="+s.Dir, "TIDINGS_CLIENT_ID="+ClientID, "TIDINGS_CLIENT_SECRET="+ClientSecret)
	if database := cmp.Or(s.Database, Database(t, s.Dir)); database != "" {
		p.Use(database)
	}
	p.env = append(p.env, s.Env...)
	p.API = NewAPI(t, "https://"+address, ca)
	t.Cleanup(p.finish)
	p.Start()
	return p
}

// environment is that of the test, without settings of the product.
func environment() (out []string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TIDINGS_") {
			out = append(out, v)
		}
	}
	return out
}

// Use has the process keep its data in a PostgreSQL from its next start on, and
// its commands too.
func (p *Process) Use(database string) { p.env = append(p.env, "TIDINGS_DATABASE="+database) }

// Replace has the process be another binary from its next start on.
func (p *Process) Replace(binary string) { p.binary = binary }

// freeAddress gives a loopback address below the ports that systems give to
// outgoing connections, so that it is free again for the next start.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(18000)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// Start starts the process, again after it has ended, and waits until it is
// ready.
func (p *Process) Start() {
	p.t.Helper()
	p.Launch()
	p.AwaitReady()
}

// Launch starts the process and does not wait until it is ready.
func (p *Process) Launch() {
	p.t.Helper()
	cmd, ended := exec.Command(p.binary, p.args...), make(chan struct{})
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, p.Logs, p.Logs
	dieWithTest(cmd)
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.cmd, p.ended, p.ordered = cmd, ended, false
	go func() {
		cmd.Wait() // the code tells
		p.code = cmd.ProcessState.ExitCode()
		close(ended)
	}()
}

// AwaitReady waits until /readyz says yes.
func (p *Process) AwaitReady() {
	p.t.Helper()
	p.Await("the server is ready", func() bool {
		if !p.Running() {
			p.t.Fatalf("the server ended with code %d:\n%s", p.code, p.Logs.Tail())
		}
		return p.ReadyStatus() == http.StatusOK
	})
}

// ReadyStatus gives the status of /readyz, 0 where there is no answer.
func (a *API) ReadyStatus() int {
	answer, err := a.HTTP.Get(a.URL + "/readyz")
	if err != nil {
		return 0
	}
	answer.Body.Close()
	return answer.StatusCode
}

// ReadyDetail reads what /readyz tells besides; out stays as it is where there is
// no answer.
func (a *API) ReadyDetail(out any) {
	answer, err := a.HTTP.Get(a.URL + "/readyz")
	if err != nil {
		return
	}
	defer answer.Body.Close()
	json.NewDecoder(answer.Body).Decode(&struct{ Store any }{out}) // while it stops, there is none
}

// PID gives the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running tells whether the process lives.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Kill ends the process as kill -9 does.
func (p *Process) Kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.Wait()
}

// Terminate tells the process to stop, and does not wait.
func (p *Process) Terminate() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
}

// Stop tells the process to stop, waits, and gives its exit code.
func (p *Process) Stop() int {
	p.t.Helper()
	p.Terminate()
	return p.Wait()
}

// Freeze stops the process where it is, as a machine that hangs, until
// [Process.Thaw].
func (p *Process) Freeze() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
}

// Thaw lets it go on.
func (p *Process) Thaw() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		p.t.Fatal(err)
	}
}

func (p *Process) signal(s syscall.Signal) {
	p.t.Helper()
	p.ordered = true
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("the process had ended before it was told to: %v\n%s", err, p.Logs.Tail())
	}
}

// Wait waits for the end of the process and gives its exit code.
func (p *Process) Wait() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(2 * time.Minute):
		p.t.Fatalf("the process did not end:\n%s", p.Logs.Tail())
	}
	return p.code
}

// finish stops what runs, and looks back on it.
func (p *Process) finish() {
	if p.cmd == nil {
		return
	}
	if !p.ordered && !p.Running() {
		p.t.Errorf("the process ended by itself with code %d:\n%s", p.code, p.Logs.Tail())
	}
	if p.Running() {
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(time.Minute):
			p.t.Error("the process did not stop within a minute of SIGTERM")
			p.cmd.Process.Kill()
			<-p.ended
		}
	}
	if text := p.Logs.String(); strings.Contains(text, "DATA RACE") || strings.Contains(text, "panic:") {
		p.t.Errorf("the process raced or panicked:\n%s", text[max(0, strings.Index(text, "DATA RACE")):])
	}
	if p.t.Failed() {
		p.t.Logf("the end of the server's log:\n%s", p.Logs.Tail())
	}
}

// Command runs another command of the binary on the same data, and gives what
// it printed and its exit code.
func (p *Process) Command(args ...string) (output string, code int) {
	p.t.Helper()
	cmd := exec.Command(p.binary, args...)
	cmd.Env = p.env
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// Check has tidings check prove the store's invariants.
func (p *Process) Check() {
	p.t.Helper()
	if out, code := p.Command("check"); code != 0 {
		p.t.Errorf("tidings check ends with %d:\n%s", code, out)
	}
}

var binaries struct {
	mu     sync.Mutex
	dir    string
	byRace map[bool]string
}

// buildPatience is how long a build may take, with nothing built before, on a
// machine that others use too.
const buildPatience = 5 * time.Minute

// Binary builds the product once, with or without the race detector, and gives
// the path of the binary. [Main] removes it.
func Binary(t testing.TB, race bool) string {
	t.Helper()
	binaries.mu.Lock()
	defer binaries.mu.Unlock()
	if path := binaries.byRace[race]; path != "" {
		return path
	}
	if binaries.dir == "" {
		dir, err := os.MkdirTemp("", "tidings-test-")
		if err != nil {
			t.Fatal(err)
		}
		binaries.dir, binaries.byRace = dir, map[bool]string{}
	}
	path := filepath.Join(binaries.dir, fmt.Sprintf("tidings-race-%t", race))
	build(t, path, fmt.Sprintf("-race=%t", race))
	binaries.byRace[race] = path
	return path
}

// build builds the product with some flags.
func build(t testing.TB, path string, flags ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), buildPatience)
	defer cancel()
	args := append(append([]string{"build"}, flags...), "-o", path, "tidings/cmd/tidings")
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("building the binary: %v\n%s", err, bytes.TrimSpace(out))
	}
}

// Main runs the tests of a package that starts processes, and removes what was
// built for them. It gives the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	if binaries.dir != "" {
		os.RemoveAll(binaries.dir)
	}
	return code
}
