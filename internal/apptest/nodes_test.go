package apptest_test

import (
	"fmt"
	"net/http"
	"testing"

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
	publish(all[1])
	if got := len(r.Received()); got != published*endpoints {
		t.Errorf("%d webhooks arrived, want %d: each once", got, published*endpoints)
	}
	all[1].Await("all deliveries ended well", func() bool {
		return len(list[struct{ ID string }](all[1].API, "/deliveries?filter[status]=delivered")) == published*endpoints
	})
}

// awaitShares waits until each node holds its share.
func awaitShares(t *testing.T, all []*apptest.App) {
	t.Helper()
	apptest.Await(t, "each node holds its share of the shards", func() bool {
		for _, a := range all {
			if a.ReadyStatus() != http.StatusOK {
				return false
			}
			var d struct{ Nodes, Shards int }
			a.ReadyDetail(&d)
			if want := 1024 / len(all); d.Nodes != len(all) || d.Shards < want*8/10 || d.Shards > want*12/10 {
				return false
			}
		}
		return true
	})
}
