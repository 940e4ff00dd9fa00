package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt" // shows what a person sees
	"github.com/creack/pty"

	"tidings/internal/apptest"
)

// screen is a pseudo-terminal with a program in it.
type screen struct {
	t    *testing.T
	tty  *os.File
	cmd  *exec.Cmd
	done func() error // waits for the program to end

	mu    sync.Mutex
	shows *vt.Emulator
}

// startOnScreen starts the binary in a terminal of 100 by 24 characters.
func startOnScreen(t *testing.T, variables map[string]string, args ...string) *screen {
	t.Helper()
	s := &screen{t: t, cmd: exec.Command(apptest.Binary(t, apptest.RaceEnabled), args...), shows: vt.NewEmulator(100, 24)}
	s.cmd.Env = []string{"TERM=xterm-256color", "HOME=" + t.TempDir()}
	for name, value := range variables {
		s.cmd.Env = append(s.cmd.Env, name+"="+value)
	}
	var err error
	if s.tty, err = pty.StartWithSize(s.cmd, &pty.Winsize{Rows: 24, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	go io.Copy(s.tty, s.shows) // what a terminal answers when it is asked
	read := make(chan struct{})
	go func() {
		defer close(read)
		text := make([]byte, 4096)
		for {
			n, err := s.tty.Read(text)
			s.mu.Lock()
			s.shows.Write(text[:n])
			s.mu.Unlock()
			if err != nil {
				return // the program has ended
			}
		}
	}()
	killed := time.AfterFunc(2*time.Minute, func() { s.cmd.Process.Kill() })
	s.done = sync.OnceValue(func() error {
		<-read
		killed.Stop()
		return s.cmd.Wait()
	})
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.done()
		s.tty.Close()
	})
	return s
}

// text gives what is on the screen.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shows.String()
}

// sees waits until something is on the screen.
func (s *screen) sees(words string) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(s.text(), words); {
		if time.Now().After(deadline) {
			s.t.Fatalf("the screen does not show %q:\n%s", words, s.text())
		}
		<-time.After(10 * time.Millisecond)
	}
}

func (s *screen) press(keys string) {
	s.t.Helper()
	if _, err := s.tty.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// In a terminal, listen shows what comes and what to do about what is refused;
// a key sends the last event once more, another ends.
func TestListenInATerminal(t *testing.T) {
	dir := t.TempDir()
	w, variables := newScriptWorld(t, dir)
	state := filepath.Join(dir, "listen.json")
	s := startOnScreen(t, variables, "listen", "--forward", w.local.url, "--state", state, "--retry-delays", "10ms")
	s.sees("waiting for the first event")
	s.sees("q end")
	first := w.app.Publish("openid4vc.issuance.offered", "order-1")
	s.sees("webhook-id " + first)
	s.sees("1 taken, 0 failed")
	s.sees(`sent    {"eventType":"openid4vc.issuance.offered","payload":{"openId4VcIssuanceId":"order-1"}}`)
	s.sees("answer  204")

	s.press("r")
	s.sees("once more: 204")
	s.sees("1 taken, 0 failed") // it is the same event
	w.local.mu.Lock()
	again := w.local.came[len(w.local.came)-1]
	if len(w.local.came) != 2 || again.header.Get("webhook-id") != first || again.header.Get("webhook-attempt") != "2" {
		t.Errorf("the key sent %d webhooks, the last with the headers %v", len(w.local.came)-1, again.header)
	}
	w.local.mu.Unlock()

	w.local.refuse(400, 401)
	w.app.Publish("openid4vc.issuance.completed", "order-1")
	s.sees("attempt 1: 400; again in 10ms")
	s.sees("FAILED after 2 attempts: 401")
	s.sees("mend    does your receiver verify with the secret of tidings listen --print-secret")
	s.sees("1 taken, 1 failed")
	s.press("r") // mended
	s.sees("answer  204")

	w.app.Stop()
	s.sees("trying again to reach")
	s.press("q")
	if err := s.done(); err != nil {
		t.Errorf("it ends with %v:\n%s", err, s.text())
	}
	if text := s.text(); strings.Contains(text, "q end") || !strings.Contains(text, "1 taken, 1 failed") || !strings.Contains(text, "once more: 204") {
		t.Errorf("what stays is:\n%s", text)
	}
}

// Where plain lines are asked for, or the terminal can do no more, a terminal
// gets them, too.
func TestListenPlainInATerminal(t *testing.T) {
	dir := t.TempDir()
	w, variables := newScriptWorld(t, dir)
	for name, c := range map[string]struct{ term, flag string }{"asked for": {"xterm", "--plain"}, "dumb": {"dumb", "--state=" + filepath.Join(dir, "dumb.json")}} {
		variables["TERM"] = c.term
		s := startOnScreen(t, variables, "listen", "--forward", w.local.url, c.flag)
		s.sees("Ctrl-C ends")
		w.app.Publish("openid4vc.issuance.offered", "plain-"+c.term)
		s.sees("plain-" + c.term + "  signature ok  204")
		s.press("\x03")
		if err := s.done(); err != nil {
			t.Errorf("%s: it ends with %v", name, err)
		}
		if strings.Contains(s.text(), "send the last") {
			t.Errorf("%s: there is a live view:\n%s", name, s.text())
		}
	}
}
