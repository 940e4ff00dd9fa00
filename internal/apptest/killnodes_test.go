package apptest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/localca"
	"tidings/internal/pgtest"
)

// cluster is three nodes as processes, each with a way of its own to the database
// that the test can break, and receivers that count.
type cluster struct {
	t      *testing.T
	server *pgtest.Server
	ways   []*pgtest.Proxy
	nodes  []*apptest.Process
	apis   []*apptest.API
	tally  *tally
	paths  []string
	order  *stories
}

// nodeLease is that of the nodes under test: short, and so are attempts.
const nodeLease = 8 * time.Second

func startCluster(t *testing.T) *cluster {
	t.Helper()
	ca, err := localca.New()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, server: pgtest.NewServer(t), tally: newTally(), order: newStories(t)}
	url := pgtest.NewDatabase(t, c.server.URL)
	for range 3 {
		way := pgtest.NewProxy(t, url)
		p := apptest.Serve(t, apptest.Setup{CA: ca, Database: way.URL, Flags: []string{"--public-url=https://tidings.example", oftenRetried,
			"--attempt-timeout=1s", "--node-lease=" + nodeLease.String(), "--database-timeout=3s", "--log-level=warn"}})
		c.ways, c.nodes, c.apis = append(c.ways, way), append(c.nodes, p), append(c.apis, p.API)
	}
	var single atomic.Int64
	receiver := apptest.NewReceiver(t, ca, func(w http.ResponseWriter, r *http.Request, got apptest.Received) {
		status := http.StatusNoContent
		switch {
		case r.URL.Path == "/single":
			if n := single.Add(1); n > 1 {
				t.Errorf("%d attempts at once at an endpoint that takes one", n)
			}
			defer single.Add(-1)
		case moody(got):
			status = http.StatusInternalServerError
		}
		c.tally.take(r.URL.Path, got, status)
		if status < 300 {
			c.order.took(r.URL.Path, got)
		}
		w.WriteHeader(status)
	})
	base := strings.TrimSuffix(receiver.URL, "/webhooks")
	for i, path := range []string{"/one", "/two", "/three", "/four", "/single"} {
		body := apptest.Object{"url": base + path}
		if path == "/single" {
			body["maxInFlight"] = 1
		}
		c.apis[i%3].Call("POST", "/endpoints", body, http.StatusCreated, nil)
		c.paths = append(c.paths, path)
	}
	awaitSharesOf(t, c.apis)
	c.takeEachOthersTokens()
	return c
}

// takeEachOthersTokens holds that a load balancer may send a request to any node.
func (c *cluster) takeEachOthersTokens() {
	c.t.Helper()
	token := c.apis[0].Token()
	for _, a := range c.apis {
		request, err := http.NewRequest("GET", a.URL+"/me-creds/api/endpoints", nil)
		if err != nil {
			c.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		answer, err := a.HTTP.Do(request)
		if err != nil {
			c.t.Fatal(err)
		}
		if answer.Body.Close(); answer.StatusCode != http.StatusOK {
			c.t.Errorf("another node's token is answered with %d", answer.StatusCode)
		}
	}
}

// tell publishes stories of two events, each by another node, until stop.
func (c *cluster) tell(fault string, stop *atomic.Bool) (ids []string) {
	for n := 0; !stop.Load(); n++ {
		issuance := fmt.Sprint("story-", len(fault), "-", n)
		for i, typ := range []string{offered, completed} {
			var made []string
			for made == nil && !stop.Load() {
				made, _, _, _ = tryPublish(c.apis[(n+i)%3], event(typ, issuance)) // it may be refused during a fault
				time.Sleep(20 * time.Millisecond)
			}
			ids = append(ids, made...)
		}
	}
	return ids
}

// under has a fault happen while all nodes are published to; then everything that
// was accepted has to be delivered, no more repeated than may be, the store in
// order, and each node be back by itself.
func (c *cluster) under(fault string, happen func(t *testing.T)) {
	c.t.Run(fault, func(t *testing.T) {
		began := time.Now()
		_, repeated := c.tally.counts()
		var all []*publishers
		for _, a := range c.apis {
			all = append(all, startSlowPublishers(t, a, 2, 100*time.Millisecond))
		}
		accepted := func() (n int) {
			for _, p := range all {
				n += p.count()
			}
			return n
		}
		more := func() {
			enough := accepted() + 60
			c.nodes[0].Await("more events are accepted", func() bool { return accepted() >= enough || t.Failed() })
		}
		more()
		var stop atomic.Bool
		told := make(chan []string, 1)
		go func() { told <- c.tell(fault, &stop) }()
		happen(t)
		more()
		stop.Store(true)
		events, refused := <-told, 0
		for _, p := range all {
			p.end()
			events, refused = append(events, p.accepted...), refused+p.refused
		}
		for _, path := range c.paths {
			apptest.Await(t, "every accepted event has arrived at "+path, func() bool { return c.tally.missing(path, events) == 0 })
		}
		awaitSharesOf(t, c.apis)
		_, now := c.tally.counts()
		t.Logf("%d events accepted, %d requests refused meanwhile, %d webhooks repeated, %v", len(events), refused, now-repeated, time.Since(began).Round(100*time.Millisecond))
		if now-repeated > repeatedByKill {
			t.Errorf("%d repeated, more than %d", now-repeated, repeatedByKill)
		}
		c.nodes[0].Check()
	})
}

// awaitTakeOver waits until the other nodes hold all that one held.
func (c *cluster) awaitTakeOver(t *testing.T, gone int) {
	t.Helper()
	others := append(append([]*apptest.API(nil), c.apis[:gone]...), c.apis[gone+1:]...)
	awaitSharesOf(t, others)
}

func TestKillFreezeAndCutNodes(t *testing.T) {
	c := startCluster(t)
	cut := time.Duration(setting(t, "TIDINGS_CRASH_CUT", 4)) * time.Second

	c.under("a node is killed and stays away", func(t *testing.T) {
		c.nodes[0].Kill()
		c.awaitTakeOver(t, 0)
		c.nodes[0].Start()
	})
	c.under("each is killed in turn", func(*testing.T) {
		for _, p := range c.nodes {
			p.Kill()
			p.Start()
		}
	})
	c.under("a node hangs for longer than its lease", func(t *testing.T) {
		c.nodes[1].Freeze()
		c.awaitTakeOver(t, 1)
		c.nodes[1].Thaw()
	})
	c.under("PostgreSQL crashes", func(*testing.T) { c.server.Crash(time.Second) })
	c.under("one node is cut off", func(t *testing.T) {
		c.ways[2].Stall()
		c.awaitTakeOver(t, 2)
		c.ways[2].Mend()
	})
	c.under("all are cut off", func(*testing.T) {
		for _, w := range c.ways {
			w.Cut()
		}
		time.Sleep(cut)
		for _, w := range c.ways {
			w.Mend()
		}
	})
	c.under("the database is slow", func(*testing.T) {
		for _, w := range c.ways {
			w.Delay(50 * time.Millisecond)
		}
		time.Sleep(cut / 2)
		for _, w := range c.ways {
			w.Mend()
		}
	})
	c.under("a node stops in order", func(t *testing.T) {
		if code := c.nodes[0].Stop(); code != 0 {
			t.Errorf("exit code %d after SIGTERM", code)
		}
		c.awaitTakeOver(t, 0)
		c.nodes[0].Start()
	})
}

// Nodes whose clocks are an hour wrong deliver, retry and end offers as if they
// were right.
func TestNodesWithWrongClocks(t *testing.T) {
	off := []time.Duration{0, time.Hour, -time.Hour}
	next := 0
	all := nodes(t, pgtest.NewDatabase(t, pgtest.Start(t)), len(off), func(c *app.Config) {
		wrong := off[next]
		next++
		c.Now, c.TrustClock = func() time.Time { return time.Now().Add(wrong) }, false
		c.OfferLife, c.RetrySchedule = 2*time.Second, []time.Duration{200 * time.Millisecond}
	})
	awaitShares(t, all)
	var mu sync.Mutex
	failed := map[string]bool{}
	r := apptest.NewReceiver(t, all[0].CA, func(w http.ResponseWriter, r *http.Request, got apptest.Received) {
		mu.Lock()
		defer mu.Unlock()
		if key := r.URL.Path + got.ID(); !failed[key] {
			failed[key] = true
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	const endpoints = 12 // some for each node
	for i := range endpoints {
		all[i%3].Register(fmt.Sprintf("%s/%d", r.URL, i))
	}
	templateID := template(all[1].API)
	for _, a := range all {
		began := time.Now()
		a.Publish(offered, strings.TrimPrefix(a.URL, "https://"))
		var made issuance
		a.Call("POST", "/credentials/issuance", apptest.Object{"credentialTemplateId": templateID, "attributes": apptest.Object{"name": "x"}}, http.StatusCreated, &made)
		for _, e := range list[struct{ CreatedAt time.Time }](a.API, "/events") {
			if d := e.CreatedAt.Sub(began).Abs(); d > time.Minute {
				t.Errorf("an event is off by %v", d)
			}
		}
	}
	// Of each node one event and one offer, which runs out: each twice at each endpoint.
	r.Wait(len(off) * 3 * 2 * endpoints)
	all[0].Await("everything is delivered", func() bool {
		return len(list[struct{ ID string }](all[0].API, "/deliveries?filter[status]=pending")) == 0
	})
	if got := len(list[struct{ ID string }](all[0].API, "/events?filter[eventType]=openid4vc.issuance.expired")); got != len(off) {
		t.Errorf("%d offers ran out, want %d", got, len(off))
	}
}
