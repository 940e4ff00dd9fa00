package apptest_test

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/apptest"
)

// What one kill may repeat at most: the results of one batch of the store that
// were not committed, and the attempts in flight.
const repeatedByKill = 2000 + 512

// setting reads a number that makes the test larger than in a normal run.
func setting(t *testing.T, name string, normal int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return normal
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is a number from 1, not %q", name, text)
	}
	return n
}

const oftenRetried = "--retry-schedule=100ms,100ms,200ms,200ms,500ms,500ms,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s"

// publishers publish all the time, from many goroutines, and keep the ids of
// what was answered with 202.
type publishers struct {
	t     *testing.T
	api   *apptest.API
	pause time.Duration // between two requests of one of them
	next  atomic.Int64
	stop  atomic.Bool
	group sync.WaitGroup

	mu       sync.Mutex
	accepted []string
	refused  int // requests that failed or were told to come again
}

func startPublishers(t *testing.T, api *apptest.API, n int) *publishers {
	return startSlowPublishers(t, api, n, 0)
}

// startSlowPublishers leaves others some of the machine.
func startSlowPublishers(t *testing.T, api *apptest.API, n int, pause time.Duration) *publishers {
	p := &publishers{t: t, api: api, pause: pause}
	for i := range n {
		p.group.Go(func() { p.run(i) })
	}
	t.Cleanup(p.end)
	return p
}

func (p *publishers) end() {
	p.stop.Store(true)
	p.group.Wait()
}

// run publishes single events and small arrays.
func (p *publishers) run(number int) {
	for ; !p.stop.Load(); time.Sleep(p.pause) {
		n := p.next.Add(1)
		var events []apptest.Object
		for k := range 1 + number%3*2 {
			events = append(events, event(offered, fmt.Sprintf("issuance-%d-%d", n, k)))
		}
		ids, status, answer, err := tryPublish(p.api, events...)
		switch {
		case err == nil && status != http.StatusAccepted && status != http.StatusServiceUnavailable:
			p.t.Errorf("publishing: status %d: %s", status, answer)
			return
		case ids == nil:
			// It may have been accepted all the same: that is no promise.
			p.mu.Lock()
			p.refused++
			p.mu.Unlock()
			untilReady(p.api, &p.stop)
		}
		p.mu.Lock()
		p.accepted = append(p.accepted, ids...)
		p.mu.Unlock()
	}
}

// untilReady waits until the server answers again, or the test ends.
func untilReady(api *apptest.API, stop *atomic.Bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !stop.Load() && api.ReadyStatus() != http.StatusOK {
		<-tick.C
	}
}

func (p *publishers) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.accepted)
}

func TestKillLosesNothing(t *testing.T) {
	rounds, events := setting(t, "TIDINGS_CRASH_ROUNDS", 3), setting(t, "TIDINGS_CRASH_EVENTS", 1500)
	p := apptest.Serve(t, apptest.Setup{Flags: []string{oftenRetried, "--log-level=warn"}})
	tally := newTally()
	receiver := apptest.NewReceiver(t, p.CA, func(w http.ResponseWriter, r *http.Request, got apptest.Received) {
		status := http.StatusNoContent
		if r.URL.Path == "/webhooks/moody" && moody(got) {
			status = http.StatusInternalServerError
		}
		tally.take(r.URL.Path, got, status)
		w.WriteHeader(status)
	})
	endpoints := []string{"/webhooks/one", "/webhooks/two", "/webhooks/moody"}
	for _, path := range endpoints {
		p.Register(receiver.URL[:len(receiver.URL)-len("/webhooks")] + path)
	}

	publishers := startPublishers(t, p.API, 32)
	for round := range rounds {
		before, _ := tally.counts()
		p.Await("the round's events are accepted, and some delivered", func() bool {
			arrivals, _ := tally.counts()
			return publishers.count() >= (round+1)*events/(rounds+1) && arrivals > before+20 || t.Failed()
		})
		p.Kill()
		p.Start()
	}
	p.Await("all events are accepted", func() bool { return publishers.count() >= events || t.Failed() })
	publishers.end()

	accepted := publishers.accepted
	for _, path := range endpoints {
		p.Await("every accepted event has arrived at "+path, func() bool { return tally.missing(path, accepted) == 0 })
	}
	arrivals, duplicates := tally.counts()
	t.Logf("%d kills, %d events accepted, %d requests failed meanwhile, %d arrivals, %d of them repeated (%.0f per kill)",
		rounds, len(accepted), publishers.refused, arrivals, duplicates, float64(duplicates)/float64(rounds))
	if duplicates > rounds*repeatedByKill {
		t.Errorf("%d repeated, more than %d per kill", duplicates, repeatedByKill)
	}
	p.Check()
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	p.Check()
}

// moody tells whether the receiver fails: at one of ten first attempts.
func moody(got apptest.Received) bool {
	h := fnv.New32a()
	h.Write([]byte(got.ID()))
	return got.Header.Get("webhook-attempt") == "1" && h.Sum32()%10 == 0
}
