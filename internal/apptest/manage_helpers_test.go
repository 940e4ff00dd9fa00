package apptest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidings"
	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/auth"
	"tidings/internal/store"
	"tidings/webhook"
)

// shifted is a clock that runs and that a test can put forward.
type shifted struct{ by atomic.Int64 }

func (s *shifted) Now() time.Time          { return time.Now().Add(time.Duration(s.by.Load())) }
func (s *shifted) Advance(d time.Duration) { s.by.Add(int64(d)) }
func (s *shifted) option(c *app.Config)    { c.Now = s.Now }

// managed is a server whose store must be in order at the end of the test.
func managed(t *testing.T, options ...apptest.Option) *apptest.App {
	t.Helper()
	a := apptest.New(t, options...)
	t.Cleanup(func() { inOrder(t, a.Dir, nil) })
	return a
}

// managedAt is a server with a clock that the test moves.
func managedAt(t *testing.T, options ...apptest.Option) (*apptest.App, *shifted) {
	t.Helper()
	clock := &shifted{}
	a := apptest.New(t, append(options, clock.option)...)
	t.Cleanup(func() { inOrder(t, a.Dir, clock.Now) })
	return a, clock
}

// beside works with the store of a server as a command beside it does.
func beside(t *testing.T, dir string, now func() time.Time, do func(*store.Store)) {
	t.Helper()
	s, err := store.Open(context.Background(), store.Options{Dir: dir, Database: apptest.Database(t, dir), Shared: true, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	do(s)
}

// inOrder proves the store's invariants.
func inOrder(t *testing.T, dir string, now func() time.Time) {
	t.Helper()
	beside(t, dir, now, func(s *store.Store) {
		if breaches, err := s.Check(context.Background(), 10); err != nil || len(breaches) > 0 {
			t.Errorf("the store's invariants: %v %q", err, breaches)
		}
	})
}

// stranger gives the same server as a client of another organisation sees it.
func stranger(t *testing.T, a *apptest.App, organisation string) *apptest.API {
	t.Helper()
	const secret = "stranger-secret-0123456789"
	id := "client-of-" + organisation
	beside(t, a.Dir, nil, func(s *store.Store) {
		c := tidings.Client{ID: id, Scopes: tidings.AllScopes, SecretHash: auth.HashClientSecret(secret)}
		if _, err := s.CreateClient(context.Background(), organisation, c); err != nil {
			t.Fatal(err)
		}
	})
	return a.As(id, secret)
}

// reply is an answer of the API.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// data reads the answer's data.
func (r reply) data(t *testing.T, into any) {
	t.Helper()
	if err := unmarshalData(r.body, into); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
}

// problem gives what the answer points to, and its sentence.
func (r reply) problem() (pointer, detail string) {
	var p struct {
		Errors []struct {
			Detail string
			Source struct{ Pointer string }
		}
	}
	if json.Unmarshal(r.body, &p) != nil || len(p.Errors) == 0 {
		return "", ""
	}
	return p.Errors[0].Source.Pointer, p.Errors[0].Detail
}

// ask makes a request with further headers, which stand in pairs.
func ask(t *testing.T, a *apptest.API, method, path string, body any, headers ...string) reply {
	t.Helper()
	text, ok := body.(string)
	if !ok && body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		text = string(raw)
	}
	request, err := http.NewRequest(method, a.URL+"/me-creds/api"+path, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+a.Token())
	if text != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	answer, err := a.HTTP.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{answer.StatusCode, answer.Header, raw}
}

// want fails the test unless the answer has a status.
func (r reply) want(t *testing.T, status int) reply {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	return r
}

// managedEndpoint is an endpoint as the API shows it.
type managedEndpoint struct {
	ID, URL, Description, Status, DisabledReason string
	DisabledAt, FirstFailureAt, DisablesAt       string
	FilterTypes, Signatures                      []string
	Headers                                      map[string]string
	RateLimit                                    float64
	MaxInFlight                                  int
	RetrySchedule                                []int
	Backlog                                      struct {
		Count    int
		OldestAt string
	}
}

func endpointOf(t *testing.T, a *apptest.API, id string) (e managedEndpoint) {
	t.Helper()
	a.Call("GET", "/endpoints/"+id, nil, http.StatusOK, &e)
	return e
}

func change(t *testing.T, a *apptest.API, id string, patch apptest.Object) (e managedEndpoint) {
	t.Helper()
	a.Call("PATCH", "/endpoints/"+id, patch, http.StatusOK, &e)
	return e
}

// managedDelivery is a delivery as the API shows it.
type managedDelivery struct {
	ID, EventID, EndpointID, EventType, Status, Reason, RetryOf string
	AttemptCount                                                int
	NextAttemptAt                                               string
	Attempts                                                    []struct{ Number, StatusCode int }
}

func deliveryOf(t *testing.T, a *apptest.API, id string) (d managedDelivery) {
	t.Helper()
	a.Call("GET", "/deliveries/"+id, nil, http.StatusOK, &d)
	return d
}

// awaitDelivery waits until a delivery has a status.
func awaitDelivery(t *testing.T, a *apptest.API, id, status string) (d managedDelivery) {
	t.Helper()
	a.Await("the delivery is "+status, func() bool {
		d = deliveryOf(t, a, id)
		return d.Status == status
	})
	return d
}

func awaitBacklog(t *testing.T, a *apptest.API, endpoint string, n int) {
	t.Helper()
	a.Await("the backlog is as expected", func() bool { return endpointOf(t, a, endpoint).Backlog.Count == n })
}

// verified tells whether a webhook verifies with a secret at the server's time.
func verified(t *testing.T, secret string, got apptest.Received, now func() time.Time) error {
	t.Helper()
	s, err := webhook.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	v := webhook.Verifier{Secrets: []webhook.Secret{s}, Now: now}
	return v.Verify(got.Header, got.Body)
}

func idsOf(got []apptest.Received) (ids []string) {
	for _, r := range got {
		ids = append(ids, r.ID())
	}
	return ids
}

// secretFree fails the test if a text holds what nobody may read.
func secretFree(t *testing.T, what string, text []byte, secrets ...string) {
	t.Helper()
	for _, s := range append(secrets, "whsec_") {
		if bytes.Contains(text, []byte(s)) {
			t.Errorf("%s holds %q: %s", what, s, text)
		}
	}
}
