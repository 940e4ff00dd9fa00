package foreign

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	oldestNode  = 20          // of its major versions
	programLife = time.Minute // no program runs longer
	stopLife    = 5 * time.Second
	maxLine     = 1 << 20
)

// program is a running program. Every line that it prints is kept.
type program struct {
	t      testing.TB
	name   string
	stdin  io.WriteCloser
	stop   func() error // ends its standard input and waits for it to end
	stderr bytes.Buffer // complete once it has ended

	mu      sync.Mutex
	lines   []string
	ended   bool
	changed chan struct{} // closed and renewed at each line, and at the end
}

// start starts a program of js/ with Node.
func start(t testing.TB, ca, name string, arguments ...string) *program {
	t.Helper()
	node, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	return startCommand(t, ca, name, append([]string{node, "js/" + name}, arguments...))
}

// startCommand starts a program that trusts the authority in the file ca. It
// ends with the test, which shows what it printed if it failed.
func startCommand(t testing.TB, ca, name string, command []string) *program {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), programLife)
	p := &program{t: t, name: name, changed: make(chan struct{})}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "NODE_EXTRA_CA_CERTS=" + ca, "SSL_CERT_FILE=" + ca}
	cmd.Stderr = &p.stderr
	cmd.WaitDelay = stopLife
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(stdout)
	}()
	p.stop = sync.OnceValue(func() error {
		defer cancel()
		defer time.AfterFunc(stopLife, cancel).Stop()
		p.stdin.Close()
		<-read
		return cmd.Wait()
	})
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s\nand on standard error:\n%s", name, strings.Join(p.lines, "\n"), p.stderr.String())
		}
	})
	return p
}

// read keeps every line until the program ends.
func (p *program) read(stdout io.Reader) {
	scanner := bufio.NewScanner(stdout)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		p.change(func() { p.lines = append(p.lines, scanner.Text()) })
	}
	io.Copy(io.Discard, stdout) // of a line that was too long
	p.change(func() { p.ended = true })
}

func (p *program) change(what func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	what()
	close(p.changed)
	p.changed = make(chan struct{})
}

// until waits until what the program printed satisfies enough, and gives it.
func (p *program) until(enough func(lines []string) bool) []string {
	p.t.Helper()
	for {
		p.mu.Lock()
		lines, ended, changed := append([]string(nil), p.lines...), p.ended, p.changed
		p.mu.Unlock()
		switch {
		case enough(lines):
			return lines
		case ended:
			p.t.Fatalf("%s ended too early", p.name)
		}
		<-changed
	}
}

// line waits for line n, from 0.
func (p *program) line(n int) string {
	p.t.Helper()
	return p.until(func(lines []string) bool { return len(lines) > n })[n]
}

// refusal is why a step was not done: the library's error and, where it came
// from an answer of the server, its status and code.
type refusal struct {
	Name, Message, Code string
	Status              int
}

func (r *refusal) String() string {
	return fmt.Sprintf("%s (status %d, code %q): %s", r.Name, r.Status, r.Code, r.Message)
}

// stepper is a program that carries out steps (js/lines.mjs).
type stepper struct {
	*program
	read int // lines
}

func startStepper(t testing.TB, ca, name string) *stepper {
	t.Helper()
	return stepperOf(start(t, ca, name))
}

func stepperOf(p *program) *stepper {
	p.t.Helper()
	s := &stepper{program: p}
	s.answer(nil) // it is ready
	return s
}

// answer waits for the next answer, and decodes what was done into out unless
// that is nil.
func (s *stepper) answer(out any) *refusal {
	s.t.Helper()
	text := s.line(s.read)
	s.read++
	var a struct {
		Done    json.RawMessage
		Refused *refusal
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		s.t.Fatalf("%s answered %q: %v", s.name, text, err)
	}
	if a.Refused == nil && out != nil {
		if err := json.Unmarshal(a.Done, out); err != nil {
			s.t.Fatalf("%s answered %q: %v", s.name, text, err)
		}
	}
	return a.Refused
}

// try has a step carried out, which may be refused.
func (s *stepper) try(step string, parameters map[string]any, out any) *refusal {
	s.t.Helper()
	command := map[string]any{"step": step}
	for name, value := range parameters {
		command[name] = value
	}
	text, err := json.Marshal(command)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.stdin.Write(append(text, '\n')); err != nil {
		s.t.Fatalf("%s: %v", s.name, err)
	}
	return s.answer(out)
}

// do has a step carried out, which must succeed.
func (s *stepper) do(step string, parameters map[string]any, out any) {
	s.t.Helper()
	if r := s.try(step, parameters, out); r != nil {
		s.t.Fatalf("%s: %s is refused: %v", s.name, step, r)
	}
}

// refused has a step carried out, which must be refused with a status and code
// of the server.
func (s *stepper) refused(step string, parameters map[string]any, status int, code string) {
	s.t.Helper()
	switch r := s.try(step, parameters, nil); {
	case r == nil:
		s.t.Errorf("%s: %s is not refused, want status %d %s", s.name, step, status, code)
	case r.Status != status || r.Code != code:
		s.t.Errorf("%s: %s is refused with %v; want status %d, code %q", s.name, step, r, status, code)
	}
}

// installed names the Node to use, if install.sh has done its work.
var installed = sync.OnceValues(func() (string, error) {
	var text []byte
	for _, name := range []string{"package-lock.json", ".npmrc"} {
		part, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		text = append(text, part...)
	}
	sum := sha256.Sum256(text)
	stamp, _ := os.ReadFile("node_modules/.tidings-installed") // missing is different, too
	if strings.TrimSpace(string(stamp)) != hex.EncodeToString(sum[:]) {
		return "", fmt.Errorf("the npm packages of internal/foreign are not installed, or other ones: run internal/foreign/install.sh")
	}
	for _, candidate := range []string{os.Getenv("TIDINGS_NODE"), "./node_modules/.bin/node", "node"} {
		if candidate != "" && recent(candidate) {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("no Node of version %d or newer was found: run internal/foreign/install.sh", oldestNode)
})

// recent tells whether a program is a Node that is new enough.
func recent(node string) bool {
	out, err := exec.Command(node, "--version").Output()
	if err != nil {
		return false
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(string(out), "v"), ".")
	n, err := strconv.Atoi(major)
	return err == nil && n >= oldestNode
}
