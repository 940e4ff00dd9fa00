package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"tidings/webhook"
)

// localReceiver is a receiver in development: plain HTTP on loopback.
type localReceiver struct {
	url     string
	mu      sync.Mutex
	answers []int // of the next requests; then 204
	came    []localWebhook
}

type localWebhook struct {
	header http.Header
	body   []byte
	answer int
}

func newLocalReceiver(t testing.TB) *localReceiver {
	l := &localReceiver{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		got := localWebhook{r.Header.Clone(), body, http.StatusNoContent}
		if len(l.answers) > 0 {
			got.answer, l.answers = l.answers[0], l.answers[1:]
		}
		l.came = append(l.came, got)
		w.WriteHeader(got.answer)
	}))
	t.Cleanup(s.Close)
	l.url = s.URL + "/webhooks"
	return l
}

// taken counts the events that were answered with 2xx, duplicates once.
func (l *localReceiver) taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := map[string]bool{}
	for _, c := range l.came {
		if c.answer/100 == 2 {
			ids[c.header.Get(webhook.HeaderID)] = true
		}
	}
	return len(ids)
}

// report lists what came since the last report, each verified with the secret
// in the state file.
func (l *localReceiver) report(state string, ts *testscript.TestScript) string {
	var s listenState
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(state)), &s))
	secret, err := webhook.ParseSecret(s.Secret)
	ts.Check(err)
	v := webhook.Verifier{Secrets: []webhook.Secret{secret}}
	l.mu.Lock()
	defer l.mu.Unlock()
	var out bytes.Buffer
	var seen []string
	for _, c := range l.came {
		ts.Check(v.Verify(c.header, c.body))
		e, err := webhook.ParseEvent(c.header.Get(webhook.HeaderID), c.body)
		ts.Check(err)
		again := ""
		if slices.Contains(seen, e.ID) && c.header.Get(webhook.HeaderAttempt) == "1" {
			again = " duplicate"
		}
		seen = append(seen, e.ID)
		fmt.Fprintf(&out, "%s %s attempt %s, answered %d%s\n", e.Type, e.IssuanceID, c.header.Get(webhook.HeaderAttempt), c.answer, again)
	}
	l.came = nil
	return out.String()
}

// refuse sets the answers of the next requests.
func (l *localReceiver) refuse(answers ...int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers = append(l.answers, answers...)
}

// order gives the issuances of the events that were taken, in the order of
// their first arrival, and how many were taken again.
func (l *localReceiver) order(t *testing.T) (issuances []string, again int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := map[string]bool{}
	for _, c := range l.came {
		e, err := webhook.ParseEvent(c.header.Get(webhook.HeaderID), c.body)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case c.answer/100 != 2:
		case seen[e.ID]:
			again++
		default:
			seen[e.ID] = true
			issuances = append(issuances, e.IssuanceID)
		}
	}
	return issuances, again
}

// tookOnce fails the test unless the events of these issuances were taken in
// this order, and no other and none twice.
func (l *localReceiver) tookOnce(t *testing.T, want []string) {
	t.Helper()
	if got, again := l.order(t); !slices.Equal(got, want) || again > 0 {
		t.Errorf("%q were taken, and %d again; want %q", got, again, want)
	}
}
