package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tidings"
	"tidings/client"
)

// far is a server that answers as a test says; it is in the test's own bubble
// of time.
type far struct {
	mu     sync.Mutex
	tokens int           // that were asked for
	life   int           // of a token, in seconds
	delay  time.Duration // of a token
	calls  []*http.Request
	at     []time.Time
	answer func(n int, r *http.Request) *http.Response // the n-th call, from 1
	token  func(n int) *http.Response                  // nil: a good one
}

func (f *far) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/token") {
		return f.giveToken()
	}
	f.mu.Lock()
	f.calls, f.at = append(f.calls, r), append(f.at, time.Now())
	n := len(f.calls)
	f.mu.Unlock()
	if answer := f.answer(n, r); answer != nil {
		return answer, nil
	}
	return nil, errors.New("connection reset")
}

func (f *far) giveToken() (*http.Response, error) {
	f.mu.Lock()
	f.tokens++
	n := f.tokens
	f.mu.Unlock()
	time.Sleep(f.delay) // of the bubble
	if f.token != nil {
		if answer := f.token(n); answer != nil {
			return answer, nil
		}
	}
	return reply(200, fmt.Sprintf(`{"access_token":"token-%d","expires_in":%d}`, n, max(f.life, 1))), nil
}

func reply(status int, body string, headers ...string) *http.Response {
	r := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

const anEvent = `{"data":{"id":"e1","eventType":"openid4vc.issuance.failed","payload":{"openId4VcIssuanceId":"a"},"createdAt":"2026-01-01T00:00:00.000Z"}}`

func always(status int, body string, headers ...string) func(int, *http.Request) *http.Response {
	return func(int, *http.Request) *http.Response { return reply(status, body, headers...) }
}

func (f *far) client(t *testing.T) *client.Client {
	if f.life == 0 {
		f.life = 300
	}
	return newClient(t, client.Config{URL: "https://far.example/", ClientID: "id", ClientSecret: "far-secret", HTTP: &http.Client{Transport: f}})
}

// One token serves everyone until shortly before its end, and only one is
// asked for at a time.
func TestOneTokenForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{answer: always(200, anEvent), delay: time.Second}
		c := f.client(t)
		crowd := func() {
			var group sync.WaitGroup
			for range 50 {
				group.Go(func() {
					if _, err := c.Event(t.Context(), "e1"); err != nil {
						t.Error(err)
					}
				})
			}
			group.Wait()
		}
		for round, wait := range []time.Duration{0, 250 * time.Second, 30 * time.Second} {
			time.Sleep(wait)
			crowd()
			if want := 1 + round/2; f.tokens != want {
				t.Errorf("round %d: %d tokens, want %d", round, f.tokens, want)
			}
		}
		if got := f.calls[len(f.calls)-1].Header.Get("Authorization"); got != "Bearer token-2" {
			t.Errorf("got %s", got)
		}
	})
}

// Who waits for another's token waits no longer than its own context, and
// does not fail with the other's.
func TestTokenOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{answer: always(200, anEvent), delay: 10 * time.Second}
		c := f.client(t)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var group sync.WaitGroup
		group.Go(func() { c.Event(t.Context(), "e1") })
		synctest.Wait()
		if _, err := c.Event(short, "e1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		group.Wait()
		if f.tokens != 1 || len(f.calls) != 1 {
			t.Errorf("%d tokens, %d calls", f.tokens, len(f.calls))
		}
	})
}

// A token that is refused is replaced once.
func TestRefusedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{answer: func(_ int, r *http.Request) *http.Response {
			if r.Header.Get("Authorization") == "Bearer token-2" {
				return reply(201, `{"data":{"id":"a"}}`)
			}
			return reply(401, `{"errors":[{"status":"401","code":"UNAUTHORIZED","detail":"Revoked."}]}`)
		}}
		c := f.client(t)
		if made, err := c.CreateEndpoint(t.Context(), client.NewEndpoint{URL: "https://a.example"}); err != nil || made.ID != "a" || f.tokens != 2 {
			t.Errorf("%+v, %v, %d tokens", made, err, f.tokens)
		}
		f.answer = always(401, `{"errors":[{"status":"401","code":"UNAUTHORIZED","detail":"Revoked."}]}`)
		if _, err := c.Event(t.Context(), "a"); status(err) != 401 || f.tokens != 3 {
			t.Errorf("%v, %d tokens", err, f.tokens)
		}
	})
}

var busy = []string{"Retry-After", "7"}

const busyText = `{"errors":[{"status":"503","code":"UNAVAILABLE","detail":"Busy."}]}`

// Calls of each sort.

func read(ctx context.Context, c *client.Client) error   { _, err := c.Event(ctx, "e1"); return err }
func remove(ctx context.Context, c *client.Client) error { return c.DeleteEndpoint(ctx, "a") }
func change(ctx context.Context, c *client.Client) error {
	_, err := c.UpdateEndpoint(ctx, "a", client.EndpointPatch{})
	return err
}
func create(ctx context.Context, c *client.Client) error {
	_, err := c.CreateIssuance(ctx, client.NewIssuance{CredentialTemplateID: "a"})
	return err
}
func mixed(ctx context.Context, c *client.Client) error {
	_, err := c.PublishEvents(ctx, []client.NewEvent{{IdempotencyKey: "k"}, {}})
	return err
}

// What may be repeated is repeated, not before the server says, and not for
// ever; what may not be is not.
func TestRepeating(t *testing.T) {
	for name, test := range map[string]struct {
		do            func(context.Context, *client.Client) error
		answer        func(int, *http.Request) *http.Response
		calls, status int
		took          time.Duration // at least
	}{
		"busy for ever":       {read, always(503, busyText, busy...), 4, 503, 21 * time.Second},
		"busy, no time given": {read, always(503, busyText), 4, 503, 3500 * time.Millisecond},
		"limited":             {read, always(429, "{}", busy...), 4, 429, 21 * time.Second},
		"busy for too long":   {read, always(503, busyText, "Retry-After", "31"), 1, 503, 0},
		"removing":            {remove, always(503, busyText, busy...), 4, 503, 21 * time.Second},
		"creating with a key": {create, always(503, busyText, busy...), 4, 503, 21 * time.Second},
		"changing":            {change, always(503, busyText, busy...), 1, 503, 0},
		"no key for all":      {mixed, always(503, busyText, busy...), 1, 503, 0},
		"broken":              {read, always(500, "{}"), 1, 500, 0},
		"not ours":            {read, always(502, "<html>"), 1, 502, 0},
		"redirect":            {read, always(302, "", "Location", "https://evil.example/"), 1, 302, 0},
		"no answer":           {read, func(int, *http.Request) *http.Response { return nil }, 4, 0, 3500 * time.Millisecond},
		"no answer to change": {change, func(int, *http.Request) *http.Response { return nil }, 1, 0, 0},
		"not JSON":            {read, always(200, "<html>"), 1, 0, 0},
		"better at last": {read, func(n int, _ *http.Request) *http.Response {
			if n < 4 {
				return reply(503, busyText)
			}
			return reply(200, anEvent)
		}, 4, 200, 3500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &far{answer: test.answer}
				start := time.Now()
				err := test.do(t.Context(), f.client(t))
				if got := status(err); err == nil && test.status != 200 || err != nil && got != test.status {
					t.Errorf("got %v, want status %d", err, test.status)
				}
				if took := time.Since(start); len(f.calls) != test.calls || took < test.took || took > test.took*2+time.Second {
					t.Errorf("%d calls in %v, want %d in %v", len(f.calls), took, test.calls, test.took)
				}
				for _, r := range f.calls {
					if r.Header.Get("Idempotency-Key") != f.calls[0].Header.Get("Idempotency-Key") {
						t.Error("a repeated call has another key")
					}
				}
				if err != nil && strings.Contains(err.Error(), "far-secret") {
					t.Errorf("the error tells the secret: %v", err)
				}
			})
		})
	}
}

// A call that was not sent, as there was no token for it, may always be
// repeated; one that nobody waits for is not.
func TestNoTokenAndNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{answer: always(200, `{"data":{"id":"a"}}`), token: func(n int) *http.Response {
			if n < 3 {
				return reply(503, `{"error":"temporarily_unavailable"}`, "Retry-After", "1")
			}
			return nil
		}}
		if _, err := f.client(t).UpdateEndpoint(t.Context(), "a", client.EndpointPatch{}); err != nil || f.tokens != 3 || len(f.calls) != 1 {
			t.Errorf("%v, %d tokens, %d calls", err, f.tokens, len(f.calls))
		}
		f = &far{answer: always(503, busyText, busy...)}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if _, err := f.client(t).Event(ctx, "e1"); status(err) != 503 || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// A list is fetched page by page, as far as it is read, and ends with the
// first error.
func TestLists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{answer: func(n int, r *http.Request) *http.Response {
			if n == 3 {
				return reply(500, `{"errors":[{"detail":"Broken."}]}`)
			}
			return reply(200, fmt.Sprintf(`{"data":[{"id":"a%d"},{"id":"b%d"}],"meta":{"page":{"hasNext":true}}}`, n, n))
		}}
		c := f.client(t)
		var got []string
		var failed error
		query := client.DeliveryQuery{Status: tidings.DeliveryFailed, Page: client.Page{Size: 2}}
		for d, err := range c.Deliveries(t.Context(), query) {
			if failed = err; err == nil {
				got = append(got, d.ID)
			}
		}
		if strings.Join(got, " ") != "a1 b1 a2 b2" || status(failed) != 500 {
			t.Errorf("got %v, %v", got, failed)
		}
		for n, want := range []string{"", "b1", "b2"} {
			if q := f.calls[n].URL.Query(); q.Get("page[after]") != want || q.Get("page[size]") != "2" || q.Get("filter[status]") != "failed" || len(q) > 3 {
				t.Errorf("page %d: %v", n, q)
			}
		}
		for range c.Deliveries(t.Context(), query) {
			break
		}
		if len(f.calls) != 4 || f.calls[3].URL.Query().Has("page[after]") {
			t.Errorf("%d calls", len(f.calls))
		}
	})
}

// All problems of a refusal are told.
func TestProblems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &far{answer: always(400, `{"errors":[{"id":"r1","status":"400","code":"VALIDATION_ERROR","title":"T","detail":"One.","source":{"pointer":"/0/eventType"}},
			{"id":"r1-2","status":"400","code":"VALIDATION_ERROR","title":"T","detail":"Two.","source":{"parameter":"sort"}}]}`, "X-Request-Id", "r1", "Retry-After", "60")}
		_, err := f.client(t).PublishEvents(t.Context(), []client.NewEvent{{}, {}})
		e, ok := errors.AsType[*client.Error](fmt.Errorf("publishing: %w", err))
		if !ok || e.Pointer != "/0/eventType" || e.Parameter != "" || e.Title != "T" || e.RequestID != "r1" || e.RetryAfter != time.Minute || len(e.Problems) != 2 || e.Problems[1].Parameter != "sort" {
			t.Errorf("got %+v", e)
		}
		if want := "status 400 VALIDATION_ERROR: One. (at /0/eventType) and 1 more [request r1]"; err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	})
}

// A stream that breaks is taken up again behind the last event, as long as
// somebody reads; one that never began, or is refused, is not.
func TestFollowing(t *testing.T) {
	const line = "id: e%d\nevent: x\ndata: {\"id\":\"e%d\"}\n\n"
	synctest.Test(t, func(t *testing.T) {
		var after []string
		f := &far{answer: func(n int, r *http.Request) *http.Response {
			after = append(after, r.Header.Get("Last-Event-ID"))
			switch n {
			case 1, 4:
				return reply(200, ": hello\n\n"+fmt.Sprintf(line, n, n)+"id: cut\ndata: {\"id")
			case 2:
				return reply(503, busyText, busy...)
			case 3:
				return nil
			}
			return reply(403, `{"errors":[{"status":"403","code":"FORBIDDEN"}]}`)
		}}
		var got []string
		var failed error
		for e, err := range f.client(t).FollowEvents(t.Context(), "e0") {
			if failed = err; err == nil {
				got = append(got, e.ID)
			}
		}
		if fmt.Sprint(got, after) != "[e1 e4] [e0 e1 e1 e1 e4]" || status(failed) != 403 {
			t.Errorf("got %v, asked for %v, %v", got, after, failed)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := &far{answer: func(int, *http.Request) *http.Response { return nil }}
		for _, err := range f.client(t).FollowEvents(t.Context(), "") {
			if err == nil || len(f.calls) != 1 {
				t.Errorf("%v after %d calls", err, len(f.calls))
			}
		}
	})
}

// A stream that says nothing at all is given up and taken up again.
func TestSilentStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
		defer cancel()
		f := &far{answer: func(_ int, r *http.Request) *http.Response {
			silent, w := io.Pipe()
			context.AfterFunc(r.Context(), func() { w.CloseWithError(r.Context().Err()) })
			answer := reply(200, "")
			answer.Body = silent
			return answer
		}}
		var failed error
		for _, err := range f.client(t).FollowEvents(ctx, "") {
			failed = err
		}
		if !errors.Is(failed, context.DeadlineExceeded) || len(f.calls) != 3 {
			t.Errorf("%v after %d calls at %v", failed, len(f.calls), f.at)
		}
	})
}
