//go:build linux

package apptest_test

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"tidings/internal/apptest"
)

// resident gives the resident memory of a process in kB, once it has settled:
// the smallest of some seconds in which small requests keep the garbage
// collector going.
func resident(t *testing.T, p *apptest.Process) int {
	t.Helper()
	least := 0
	for until := time.Now().Add(4 * time.Second); time.Now().Before(until); {
		for range 200 {
			p.ReadyStatus()
		}
		if kB := vmRSS(t, p.PID()); least == 0 || kB < least {
			least = kB
		}
	}
	return least
}

func vmRSS(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kB, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kB
}

// deadURL gives a URL at which every connection is refused.
func deadURL(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "https://" + l.Addr().String() + "/webhooks"
}

func TestMemoryDoesNotGrowWithTheBacklog(t *testing.T) {
	p := apptest.Serve(t, apptest.Setup{Plain: true, Flags: []string{"--log-level=error"}})
	endpoint := p.Register(deadURL(t))
	pending := func(want int) {
		t.Helper()
		var e struct{ Backlog struct{ Count int } }
		p.Call("GET", "/endpoints/"+endpoint, nil, 200, &e)
		if e.Backlog.Count != want {
			t.Fatalf("%d deliveries are pending, want %d", e.Backlog.Count, want)
		}
	}
	add := func(name string, thousands int) {
		for n := range thousands {
			publish(t, p.API, many(1000, offered, fmt.Sprint(name, n))...)
		}
	}
	add("first-", 20) // more than a lane keeps in memory
	pending(20_000)
	small := resident(t, p)
	add("more-", 80)
	pending(100_000)
	large := resident(t, p)
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.Start() // lanes are rebuilt from the store
	pending(100_000)
	started := resident(t, p)
	t.Logf("resident: %d kB with 20,000 pending, %d kB with 100,000, %d kB after a restart with these", small, large, started)
	const most = 20 << 10
	if large > small+most || started > small+most {
		t.Errorf("memory grew by %d kB and after a restart by %d kB, more than %d kB", large-small, started-small, most)
	}
}
