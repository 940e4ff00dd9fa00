package foreign

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
)

// The mission's program is of use as a judge only while nobody edits it.
func TestTheMissionsProgramStandsAsItWas(t *testing.T) {
	text, err := os.ReadFile("mission/express.js")
	if err != nil {
		t.Fatal(err)
	}
	const want = "7ec00d28a393ee20a8193028c70a87be7dc6cab269515137ad8027c596ce659b"
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != want {
		t.Errorf("mission/express.js has the SHA-256 %x: it is no longer the document's implementation example", sum)
	}
}

// missionReceiver is the mission's program, which runs.
type missionReceiver struct {
	*program
	url string
}

func startMission(w *world) missionReceiver {
	w.t.Helper()
	p := start(w.t, w.files.CA, "receiver.mjs", w.files.Cert, w.files.Key)
	url, ok := strings.CutPrefix(p.line(0), "listening on ")
	if !ok {
		w.t.Fatalf("the program said %q first", p.line(0))
	}
	return missionReceiver{p, url}
}

// registerAsDocumented registers an endpoint with the body of the document's
// curl command, and holds the answer against the document's.
func (w *world) registerAsDocumented(url string) string {
	w.t.Helper()
	var answer map[string]string
	w.Call("POST", "/endpoints", "{\n    \"url\": \""+url+"\"\n  }", http.StatusCreated, &answer)
	if got := slices.Sorted(maps.Keys(answer)); !slices.Equal(got, []string{"createdAt", "id", "updatedAt", "url"}) || answer["url"] != url {
		w.t.Errorf("the answer's data are %v", answer)
	}
	for _, name := range []string{"createdAt", "updatedAt"} {
		if _, err := time.Parse("2006-01-02T15:04:05.000Z", answer[name]); err != nil {
			w.t.Error(err)
		}
	}
	return answer["id"]
}

// event is one that the program has to be told of.
type event struct{ id, eventType, issuance string }

// publish publishes n events of issuances of another issuer.
func (w *world) publish(n int) []event {
	w.t.Helper()
	types := []string{"offered", "completed", "failed", "expired"}
	var all []event
	for k := range n {
		e := event{eventType: "openid4vc.issuance." + types[k%len(types)], issuance: fmt.Sprintf("elsewhere-%d", k/len(types))}
		e.id = w.Publish(e.eventType, e.issuance)
		all = append(all, e)
	}
	return all
}

// issueAndClaim has the foreign wallet accept a credential.
func (w *world) issueAndClaim() []event {
	w.t.Helper()
	i := w.issue(nil)
	wallet := w.wallet()
	wallet.claim(i.OfferURI)
	wallet.do("notify", object{"event": "credential_accepted"}, nil)
	var all []event
	var list []struct{ ID, EventType string }
	w.Call("GET", "/events?filter[issuanceId]="+i.ID, nil, http.StatusOK, &list)
	for _, e := range list {
		all = append(all, event{e.ID, e.EventType, i.ID})
	}
	if len(all) != 2 {
		w.t.Fatalf("the issuance has the events %v, want offered and completed", list)
	}
	return all
}

// processed checks what the program printed, after it has ended: each event
// once, in the order of its issuance, and each further copy skipped.
func (m missionReceiver) processed(events []event, spoilt map[string]int) {
	m.t.Helper()
	want, skips := 0, 0
	for _, e := range events {
		want++
		skips += spoilt[e.eventType]
		if e.eventType == "openid4vc.issuance.completed" {
			want++
		}
	}
	m.until(func(lines []string) bool { return len(lines) >= 1+want+skips })
	if err := m.stop(); err != nil {
		m.t.Error(err)
	}
	lines := m.lines[1:]
	count := func(line string) (n int) {
		for _, l := range lines {
			if l == line {
				n++
			}
		}
		return n
	}
	at := map[string]int{} // where the last event of an issuance was processed
	for _, e := range events {
		line := "Processing webhook " + e.id + ": " + e.eventType
		if n := count(line); n != 1 {
			m.t.Errorf("%q was printed %d times", line, n)
		}
		if n, want := count("Webhook "+e.id+" already processed, skipping"), spoilt[e.eventType]; n != want {
			m.t.Errorf("%d copies of a webhook of %s were skipped, want %d", n, e.eventType, want)
		}
		if e.eventType == "openid4vc.issuance.completed" && count("Credential issued: "+e.issuance) != 1 {
			m.t.Errorf("the credential of %s was not issued once", e.issuance)
		}
		place := slices.Index(lines, line)
		if place < at[e.issuance] {
			m.t.Errorf("%q came out of order", line)
		}
		at[e.issuance] = place
	}
	if len(lines) != want+skips {
		m.t.Errorf("the program printed %d lines, want %d", len(lines), want+skips)
	}
}

func TestTheMissionsProgramReceives(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(never))
	m := startMission(w)
	endpoint := w.registerAsDocumented(m.url)
	events := append(w.issueAndClaim(), w.publish(12)...)
	m.processed(events, nil)
	w.delivered(endpoint, events, nil)
}

func TestTheMissionsProgramDropsDuplicates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grace(never), func(c *app.Config) {
		c.RetrySchedule = slices.Repeat([]time.Duration{100 * time.Millisecond}, 5)
	})
	m := startMission(w)
	f := &front{program: m.url, client: w.HTTP, t: t, attempts: map[string]int{}}
	endpoint := w.registerAsDocumented(apptest.NewReceiver(t, w.CA, f.answer).URL)
	events := append(w.issueAndClaim(), w.publish(12)...)
	m.processed(events, mishaps)
	w.delivered(endpoint, events, mishaps)
}

// mishaps says, for each event type, at how many attempts the front spoils the
// answer of the program.
var mishaps = map[string]int{
	"openid4vc.issuance.completed": 1,
	"openid4vc.issuance.failed":    1,
	"openid4vc.issuance.expired":   2,
}

// front stands before a program and spoils some of its answers: the program has
// the event, but its sender cannot know.
type front struct {
	program string
	client  *http.Client
	t       testing.TB

	mu       sync.Mutex
	attempts map[string]int // by webhook-id
}

func (f *front) answer(w http.ResponseWriter, r *http.Request, got apptest.Received) {
	request, err := http.NewRequestWithContext(r.Context(), r.Method, f.program, bytes.NewReader(got.Body))
	if err != nil {
		f.t.Error(err)
		return
	}
	request.Header = got.Header
	answer, err := f.client.Do(request)
	if err != nil {
		f.t.Errorf("the program did not answer: %v", err)
		return
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || string(text) != "OK" {
		f.t.Errorf("the program answered %d %s, %v", answer.StatusCode, text, err)
	}

	f.mu.Lock()
	f.attempts[got.ID()]++
	n := f.attempts[got.ID()]
	f.mu.Unlock()
	for eventType, spoilt := range mishaps {
		if n > spoilt || !bytes.Contains(got.Body, []byte(eventType)) {
			continue
		}
		if n == 2 || eventType == "openid4vc.issuance.failed" {
			panic(http.ErrAbortHandler) // drops the connection
		}
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Write(text)
}

// delivered checks that each event has been delivered to an endpoint, after
// one attempt more than was spoilt.
func (w *world) delivered(endpoint string, events []event, spoilt map[string]int) {
	w.t.Helper()
	for _, e := range events {
		var list []struct {
			ID, Status   string
			AttemptCount int
		}
		// The program has the event a moment before the server knows that it does.
		for end := time.Now().Add(programLife); len(list) == 0 || list[0].Status == "pending" && time.Now().Before(end); runtime.Gosched() {
			w.Call("GET", "/deliveries?filter[endpointId]="+endpoint+"&filter[eventId]="+e.id, nil, http.StatusOK, &list)
			if len(list) != 1 {
				w.t.Fatalf("%d deliveries of the event %s", len(list), e.id)
			}
		}
		if d, want := list[0], 1+spoilt[e.eventType]; d.Status != "delivered" || d.AttemptCount != want {
			w.t.Errorf("the delivery of %s is %s after %d attempts, want delivered after %d", e.eventType, d.Status, d.AttemptCount, want)
		}
	}
}
