// Package inboxtest holds what every webhook.Inbox has to do, as tests.
package inboxtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/webhook"
)

// Open gives two handles on one empty inbox, such as two processes have.
type Open func(t *testing.T) (a, b webhook.Inbox)

// Run runs the suite; each test opens an inbox of its own.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, webhook.Inbox, webhook.Inbox){
		"round trip":         roundTrip,
		"duplicates":         duplicates,
		"parallel duplicate": parallelDuplicates,
		"next":               next,
		"expiry":             expiry,
		"lost claim":         lostClaim,
		"order":              order,
		"no order":           noOrder,
		"longest due first":  longestDueFirst,
		"failed":             failed,
		"given back":         givenBack,
		"pruning":            pruning,
		"parallel claims":    parallelClaims,
		"ended context":      endedContext,
		"two handlers":       twoHandlers,
		"restart":            restart,
		"crash":              crash,
		"poison":             poison,
		"killer":             killer,
	} {
		t.Run(name, func(t *testing.T) {
			a, b := open(t)
			test(t, a, b)
		})
	}
}

const lease = time.Minute

// start is a time of no meaning, of whole microseconds.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123_456_000, time.UTC)

func makeEvent(t *testing.T, id, issuance string, received time.Time) webhook.Event {
	t.Helper()
	payload := `{"n":1}`
	if issuance != "" {
		payload = fmt.Sprintf(`{"openId4VcIssuanceId":%q}`, issuance)
	}
	event, err := webhook.ParseEvent(id, []byte(`{"eventType":"openid4vc.issuance.completed", "payload":`+payload+`}`))
	if err != nil {
		t.Fatal(err)
	}
	event.Received = received
	event.Timestamp = received.Truncate(time.Second)
	return event
}

func put(t *testing.T, in webhook.Inbox, event webhook.Event, wantFresh bool) {
	t.Helper()
	fresh, err := in.Put(t.Context(), event)
	if err != nil || fresh != wantFresh {
		t.Fatalf("Put of %s: fresh %v, %v; want %v", event.ID, fresh, err, wantFresh)
	}
}

// claim claims an event, which is the one with this id ("" for none).
func claim(t *testing.T, in webhook.Inbox, now time.Time, wantID string) webhook.Claim {
	t.Helper()
	c, _, err := in.Claim(t.Context(), now, lease)
	if err != nil {
		t.Fatal(err)
	}
	if c == nil {
		c = &webhook.Claim{}
	}
	if c.Event.ID != wantID {
		t.Fatalf("claimed %q, want %q", c.Event.ID, wantID)
	}
	return *c
}

func settle(t *testing.T, in webhook.Inbox, c webhook.Claim, v webhook.Verdict, want error) {
	t.Helper()
	if err := in.Settle(t.Context(), c, v); !errors.Is(err, want) {
		t.Fatalf("Settle of %s: %v, want %v", c.Event.ID, err, want)
	}
}

func processed(at time.Time) webhook.Verdict {
	return webhook.Verdict{State: webhook.Processed, At: at, Attempts: 1}
}

func roundTrip(t *testing.T, a, b webhook.Inbox) {
	random := make([]byte, 20_000) // a database cannot make that shorter
	rand.Read(random)
	bodies := []string{
		`{"eventType":"x","payload":{"openId4VcIssuanceId":"i1"}, "more": [1, 2]}`,
		` {"eventType":"nul \u0000 and ä","payload":{"openId4VcIssuanceId":"nul \u0000"}}`,
		`{"eventType":"long","payload":{"openId4VcIssuanceId":"` + hex.EncodeToString(random) + `"}}`,
		"{\"eventType\":\"bytes \xff\",\"payload\":null}\n",
		`{"eventType":"none"}`,
	}
	for i, body := range bodies {
		event, err := webhook.ParseEvent(fmt.Sprintf("evt_%d", i), []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		event.Attempt, event.Test = 1<<40+i, i%2 == 0
		event.Received, event.Timestamp = start.Add(time.Duration(i)*time.Second), start.Truncate(time.Second)
		put(t, a, event, true)
		c := claim(t, b, start.Add(time.Minute), event.ID)
		if c.Attempt != 1 || c.Token == "" || !reflect.DeepEqual(c.Event, event) {
			t.Errorf("%.60q comes back as %+v", body, c)
		}
		settle(t, a, c, webhook.Verdict{State: webhook.Processed, At: start, Attempts: 1}, nil)
	}
	bad := makeEvent(t, "reason", "", start)
	put(t, a, bad, true)
	c := claim(t, a, start, "reason")
	settle(t, a, c, webhook.Verdict{State: webhook.Failed, Reason: "\x00\xff" + strings.Repeat("long ä", 10_000)}, nil)
}

func duplicates(t *testing.T, a, b webhook.Inbox) {
	event := makeEvent(t, "e1", "i1", start)
	put(t, a, event, true)
	put(t, a, event, false) // pending
	put(t, b, event, false)
	c := claim(t, b, start, "e1")
	put(t, a, event, false) // claimed
	claim(t, a, start, "")
	settle(t, b, c, processed(start), nil)
	put(t, b, event, false) // processed
	claim(t, a, start.Add(time.Hour), "")
}

func parallelDuplicates(t *testing.T, a, b webhook.Inbox) {
	event := makeEvent(t, "e1", "i1", start)
	var mu sync.Mutex
	fresh := 0
	inParallel(20, func(n int) {
		isFresh, err := []webhook.Inbox{a, b}[n%2].Put(t.Context(), event)
		if err != nil {
			t.Error(err)
		}
		if isFresh {
			mu.Lock()
			fresh++
			mu.Unlock()
		}
	})
	if fresh != 1 {
		t.Errorf("%d of 20 are fresh", fresh)
	}
	claim(t, a, start, "e1")
	claim(t, b, start, "")
}

func next(t *testing.T, a, b webhook.Inbox) {
	expect := func(now, want time.Time) {
		t.Helper()
		c, due, err := b.Claim(t.Context(), now, lease)
		if err != nil || c != nil || !due.Equal(want) {
			t.Fatalf("%v, %v, %v; want %v", c, due, err, want)
		}
	}
	expect(start, time.Time{})
	put(t, a, makeEvent(t, "e1", "i1", start), true)
	expect(start.Add(-time.Microsecond), start)
	c := claim(t, a, start, "e1")
	put(t, a, makeEvent(t, "e2", "i1", start), true) // waits for e1
	expect(start, start.Add(lease))
	settle(t, a, c, webhook.Verdict{State: webhook.Pending, At: start, Due: start.Add(7 * time.Second), Attempts: 1}, nil)
	expect(start.Add(6*time.Second), start.Add(7*time.Second))
	settle(t, b, claim(t, b, start.Add(7*time.Second), "e1"), processed(start), nil)
	settle(t, b, claim(t, b, start.Add(7*time.Second), "e2"), processed(start), nil)
	expect(start.Add(time.Hour), time.Time{})
}

// expiry: a processor that dies between Claim and Settle holds the event, and
// those behind it, until its claim ends and not longer.
func expiry(t *testing.T, a, b webhook.Inbox) {
	put(t, a, makeEvent(t, "e1", "i1", start), true)
	put(t, a, makeEvent(t, "e2", "i1", start), true)
	dead := claim(t, a, start, "e1")
	claim(t, b, start.Add(lease-time.Microsecond), "")
	c := claim(t, b, start.Add(lease), "e1")
	if c.Attempt != 2 || c.Token == dead.Token {
		t.Errorf("attempt %d, token %q after %q", c.Attempt, c.Token, dead.Token)
	}
	settle(t, b, c, processed(start), nil)
	claim(t, b, start.Add(lease), "e2")
}

func lostClaim(t *testing.T, a, b webhook.Inbox) {
	put(t, a, makeEvent(t, "e1", "", start), true)
	late := claim(t, a, start, "e1")
	c := claim(t, b, start.Add(lease), "e1")
	settle(t, a, late, processed(start), webhook.ErrClaimLost)
	claim(t, a, start.Add(lease), "") // the loser changed nothing
	settle(t, b, c, webhook.Verdict{State: webhook.Pending, Due: start.Add(2 * lease), Attempts: 2}, nil)
	settle(t, b, c, processed(start), webhook.ErrClaimLost)
	settle(t, a, late, processed(start), webhook.ErrClaimLost)
	settle(t, a, webhook.Claim{Event: c.Event}, processed(start), webhook.ErrClaimLost)
	c = claim(t, a, start.Add(2*lease), "e1")
	settle(t, a, c, processed(start), nil)
	settle(t, a, c, webhook.Verdict{State: webhook.Failed}, webhook.ErrClaimLost)
	unknown := c
	unknown.Event.ID = "e2"
	settle(t, a, unknown, processed(start), webhook.ErrClaimLost)
}

func order(t *testing.T, a, b webhook.Inbox) {
	for i, id := range []string{"a1", "a2", "b1", "a3", "b2"} {
		put(t, a, makeEvent(t, id, id[:1], start.Add(time.Duration(i)*time.Second)), true)
	}
	now := start.Add(10 * time.Second)
	a1 := claim(t, a, now, "a1")
	b1 := claim(t, b, now, "b1")
	claim(t, a, now, "")
	settle(t, a, a1, webhook.Verdict{State: webhook.Pending, Due: now.Add(time.Hour), Attempts: 1}, nil)
	claim(t, b, now.Add(time.Second), "") // a2 waits for a1, which waits for its time
	settle(t, b, b1, webhook.Verdict{State: webhook.Failed, Attempts: 1, Reason: "no"}, nil)
	settle(t, b, claim(t, a, now, "b2"), processed(now), nil) // what is parked holds nobody up
	later := now.Add(time.Hour)
	settle(t, b, claim(t, b, later, "a1"), processed(later), nil)
	a2 := claim(t, a, later, "a2")
	claim(t, b, later, "")
	settle(t, a, a2, processed(later), nil)
	claim(t, b, later, "a3")
}

func noOrder(t *testing.T, a, b webhook.Inbox) {
	put(t, a, makeEvent(t, "e1", "", start), true)
	put(t, a, makeEvent(t, "e2", "", start), true)
	claim(t, a, start, "e1")
	claim(t, b, start, "e2")
}

func longestDueFirst(t *testing.T, a, b webhook.Inbox) {
	put(t, a, makeEvent(t, "e1", "i1", start), true)
	c := claim(t, a, start, "e1")
	settle(t, a, c, webhook.Verdict{State: webhook.Pending, Due: start.Add(2 * time.Second), Attempts: 1}, nil)
	put(t, a, makeEvent(t, "e2", "i2", start.Add(3*time.Second)), true)
	put(t, a, makeEvent(t, "e3", "i3", start.Add(time.Second)), true)
	for _, id := range []string{"e3", "e1", "e2"} { // a stream of new events starves no old one
		claim(t, b, start.Add(5*time.Second), id)
	}
}

func failed(t *testing.T, a, b webhook.Inbox) {
	event := makeEvent(t, "e1", "i1", start)
	put(t, a, event, true)
	settle(t, a, claim(t, a, start, "e1"), webhook.Verdict{State: webhook.Failed, At: start, Attempts: 1, Reason: "no"}, nil)
	claim(t, b, start.Add(1000*time.Hour), "")
	put(t, b, event, false)
}

// givenBack: an attempt that was cut short does not count.
func givenBack(t *testing.T, a, b webhook.Inbox) {
	put(t, a, makeEvent(t, "e1", "i1", start), true)
	for range 3 {
		c := claim(t, a, start, "e1")
		if c.Attempt != 1 {
			t.Errorf("attempt %d", c.Attempt)
		}
		settle(t, a, c, webhook.Verdict{State: webhook.Pending, Due: start, Attempts: 0}, nil)
	}
	settle(t, a, claim(t, b, start, "e1"), webhook.Verdict{State: webhook.Pending, Due: start, Attempts: 1}, nil)
	if c := claim(t, b, start, "e1"); c.Attempt != 2 {
		t.Errorf("attempt %d", c.Attempt)
	}
}

// pruning: processed ids are kept for the retention time, others for ever.
func pruning(t *testing.T, a, b webhook.Inbox) {
	old, parked, waiting := makeEvent(t, "old", "", start), makeEvent(t, "parked", "", start), makeEvent(t, "waiting", "", start)
	put(t, a, old, true)
	put(t, a, parked, true)
	put(t, a, waiting, true)
	far := start.Add(10 * webhook.DefaultRetention)
	settle(t, a, claim(t, a, start, "old"), processed(start), nil)
	settle(t, a, claim(t, a, start, "parked"), webhook.Verdict{State: webhook.Failed, At: start, Attempts: 1}, nil)
	settle(t, a, claim(t, a, start, "waiting"), webhook.Verdict{State: webhook.Pending, At: start, Due: far, Attempts: 1}, nil)
	claim(t, b, start.Add(webhook.DefaultRetention), "")
	put(t, b, old, false)
	claim(t, b, start.Add(webhook.DefaultRetention+2*time.Minute), "")
	put(t, b, parked, false)
	put(t, b, waiting, false)
	put(t, b, old, true)
}

// parallelClaims: many processors on one inbox; each event goes to one of
// them, and each issuance to one at a time, in order.
func parallelClaims(t *testing.T, a, b webhook.Inbox) {
	const issuances, each, processors = 7, 6, 8
	for n := range each {
		for i := range issuances {
			received := start.Add(time.Duration(n*issuances+i) * time.Microsecond)
			put(t, a, makeEvent(t, fmt.Sprintf("%d_%d", i, n), fmt.Sprint(i), received), true)
		}
	}
	log := newLog()
	inParallel(processors, func(n int) {
		in := []webhook.Inbox{a, b}[n%2]
		for !log.complete(issuances * each) {
			c, _, err := in.Claim(t.Context(), start.Add(time.Minute), lease)
			if err != nil {
				t.Error(err)
				return
			}
			if c == nil {
				continue
			}
			log.begin(t, c.Event)
			log.end(c.Event)
			if err := in.Settle(t.Context(), *c, processed(start)); err != nil {
				t.Error(err)
			}
		}
	})
	log.check(t, issuances, each)
}

func endedContext(t *testing.T, a, b webhook.Inbox) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	event := makeEvent(t, "e1", "", start)
	if _, err := a.Put(ended, event); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v", err)
	}
	put(t, b, event, true)
	if c, _, err := a.Claim(ended, start, lease); c != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("Claim: %v, %v", c, err)
	}
	c := claim(t, b, start, "e1")
	if err := a.Settle(ended, c, processed(start)); !errors.Is(err, context.Canceled) {
		t.Errorf("Settle: %v", err)
	}
	settle(t, b, c, processed(start), nil)
}

// inParallel calls f with 0, 1, … n-1 at the same time.
func inParallel(n int, f func(n int)) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-begin
			f(i)
		})
	}
	close(begin)
	all.Wait()
}
