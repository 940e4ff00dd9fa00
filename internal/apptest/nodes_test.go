package apptest_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"tidings"
	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/pgtest"
)

// nodes starts servers in the test's own process that share a PostgreSQL.
func nodes(t *testing.T, url string, n int, options ...apptest.Option) (out []*apptest.App) {
	t.Helper()
	for range n {
		own := append([]apptest.Option{func(c *app.Config) { c.Database, c.Data = url, "" }}, options...)
		if len(out) > 0 {
			roots := out[0].CA.Pool()
			own = append(own, func(c *app.Config) { c.EgressRoots = roots })
		}
		out = append(out, apptest.New(t, own...))
	}
	return out
}

// What one node accepts is delivered whichever of them its endpoint belongs to,
// once, while nodes come and go; and what one changes all of them know.
func TestNodesShareTheDeliveries(t *testing.T) {
	all := nodes(t, pgtest.NewDatabase(t, pgtest.Start(t)), 2)
	r := apptest.NewReceiver(t, all[0].CA, nil)
	const endpoints, each = 20, 5
	for i := range endpoints {
		all[i%2].Register(fmt.Sprintf("%s/%d", r.URL, i))
	}
	published := 0
	publish := func(by *apptest.App) {
		t.Helper()
		for range each {
			published++
			by.Publish(offered, fmt.Sprint("issuance-", published))
		}
		r.Wait(published * endpoints)
	}
	publish(all[0])
	publish(all[1])
	awaitShares(t, all)
	publish(all[0])
	if err := all[0].Stop(); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	publish(all[1])
	if d := time.Since(stopped); d > 20*time.Second {
		t.Errorf("what a node delivered for that has stopped in order goes on after %v: it waits for the end of its lease", d)
	}
	if got := len(r.Received()); got != published*endpoints {
		t.Errorf("%d webhooks arrived, want %d: each once", got, published*endpoints)
	}
	all[1].Await("all deliveries ended well", func() bool {
		return len(list[struct{ ID string }](all[1].API, "/deliveries?filter[status]=delivered")) == published*endpoints
	})
}

// A node that is told to stop gives everything away at once, although something of
// it hangs. That goes on: until it has ended nobody starts anything else at the same
// endpoint, and it is not repeated.
func TestAStoppingNodeGivesEverythingAwayAtOnce(t *testing.T) {
	named := 0
	all := nodes(t, pgtest.NewDatabase(t, pgtest.Start(t)), 2, func(c *app.Config) {
		named++
		c.Version, c.AttemptTimeout, c.DrainTimeout = fmt.Sprint("node", named), time.Minute, 5*time.Minute
	})
	awaitShares(t, all)
	release := make(chan struct{})
	hangs := apptest.NewReceiver(t, all[0].CA, func(w http.ResponseWriter, r *http.Request, _ apptest.Received) {
		if r.Header.Get("Webhook-Test") == "" {
			<-release
		}
	})
	r := apptest.NewReceiver(t, all[0].CA, nil)
	of(t, all[1], "node1", hangs)
	before := len(hangs.Received())
	all[1].Publish(offered, "hangs")
	hangs.Wait(before + 1)
	stopping := time.Now()
	stopped := make(chan error)
	go func() { stopped <- all[0].Stop() }()
	awaitShares(t, all[1:])
	if d := time.Since(stopping); d > 10*time.Second {
		t.Errorf("the node that is left has everything after %v", d)
	}
	all[1].Publish(completed, "hangs")
	all[1].Publish(offered, "waits")
	of(t, all[1], "node2", r) // it delivers
	select {
	case err := <-stopped:
		t.Fatalf("the node had stopped by then: %v", err)
	default:
	}
	if got := len(hangs.Received()); got != before+1 {
		t.Errorf("%d attempts at the endpoint where one hangs", got-before)
	}
	close(release)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	got := hangs.Wait(before + 3)[before:]
	all[1].Await("everything is delivered", func() bool {
		return len(list[struct{ ID string }](all[1].API, "/deliveries?filter[status]=pending")) == 0
	})
	if n := len(hangs.Received()) - before; n != 3 {
		t.Errorf("%d webhooks arrived, want 3: each once", n)
	}
	for i, one := range got {
		want := "Tidings/node2"
		if i == 0 {
			want = "Tidings/node1"
		}
		if sender := one.Header.Get("User-Agent"); sender != want || one.Header.Get("Webhook-Attempt") != "1" {
			t.Errorf("webhook %d is attempt %s of %s, want the first of %s", i, one.Header.Get("Webhook-Attempt"), sender, want)
		}
	}
}

// of gives an endpoint for which a node delivers, the only one that is left:
// each webhook says who sent it. All is asked of another node.
func of(t *testing.T, a *apptest.App, node string, r *apptest.Receiver) string {
	t.Helper()
	for {
		id, before := a.Register(r.URL), len(r.Received())
		a.Call("POST", "/endpoints/"+id+"/test", apptest.Object{"eventType": offered}, http.StatusAccepted, nil)
		if r.Wait(before + 1)[before].Header.Get("User-Agent") == "Tidings/"+node {
			return id
		}
		a.Call("DELETE", "/endpoints/"+id, nil, http.StatusNoContent, nil)
	}
}

// What one node commits another hears of at once, be it a new event, a change of
// the endpoint, somebody who wants a retry now, or a reader of the feed.
func TestNodesHearOfOneAnother(t *testing.T) {
	url := pgtest.NewDatabase(t, pgtest.Start(t))
	named := 0
	all := nodes(t, url, 2, func(c *app.Config) {
		named++
		c.Version = fmt.Sprint("node", named)
		c.RetrySchedule = []time.Duration{time.Hour}
	})
	awaitShares(t, all)
	awaitWakes(t, all, "listen")
	var down atomic.Bool
	answer := func(w http.ResponseWriter, _ *http.Request, _ apptest.Received) {
		if down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	r, other := apptest.NewReceiver(t, all[0].CA, answer), apptest.NewReceiver(t, all[0].CA, answer)
	a := all[0]
	endpoint := of(t, a, "node2", r)

	const events = 40
	streamed := make(chan []string)
	began := a.Publish(offered, "before")
	go func() { streamed <- follow(t, all[1].API, began, events) }()
	var published []string
	var delays []time.Duration
	for i := range events {
		before := len(r.Received())
		published = append(published, a.Publish(offered, fmt.Sprint("issuance-", i)))
		accepted := time.Now()
		got := r.Until(func(got []apptest.Received) bool {
			return slices.ContainsFunc(got[before:], func(one apptest.Received) bool { return one.ID() == published[i] })
		})
		delays = append(delays, max(got[len(got)-1].At.Sub(accepted), 0))
	}
	if got := <-streamed; !slices.Equal(got, published) {
		t.Errorf("the second node's stream shows\n%v, want\n%v", got, published)
	}
	slices.Sort(delays)
	t.Logf("from the answer of one node to the arrival by another: half within %v, the slowest %v", delays[events/2], delays[events-1])
	if delays[events/2] > 500*time.Millisecond {
		t.Errorf("half of the events take more than %v: they are found by looking, not heard of", delays[events/2])
	}

	a.Call("PATCH", "/endpoints/"+endpoint, apptest.Object{"url": other.URL}, http.StatusOK, nil)
	a.Publish(offered, "moved")
	other.Wait(1)
	down.Store(true)
	a.Publish(offered, "again")
	other.Wait(2)
	down.Store(false)
	type delivery struct {
		ID           string
		AttemptCount int
	}
	var pending []delivery
	a.Await("the failure is on record", func() bool {
		pending = list[delivery](a.API, "/deliveries?filter[status]=pending")
		return len(pending) == 1 && pending[0].AttemptCount == 1
	})
	a.Call("POST", "/deliveries/"+pending[0].ID+"/retry", nil, http.StatusAccepted, nil)
	for _, one := range other.Wait(3) {
		if got := one.Header.Get("User-Agent"); got != "Tidings/node2" {
			t.Errorf("%s sends for an endpoint of the second node", got)
		}
	}
}

// Through PgBouncer in transaction mode nothing is heard: nodes say so, and look
// for themselves. With a direct address to listen at they hear.
func TestNodesThroughPgBouncer(t *testing.T) {
	direct := pgtest.Start(t)
	bouncer := pgtest.Bouncer(t, direct)
	for how, listen := range map[string]string{"poll": "", "listen": direct} {
		t.Run(how, func(t *testing.T) {
			url := pgtest.NewDatabase(t, bouncer)
			named := 0
			all := nodes(t, url, 2, func(c *app.Config) {
				named++
				c.Version = fmt.Sprint("node", named)
				if listen != "" {
					c.DatabaseListen = otherDatabase(t, listen, url)
				}
			})
			awaitShares(t, all)
			awaitWakes(t, all, how)
			r, other := apptest.NewReceiver(t, all[0].CA, nil), apptest.NewReceiver(t, all[0].CA, nil)
			endpoint := of(t, all[0], "node2", r)
			for i := range 3 {
				before := len(r.Received())
				all[0].Publish(offered, fmt.Sprint("issuance-", i))
				r.Wait(before + 1)
			}
			all[0].Call("PATCH", "/endpoints/"+endpoint, apptest.Object{"url": other.URL}, http.StatusOK, nil)
			moved := 0
			all[0].Await("the other node knows that the endpoint has moved", func() bool {
				moved++
				all[0].Publish(offered, fmt.Sprint("moved-", moved))
				return len(other.Received()) > 0
			})
		})
	}
}

// otherDatabase gives the URL of a server with the database that another names.
func otherDatabase(t *testing.T, server, named string) string {
	t.Helper()
	u, err := url.Parse(server)
	name, nameErr := url.Parse(named)
	if err := errors.Join(err, nameErr); err != nil {
		t.Fatal(err)
	}
	u.Path = name.Path
	return u.String()
}

// awaitWakes waits until each node says how it learns what the others do.
func awaitWakes(t *testing.T, all []*apptest.App, how string) {
	t.Helper()
	apptest.Await(t, "each node has its wakes by "+how, func() bool {
		return !slices.ContainsFunc(all, func(a *apptest.App) bool {
			var d struct{ Wakes string }
			a.ReadyDetail(&d)
			return d.Wakes != how
		})
	})
}

// awaitShares waits until each node holds its share.
func awaitShares(t *testing.T, all []*apptest.App) {
	t.Helper()
	var apis []*apptest.API
	for _, a := range all {
		apis = append(apis, a.API)
	}
	awaitSharesOf(t, apis)
}

func awaitSharesOf(t *testing.T, all []*apptest.API) {
	t.Helper()
	var seen []holds
	defer func() {
		if t.Failed() {
			t.Logf("the nodes hold %+v", seen)
		}
	}()
	apptest.Await(t, "each node holds its share of the shards", func() bool {
		seen = held(all)
		sum := 0
		for _, h := range seen {
			want := tidings.Shards / len(all)
			if sum += h.Shards; h.Nodes != len(all) || h.Shards < want*8/10 || h.Shards > want*12/10 {
				return false
			}
		}
		return sum == tidings.Shards
	})
}

// holds is what a node says of itself.
type holds struct{ Nodes, Shards int }

func held(all []*apptest.API) []holds {
	out := make([]holds, len(all))
	for i, a := range all {
		a.ReadyDetail(&out[i])
	}
	return out
}
