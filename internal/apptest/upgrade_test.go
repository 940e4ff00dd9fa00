package apptest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"tidings/internal/apptest"
	"tidings/internal/localca"
	"tidings/internal/pgtest"
)

// balancer sends each request to the next server that is not taken out.
type balancer struct {
	mu   sync.Mutex
	apis []*apptest.API
	busy []sync.WaitGroup // the requests under way
	out  []bool
	next int
}

// request asks one of the servers.
func (b *balancer) request(do func(*apptest.API)) {
	b.mu.Lock()
	for b.next++; b.out[b.next%len(b.apis)]; b.next++ {
	}
	at := b.next % len(b.apis)
	b.busy[at].Add(1)
	b.mu.Unlock()
	defer b.busy[at].Done()
	do(b.apis[at])
}

// take takes a server out, and waits until its requests have ended.
func (b *balancer) take(at int) {
	b.mu.Lock()
	b.out[at] = true
	b.mu.Unlock()
	b.busy[at].Wait()
}

func (b *balancer) putBack(at int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out[at] = false
}

// load publishes stories, and reads, through a balancer. All of it has to go well.
type load struct {
	t     *testing.T
	b     *balancer
	stop  atomic.Bool
	group sync.WaitGroup

	mu  sync.Mutex
	ids []string
}

func (l *load) run(number int) {
	for n := 0; !l.stop.Load(); n++ {
		for _, typ := range []string{offered, completed} {
			l.b.request(func(a *apptest.API) {
				ids, status, answer, err := tryPublish(a, event(typ, fmt.Sprint("story-", number, "-", n)))
				if ids == nil {
					l.t.Errorf("publishing to %s: status %d, %v: %s", a.URL, status, err, answer)
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				l.ids = append(l.ids, ids...)
			})
		}
		l.b.request(func(a *apptest.API) {
			if status, answer, err := a.Request("GET", "/deliveries?page[size]=5", nil); err != nil || status != http.StatusOK {
				l.t.Errorf("reading from %s: status %d, %v: %s", a.URL, status, err, answer)
			}
		})
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.ids)
}

// more waits until more is accepted.
func (l *load) more() {
	l.t.Helper()
	enough := l.count() + 60
	apptest.Await(l.t, "more events are accepted", func() bool { return l.count() >= enough || l.t.Failed() })
}

// Two servers under load are upgraded as docs/operating.md says, to a version that
// adds to the schema: no request fails, and each event arrives once and in order.
func TestARollingUpgrade(t *testing.T) {
	ca, err := localca.New()
	if err != nil {
		t.Fatal(err)
	}
	database := pgtest.NewDatabase(t, pgtest.Start(t))
	b := &balancer{busy: make([]sync.WaitGroup, 2), out: make([]bool, 2)}
	var nodes []*apptest.Process
	for range 2 {
		p := apptest.Serve(t, apptest.Setup{CA: ca, Database: database, Plain: true, Flags: []string{"--public-url=https://tidings.example", oftenRetried, "--log-level=warn"}})
		nodes, b.apis = append(nodes, p), append(b.apis, p.API)
	}
	tally, order := newTally(), newStories(t)
	receiver := apptest.NewReceiver(t, ca, func(w http.ResponseWriter, r *http.Request, got apptest.Received) {
		status := http.StatusNoContent
		if moody(got) {
			status = http.StatusInternalServerError
		}
		tally.take(r.URL.Path, got, status)
		if status < 300 {
			order.took(r.URL.Path, got)
		}
		w.WriteHeader(status)
	})
	var paths []string
	for i := range 8 { // some for each node
		path := fmt.Sprint("/", i)
		nodes[0].Register(strings.TrimSuffix(receiver.URL, "/webhooks") + path)
		paths = append(paths, path)
	}
	awaitSharesOf(t, b.apis)
	l := &load{t: t, b: b}
	for i := range 3 {
		l.group.Go(func() { l.run(i) })
	}
	l.more()

	next := apptest.NextBinary(t)
	for i, p := range nodes {
		if i == 0 {
			old := *p
			old.Replace(next)
			if out, code := old.Command("migrate"); code != 0 || !strings.Contains(out, "1 migrations ran") {
				t.Errorf("migrate ends with %d: %s", code, out)
			}
			l.more() // both are of the version before
		}
		b.take(i)
		if code := p.Stop(); code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
		if i == 0 {
			if p.Launch(); p.Wait() != 1 || !strings.Contains(p.Logs.Tail(), "it was written by a newer tidings") {
				t.Errorf("the version before ends with %d:\n%s", p.Wait(), p.Logs.Tail())
			}
		}
		l.more() // by the other one alone
		p.Replace(next)
		p.Start()
		b.putBack(i)
		awaitSharesOf(t, b.apis)
		l.more()
	}
	l.stop.Store(true)
	l.group.Wait()
	for _, path := range paths {
		apptest.Await(t, "every event has arrived at "+path, func() bool { return tally.missing(path, l.ids) == 0 })
	}
	if _, repeated := tally.counts(); repeated > 0 {
		t.Errorf("%d webhooks were repeated", repeated)
	}
	t.Logf("%d events were accepted", len(l.ids))
	nodes[0].Check()
}
