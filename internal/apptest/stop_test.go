package apptest_test

import (
	"crypto/tls"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/pgtest"
)

// gate is a receiver that holds its answers back until it is opened.
type gate struct {
	*tally
	begun atomic.Int64
	open  chan struct{}
}

func newGate() *gate { return &gate{tally: newTally(), open: make(chan struct{})} }

func (g *gate) answer(w http.ResponseWriter, r *http.Request, got apptest.Received) {
	g.begun.Add(1)
	select {
	case <-g.open:
		g.tally.answer(w, r, got)
	case <-r.Context().Done():
	}
}

// four registers four endpoints at one receiver and gives their paths.
func four(a *apptest.API, url string) (paths []string) {
	for k := range 4 {
		paths = append(paths, fmt.Sprint("/endpoint", k))
		a.Register(strings.Replace(url, "/webhooks", paths[k], 1))
	}
	return paths
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	p := apptest.Serve(t, apptest.Setup{Flags: []string{"--drain-timeout=60s"}})
	g := newGate()
	paths := four(p.API, apptest.NewReceiver(t, p.CA, g.answer).URL)
	ids := publish(t, p.API, many(10, offered, "i")...)
	p.Await("each endpoint has two attempts in flight", func() bool { return g.begun.Load() == 8 })
	p.Terminate()
	p.Await("the process stops", func() bool { return strings.Contains(p.Logs.String(), "msg=stopping") })
	p.Await("nobody is told any more that it is ready", func() bool { return p.ReadyStatus() == 0 })
	if !p.Running() {
		t.Error("the process has not waited for what is in flight")
	}
	close(g.open)
	if code := p.Wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if arrivals, _ := g.counts(); arrivals != 8 {
		t.Errorf("%d arrivals before the end, want the 8 that were in flight", arrivals)
	}
	p.Check()
	p.Start()
	for _, path := range paths {
		p.Await("every event has arrived", func() bool { return g.missing(path, ids) == 0 })
	}
	if arrivals, repeated := g.counts(); arrivals != 40 || repeated != 0 {
		t.Errorf("%d arrivals, %d repeated; want 40 and none", arrivals, repeated)
	}
	p.Check()
}

func TestStopGivesBackWhatDoesNotEnd(t *testing.T) {
	const drain = 10 * time.Second
	p := apptest.Serve(t, apptest.Setup{Flags: []string{"--drain-timeout=" + drain.String(), "--attempt-timeout=1m"}})
	g := newGate()
	receiver := apptest.NewReceiver(t, p.CA, g.answer)
	paths := four(p.API, receiver.URL)
	ids := publish(t, p.API, many(10, offered, "i")...)
	p.Await("each endpoint has two attempts in flight", func() bool { return g.begun.Load() == 8 })
	begin := time.Now()
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	t.Logf("stopped after %v", time.Since(begin).Round(time.Millisecond))
	if took := time.Since(begin); took > drain {
		t.Errorf("stopping took %v, longer than the drain time", took)
	}
	close(g.open)
	p.Start()
	for _, path := range paths {
		p.Await("every event has arrived", func() bool { return g.missing(path, ids) == 0 })
	}
	for _, got := range receiver.Received() {
		if n := got.Header.Get("webhook-attempt"); n != "1" {
			t.Errorf("an attempt of event %s has number %s: one that was given back was counted", got.ID(), n)
		}
	}
	p.Check()
}

func TestStopUnderLoadLosesAndRepeatsNothing(t *testing.T) {
	p := apptest.Serve(t, apptest.Setup{Flags: []string{"--drain-timeout=60s", "--log-level=warn"}})
	tally := newTally()
	paths := four(p.API, apptest.NewReceiver(t, p.CA, tally.answer).URL)
	publishers := startPublishers(t, p.API, 16)
	for round := range 2 {
		before, _ := tally.counts()
		p.Await("it delivers", func() bool {
			arrivals, _ := tally.counts()
			return publishers.count() >= 100*(round+1) && arrivals > before+50
		})
		if code := p.Stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		p.Start()
	}
	publishers.end()
	for _, path := range paths {
		p.Await("every event has arrived", func() bool { return tally.missing(path, publishers.accepted) == 0 })
	}
	arrivals, repeated := tally.counts()
	t.Logf("%d events accepted, %d arrivals, %d repeated", len(publishers.accepted), arrivals, repeated)
	if repeated != 0 {
		t.Errorf("%d repeated, although every attempt could end and be recorded", repeated)
	}
	p.Check()
}

func TestASecondServerOnTheSameDataIsRefused(t *testing.T) {
	p := apptest.Serve(t, apptest.Setup{})
	out, code := p.Command("serve", "--listen", "127.0.0.1:0")
	if code != 1 || !strings.Contains(out, "another tidings process already serves "+p.Dir) {
		t.Errorf("code %d, %q", code, out)
	}
	if p.ReadyStatus() != http.StatusOK {
		t.Error("the first server suffers from it")
	}
}

// A browser opens connections that it may need, and uses none. net/http waits
// 5 s for those, longer than this server may.
func TestStopDoesNotWaitForUnusedConnections(t *testing.T) {
	a := apptest.New(t, func(c *app.Config) { c.DrainTimeout = 4 * time.Second })
	address := strings.TrimPrefix(a.URL, "https://")
	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	secured, err := tls.Dial("tcp", address, &tls.Config{RootCAs: a.CA.Pool()})
	if err != nil {
		t.Fatal(err)
	}
	defer secured.Close()
	a.Token() // so that one of a client that is idle is there, too
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(a.Logs.String(), "broken off") {
		t.Errorf("the stop waited for connections without a request:\n%s", a.Logs.Tail())
	}
}

// A node's address is free only once the others know that it is stopping: what
// starts there takes one that they do not know of for one that was killed, and
// ends its lease while attempts of it go on.
func TestAnAddressIsFreeOnceItsNodeIsLeaving(t *testing.T) {
	url := pgtest.NewDatabase(t, pgtest.Start(t))
	way := pgtest.NewProxy(t, url)
	a := nodes(t, way.URL, 1)[0]
	awaitShares(t, []*apptest.App{a})
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	way.Delay(50 * time.Millisecond)
	stopped := make(chan error)
	go func() { stopped <- a.Stop() }()
	a.Await("its address is free", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(a.URL, "https://"))
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	var unaware int
	if err := db.QueryRow("SELECT count(*) FROM node WHERE leaving = 0").Scan(&unaware); err != nil || unaware != 0 {
		t.Errorf("the address of %d nodes is free that seem to go on: %v", unaware, err)
	}
	way.Mend()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
