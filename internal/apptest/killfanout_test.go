package apptest_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"tidings"
	"tidings/internal/apptest"
	"tidings/internal/store"
)

// told is what a receiver wants of order: of each issuance, offered arrives first.
type told struct {
	mu      sync.Mutex
	offered map[string]bool // path and issuance
	early   int             // events that came before it
}

func (o *told) take(path string, body []byte) {
	_, rest, _ := strings.Cut(string(body), `"openId4VcIssuanceId":"`)
	issuance, _, _ := strings.Cut(rest, `"`)
	o.mu.Lock()
	defer o.mu.Unlock()
	if strings.Contains(string(body), offered) {
		o.offered[path+" "+issuance] = true
	} else if !o.offered[path+" "+issuance] {
		o.early++
	}
}

// unmade tells how many deliveries of accepted events a server that has died has
// not made.
func unmade(t *testing.T, p *apptest.Process) int {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: p.Dir, Database: apptest.Database(t, p.Dir), Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all, err := s.Backlog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	org, err := s.OrganisationBySlug(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	endpoints, err := s.Endpoints(t.Context(), org.Key, tidings.Page{Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	left := int(all.Count)
	for _, e := range endpoints.Items {
		left -= e.Backlog.Count
	}
	return left
}

// A kill while the deliveries of accepted events are being made loses none, repeats
// no more than any kill does, and keeps their order.
func TestKillAmidALargeFanOut(t *testing.T) {
	const endpoints, issuances = 80, 60
	p := apptest.Serve(t, apptest.Setup{Flags: []string{oftenRetried, "--log-level=warn"}})
	tally, order := newTally(), told{offered: map[string]bool{}}
	receiver := apptest.NewReceiver(t, p.CA, func(w http.ResponseWriter, r *http.Request, got apptest.Received) {
		order.take(r.URL.Path, got.Body)
		tally.answer(w, r, got)
	})
	base := strings.TrimSuffix(receiver.URL, "/webhooks")
	for n := range endpoints {
		p.Register(fmt.Sprintf("%s/webhooks/%d", base, n))
	}
	var accepted []string
	amid := 0
	for round := range 2 {
		var events []apptest.Object
		for n := range issuances {
			id := fmt.Sprintf("round-%d-%d", round, n)
			events = append(events, event(offered, id), event(completed, id))
		}
		accepted = append(accepted, publish(t, p.API, events...)...)
		p.Kill()
		if unmade(t, p) > 0 {
			amid++
		}
		p.Check()
		p.Start()
	}
	if amid == 0 {
		t.Error("both kills came when all deliveries were made")
	}
	for n := range endpoints {
		path := fmt.Sprint("/webhooks/", n)
		p.Await("every accepted event has arrived at "+path, func() bool { return tally.missing(path, accepted) == 0 })
	}
	arrivals, duplicates := tally.counts()
	t.Logf("%d events accepted, %d arrivals, %d of them repeated; %d kills came amid", len(accepted), arrivals, duplicates, amid)
	if duplicates > 2*repeatedByKill {
		t.Errorf("%d repeated, more than %d per kill", duplicates, repeatedByKill)
	}
	order.mu.Lock()
	if order.early > 0 {
		t.Errorf("%d events came before the first of their issuance", order.early)
	}
	order.mu.Unlock()
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	p.Check()
}
