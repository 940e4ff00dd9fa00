package inboxtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/webhook"
)

// patience is how long a test waits for what happens at once.
const patience = 30 * time.Second

var secret = webhook.NewSecret()

// newHandler makes a Handler whose Process is process.
func newHandler(in webhook.Inbox, process func(context.Context, webhook.Event) error) *webhook.Handler {
	return &webhook.Handler{
		Verifier: &webhook.Verifier{Secrets: []webhook.Secret{secret}},
		Inbox:    in, Process: process, Log: slog.New(slog.DiscardHandler),
	}
}

// deliver sends an event as the sender does and gives the status.
func deliver(t *testing.T, h http.Handler, id, issuance string) int {
	t.Helper()
	body := fmt.Sprintf(`{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":%q}}`, issuance)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := signer.SetHeaders(r.Header, id, time.Now(), []byte(body)); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

// runUntil runs the handlers until done is closed.
func runUntil(t *testing.T, done <-chan struct{}, handlers ...*webhook.Handler) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var running sync.WaitGroup
	for _, h := range handlers {
		running.Go(func() {
			if err := h.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	select {
	case <-done:
	case <-ctx.Done():
		t.Errorf("not done within %s", patience)
	}
	cancel()
	running.Wait()
}

// eventLog records who works on what.
type eventLog struct {
	mu      sync.Mutex
	order   map[string][]string // ids by issuance
	busy    map[string]bool     // issuances
	handled int
	done    chan struct{} // closed by handle
}

func newLog() *eventLog {
	return &eventLog{order: map[string][]string{}, busy: map[string]bool{}, done: make(chan struct{})}
}

func (l *eventLog) begin(t *testing.T, event webhook.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy[event.IssuanceID] {
		t.Errorf("%s starts while another event of its issuance is processed", event.ID)
	}
	l.busy[event.IssuanceID] = true
	l.order[event.IssuanceID] = append(l.order[event.IssuanceID], event.ID)
}

func (l *eventLog) end(event webhook.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy[event.IssuanceID] = false
	l.handled++
}

func (l *eventLog) complete(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.handled >= n
}

// handle gives a Process that records, and closes done after n events.
func (l *eventLog) handle(t *testing.T, n int) func(context.Context, webhook.Event) error {
	return func(_ context.Context, event webhook.Event) error {
		l.begin(t, event)
		l.end(event)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.handled == n {
			close(l.done)
		}
		return nil
	}
}

// check compares with events "<issuance>_<n>", each once and in order.
func (l *eventLog) check(t *testing.T, issuances, each int) {
	t.Helper()
	for i := range issuances {
		var want []string
		for n := range each {
			want = append(want, fmt.Sprintf("%d_%d", i, n))
		}
		if got := l.order[fmt.Sprint(i)]; strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("issuance %d: %v", i, got)
		}
	}
}

// twoHandlers: two processes receive and process through one inbox, every
// event comes twenty times at once, and is processed once and in order.
func twoHandlers(t *testing.T, a, b webhook.Inbox) {
	const issuances, each, copies = 4, 3, 20
	log := newLog()
	process := log.handle(t, issuances*each)
	first, second := newHandler(a, process), newHandler(b, process)
	var sending sync.WaitGroup
	for i := range issuances {
		sending.Go(func() {
			for n := range each { // the sender waits for an answer before the next event
				inParallel(copies, func(k int) {
					h := []*webhook.Handler{first, second}[k%2]
					if code := deliver(t, h, fmt.Sprintf("%d_%d", i, n), fmt.Sprint(i)); code != http.StatusNoContent {
						t.Errorf("status %d", code)
					}
				})
			}
		})
	}
	runUntil(t, log.done, first, second)
	sending.Wait()
	log.check(t, issuances, each)
	if c, _, err := a.Claim(t.Context(), time.Now().Add(time.Hour), lease); c != nil || err != nil {
		t.Errorf("left over: %v, %v", c, err)
	}
}

// restart: what one process received and acknowledged the next one processes.
func restart(t *testing.T, a, b webhook.Inbox) {
	before := newHandler(a, nil)
	for n := range 5 {
		if code := deliver(t, before, fmt.Sprintf("0_%d", n), "0"); code != http.StatusNoContent {
			t.Errorf("status %d", code)
		}
	}
	log := newLog()
	runUntil(t, log.done, newHandler(b, log.handle(t, 5)))
	log.check(t, 1, 5)
}

// crash: a process died at its work; when its claim has ended, another one
// takes the event up, and the rest of the issuance after it.
func crash(t *testing.T, a, b webhook.Inbox) {
	long := time.Now().Add(-time.Hour)
	put(t, a, makeEvent(t, "0_0", "0", long), true)
	put(t, a, makeEvent(t, "0_1", "0", long), true)
	dead := claim(t, a, long, "0_0")
	log := newLog()
	runUntil(t, log.done, newHandler(b, log.handle(t, 2)))
	log.check(t, 1, 2)
	settle(t, a, dead, processed(long), webhook.ErrClaimLost)
}

// poison: an event that cannot be processed is parked and told once, and the
// others are processed.
func poison(t *testing.T, a, b webhook.Inbox) {
	log := newLog()
	good := log.handle(t, 4)
	told := make(chan string, 10)
	process := func(ctx context.Context, event webhook.Event) error {
		if event.ID == "poison" {
			return fmt.Errorf("no such template: %w", webhook.ErrPermanent)
		}
		return good(ctx, event)
	}
	h := newHandler(a, process)
	h.Failed = func(_ context.Context, event webhook.Event, err error) {
		if !errors.Is(err, webhook.ErrPermanent) {
			t.Errorf("told of %v", err)
		}
		told <- event.ID
	}
	deliver(t, h, "poison", "0")
	for i := range 2 {
		for n := range 2 {
			deliver(t, h, fmt.Sprintf("%d_%d", i, n), fmt.Sprint(i))
		}
	}
	runUntil(t, log.done, h)
	log.check(t, 2, 2)
	if len(told) != 1 || <-told != "poison" {
		t.Error("the failure was not told, or more than once")
	}
	if code := deliver(t, newHandler(b, nil), "poison", "0"); code != http.StatusNoContent {
		t.Errorf("status %d", code)
	}
	claim(t, b, time.Now().Add(time.Hour), "")
}

// killer: an event in whose processing the process dies, each time, is parked
// without being processed once more.
func killer(t *testing.T, a, b webhook.Inbox) {
	long := time.Now().Add(-time.Hour)
	put(t, a, makeEvent(t, "killer", "0", long), true)
	for n := range 3 {
		claim(t, a, long.Add(time.Duration(n)*lease), "killer")
	}
	told := make(chan struct{})
	h := newHandler(b, func(context.Context, webhook.Event) error {
		t.Error("processed once more")
		return nil
	})
	h.MaxAttempts = 3
	h.Failed = func(context.Context, webhook.Event, error) { close(told) }
	runUntil(t, told, h)
	claim(t, a, time.Now().Add(time.Hour), "")
}
