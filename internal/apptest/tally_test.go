package apptest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"tidings/internal/apptest"
)

const (
	offered   = "openid4vc.issuance.offered"
	completed = "openid4vc.issuance.completed"
	failed    = "openid4vc.issuance.failed"
	expired   = "openid4vc.issuance.expired"
)

func event(eventType, issuance string) apptest.Object {
	return apptest.Object{"eventType": eventType, "payload": apptest.Object{"openId4VcIssuanceId": issuance}}
}

// register registers an endpoint for some event types, all where none is named.
func register(a *apptest.API, url string, types ...string) string {
	body := apptest.Object{"url": url}
	if len(types) > 0 {
		body["filterTypes"] = types
	}
	var e struct{ ID string }
	a.Call("POST", "/endpoints", body, http.StatusCreated, &e)
	return e.ID
}

// tryPublish publishes events in one request and gives their ids, or the
// status and the answer if it is not 202.
func tryPublish(a *apptest.API, events ...apptest.Object) (ids []string, status int, answer []byte, err error) {
	status, answer, err = a.Request("POST", "/events", events)
	if err != nil || status != http.StatusAccepted {
		return nil, status, answer, err
	}
	var body struct{ Data []struct{ ID string } }
	if err := json.Unmarshal(answer, &body); err != nil {
		return nil, status, answer, err
	}
	for _, e := range body.Data {
		ids = append(ids, e.ID)
	}
	return ids, status, answer, nil
}

// publish publishes events in one request that has to succeed.
func publish(t testing.TB, a *apptest.API, events ...apptest.Object) []string {
	t.Helper()
	ids, status, answer, err := tryPublish(a, events...)
	if err != nil || len(ids) != len(events) {
		t.Fatalf("publishing %d events: status %d, %v: %s", len(events), status, err, answer)
	}
	return ids
}

// many makes n events of one type, each of an issuance of its own.
func many(n int, eventType, prefix string) []apptest.Object {
	out := make([]apptest.Object, n)
	for i := range out {
		out[i] = event(eventType, fmt.Sprint(prefix, "-", i))
	}
	return out
}

// tally counts what arrives, by endpoint (the path of the request) and event.
type tally struct {
	mu         sync.Mutex
	answered   map[string]map[string]int // 2xx, by path and event
	arrivedAt  map[string]time.Time      // the first of each event, at any endpoint
	arrivals   int
	duplicates int // arrivals of what had been answered with 2xx at that endpoint before
}

func newTally() *tally {
	return &tally{answered: map[string]map[string]int{}, arrivedAt: map[string]time.Time{}}
}

// take counts an arrival that is about to be answered with a status.
func (c *tally) take(path string, got apptest.Received, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arrivals++
	events := c.answered[path]
	if events == nil {
		events = map[string]int{}
		c.answered[path] = events
	}
	if events[got.ID()] > 0 {
		c.duplicates++
	}
	if status < 300 {
		events[got.ID()]++
	}
	if _, ok := c.arrivedAt[got.ID()]; !ok {
		c.arrivedAt[got.ID()] = got.At
	}
}

// answer is a receiver that takes everything.
func (c *tally) answer(w http.ResponseWriter, r *http.Request, got apptest.Received) {
	c.take(r.URL.Path, got, http.StatusNoContent)
	w.WriteHeader(http.StatusNoContent)
}

// missing tells how many of the events have not been answered with 2xx at an
// endpoint.
func (c *tally) missing(path string, ids []string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if c.answered[path][id] == 0 {
			n++
		}
	}
	return n
}

func (c *tally) counts() (arrivals, duplicates int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.arrivals, c.duplicates
}

// latencies gives how long events took from a time to their first arrival, in
// order of size.
func (c *tally) latencies(since map[string]time.Time) []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []time.Duration
	for id, at := range since {
		out = append(out, c.arrivedAt[id].Sub(at))
	}
	slices.Sort(out)
	return out
}

func p99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
