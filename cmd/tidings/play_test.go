package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/internal/apptest"
	"tidings/webhook"
)

// played is what tidings play says of a receiver.
func played(t *testing.T, secret webhook.Secret, receiver http.Handler) (report playReport, code int) {
	t.Helper()
	s := httptest.NewServer(receiver)
	defer s.Close()
	var out, log bytes.Buffer
	code = run(t.Context(), []string{"play", s.URL, "-o", "json", "--secret", secret.Reveal()}, &environment{stdout: &out, stderr: &log})
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), log.String())
	}
	return report, code
}

// wrong names the cases in which the receiver was wrong.
func (r playReport) wrong() (names []string) {
	for _, c := range r.Cases {
		if !c.Right {
			names = append(names, c.Name)
		}
	}
	return names
}

// Our own receiver is right in all, and processes what came twice once.
func TestPlayOurOwnReceiver(t *testing.T) {
	secret := webhook.NewSecret()
	var mu sync.Mutex
	times := map[string]int{}
	handler := &webhook.Handler{
		Verifier: &webhook.Verifier{Secrets: []webhook.Secret{secret}}, Inbox: &webhook.MemoryInbox{}, Log: slog.New(slog.DiscardHandler),
		Process: func(_ context.Context, e webhook.Event) error {
			mu.Lock()
			defer mu.Unlock()
			if times[e.ID]++; !e.Test {
				t.Errorf("%s is no sample", e.ID)
			}
			return nil
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- handler.Run(ctx) }()
	report, code := played(t, secret, handler)
	if code != exitDone || report.Right != 16 || report.Of != 16 || report.wrong() != nil {
		t.Errorf("exit code %d, %d of %d right, wrong in %v", code, report.Right, report.Of, report.wrong())
	}
	const genuine = 13 // events, of eleven cases: two tell two; the others are to be refused
	processed := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(times)
	}
	apptest.Await(t, "all that is genuine is processed", func() bool { return processed() == genuine })
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if len(report.SentMoreThanOnce) != 2 {
		t.Errorf("sent more than once were %v", report.SentMoreThanOnce)
	}
	for _, id := range report.SentMoreThanOnce {
		if times[id] != 1 {
			t.Errorf("%s was processed %d times", id, times[id])
		}
	}
}

// Receivers with one fault each are found out in just the cases of that fault.
func TestPlayFindsFaults(t *testing.T) {
	secret := webhook.NewSecret()
	verifier := &webhook.Verifier{Secrets: []webhook.Secret{secret}}
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		takes func(h http.Header, body []byte, seen bool) bool
		wrong []string
	}{
		{"writes the body out again", func(h http.Header, body []byte, _ bool) bool {
			var compact bytes.Buffer
			_ = json.Compact(&compact, body)
			return verifier.Verify(h, compact.Bytes()) == nil
		}, []string{"white space in the body"}},
		{"looks at the first signature only", func(h http.Header, body []byte, _ bool) bool {
			first, _, _ := strings.Cut(h.Get(webhook.HeaderSignature), " ")
			h.Set(webhook.HeaderSignature, first)
			return verifier.Verify(h, body) == nil
		}, []string{"secret being rotated"}},
		{"compares the whole header", func(h http.Header, body []byte, _ bool) bool {
			return verifier.Verify(h, body) == nil && !strings.Contains(h.Get(webhook.HeaderSignature), " ")
		}, []string{"secret being rotated", "v1a beside v1"}},
		{"looks at no clock", func(h http.Header, body []byte, _ bool) bool {
			seconds, _ := time.ParseDuration(h.Get(webhook.HeaderTimestamp) + "s")
			want, err := signer.Sign(h.Get(webhook.HeaderID), time.Unix(0, 0).Add(seconds), body)
			return err == nil && slices.Contains(strings.Fields(h.Get(webhook.HeaderSignature)), want)
		}, []string{"stale timestamp", "timestamp from the future"}},
		{"refuses duplicates", func(h http.Header, body []byte, seen bool) bool {
			return verifier.Verify(h, body) == nil && !seen
		}, []string{"duplicate", "the same twice at once"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			known := map[string]bool{}
			report, code := played(t, secret, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				id := r.Header.Get(webhook.HeaderID)
				if !c.takes(r.Header, body, known[id]) {
					w.WriteHeader(http.StatusBadRequest)
				}
				known[id] = true
			}))
			if got := report.wrong(); !slices.Equal(got, c.wrong) || code != exitFailed {
				t.Errorf("exit code %d, wrong in %q, want %q", code, got, c.wrong)
			}
		})
	}
}

func TestJudgePlay(t *testing.T) {
	broken := playAnswer{Err: errors.New("connection reset")}
	status := func(n int) playAnswer { return playAnswer{Status: n} }
	for _, c := range []struct {
		name    string
		want    playWant
		answers []playAnswer
		result  playResult
	}{
		{"taken", wantTaken, []playAnswer{status(200)}, playTook},
		{"any 2xx", wantTaken, []playAnswer{status(202), status(204)}, playTook},
		{"at the last moment", wantTaken, []playAnswer{{Status: 200, Took: promptly}}, playTook},
		{"too late", wantTaken, []playAnswer{{Status: 200, Took: promptly + 1}}, playSlow},
		{"denied", wantTaken, []playAnswer{status(400)}, playDenied},
		{"the second is denied", wantTaken, []playAnswer{status(200), status(409)}, playDenied},
		{"broke", wantTaken, []playAnswer{status(500)}, playBroke},
		{"gone", wantTaken, []playAnswer{status(410)}, playGone},
		{"redirected", wantTaken, []playAnswer{status(307)}, playRedirected},
		{"silent", wantTaken, []playAnswer{broken}, playSilent},
		{"refused", wantRefused, []playAnswer{status(401)}, playRefusedIt},
		{"refused by an error", wantRefused, []playAnswer{status(500)}, playRefusedIt},
		{"believed", wantRefused, []playAnswer{status(204)}, playBelieved},
		{"silence refuses nothing", wantRefused, []playAnswer{broken}, playSilent},
	} {
		got := judgePlay(c.want, c.answers)
		if got != c.result {
			t.Errorf("%s: %s, want %s", c.name, got, c.result)
		}
		if (mendPlay(got, mendGenuine) == "") != got.right() {
			t.Errorf("%s: right is %t, and the advice is %q", c.name, got.right(), mendPlay(got, mendGenuine))
		}
	}
}
