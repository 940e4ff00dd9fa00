//go:build linux

package apptest_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"tidings/internal/apptest"
)

// breakSync lets every fsync and fdatasync of the process fail from now on, as
// a disk does that lost what was written to it, and gives the list of those
// that failed, once the process has ended.
func breakSync(t *testing.T, p *apptest.Process) (failed func() []string) {
	t.Helper()
	file, said := filepath.Join(t.TempDir(), "trace"), &apptest.Log{}
	strace := exec.Command("strace", "-f", "-o", file, "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO", "-p", strconv.Itoa(p.PID()))
	strace.Stderr = said
	if err := strace.Start(); err != nil {
		t.Fatalf("this test lets system calls fail by strace (scripts/need-programs.sh installs it): %v", err)
	}
	ended := make(chan struct{})
	go func() {
		strace.Wait() // it ends with the process, whose end the test looks at
		close(ended)
	}()
	t.Cleanup(func() {
		strace.Process.Kill() // where the process did not end
		<-ended
	})
	p.Await("strace is attached", func() bool {
		select {
		case <-ended:
			t.Fatalf("strace cannot watch the server, which takes root (CAP_SYS_PTRACE), as in a container of CI:\n%s", said)
		default:
		}
		return strings.Contains(said.String(), "attached")
	})
	return func() (lines []string) {
		<-ended
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			if bytes.Contains(line, []byte("(INJECTED)")) {
				lines = append(lines, string(line))
			}
		}
		return lines
	}
}

// What a failed fsync was to keep may be gone although a second one succeeds.
// So the server accepts nothing on it and ends at once, and goes on at its next
// start from what the disk has.
func TestAFailedSyncEndsTheServer(t *testing.T) {
	p := apptest.Serve(t, apptest.Setup{Plain: true, Flags: []string{oftenRetried}})
	tally := newTally()
	receiver := apptest.NewReceiver(t, p.CA, tally.answer)
	p.Register(receiver.URL)
	publishers := startPublishers(t, p.API, 8)
	p.Await("events are accepted", func() bool { return publishers.count() >= 200 || t.Failed() })

	failed := breakSync(t, p)
	if code := p.Wait(); code != 74 {
		t.Errorf("the server ends with %d, want 74", code)
	}
	if calls := failed(); len(calls) != 1 {
		t.Errorf("a sync that failed is not tried again; these failed:\n%s", strings.Join(calls, ""))
	}
	if log := p.Logs.String(); !strings.Contains(log, "the store cannot be relied on any more: the process ends") {
		t.Errorf("the log does not say why:\n%s", p.Logs.Tail())
	}

	p.Start()
	before := publishers.count()
	p.Await("events are accepted again", func() bool { return publishers.count() > before+50 || t.Failed() })
	publishers.end()
	p.Await("every accepted event has arrived", func() bool { return tally.missing("/webhooks", publishers.accepted) == 0 })
	p.Check()
}

// While no sync succeeds, nothing is accepted: the first request that needs one
// gets no 202.
func TestNothingIsAcceptedWithoutASync(t *testing.T) {
	p := apptest.Serve(t, apptest.Setup{Plain: true})
	p.Publish(offered, "before")
	breakSync(t, p)
	for n := range 3 {
		if ids, status, _, _ := tryPublish(p.API, event(offered, fmt.Sprint("lost-", n))); ids != nil || status == http.StatusAccepted {
			t.Errorf("an event is accepted (status %d) although nothing can be synced", status)
		}
	}
	if code := p.Wait(); code != 74 {
		t.Errorf("the server ends with %d, want 74", code)
	}
	p.Start()
	p.Check()
}
