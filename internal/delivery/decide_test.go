package delivery

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tidings"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// TestDecideEveryStatus decides every status that a receiver can answer with.
func TestDecideEveryStatus(t *testing.T) {
	type span struct {
		from, to int
		outcome  Outcome
		status   tidings.DeliveryStatus
		disable  tidings.DisabledReason
	}
	const pending, delivered = tidings.DeliveryPending, tidings.DeliveryDelivered
	spans := []span{
		{100, 199, OutcomeUnexpected, pending, ""},
		{200, 299, OutcomeDelivered, delivered, ""},
		{300, 399, OutcomeRedirect, pending, ""},
		{400, 409, OutcomeRejected, pending, ""},
		{410, 410, OutcomeGone, pending, tidings.DisabledGone},
		{411, 428, OutcomeRejected, pending, ""},
		{429, 429, OutcomeLimited, pending, ""},
		{430, 499, OutcomeRejected, pending, ""},
		{500, 502, OutcomeServerError, pending, ""},
		{503, 503, OutcomeUnavailable, pending, ""},
		{504, 599, OutcomeServerError, pending, ""},
		{600, 999, OutcomeUnexpected, pending, ""},
	}
	next := 100
	for _, s := range spans {
		if s.from != next {
			t.Fatalf("the table leaves out %d", next)
		}
		next = s.to + 1
		for code := s.from; code <= s.to; code++ {
			d := DefaultPolicy.Decide(1, Answer{StatusCode: code}, tidings.Health{}, noon, 0)
			if d.Outcome != s.outcome || d.Status != s.status || d.Disable != s.disable {
				t.Errorf("%d: %s, %s, disable %q; want %s, %s, %q", code, d.Outcome, d.Status, d.Disable, s.outcome, s.status, s.disable)
			}
			wantFailures := 1
			if s.outcome == OutcomeDelivered {
				wantFailures = 0
			}
			if d.Health.Failures != wantFailures {
				t.Errorf("%d counts as %d failures, want %d", code, d.Health.Failures, wantFailures)
			}
		}
	}
	if next != 1000 {
		t.Fatalf("the table ends at %d", next)
	}
}

func TestDecideWithoutAnAnswer(t *testing.T) {
	for code, want := range map[string]Outcome{
		"timeout": OutcomeTimeout, "dns": OutcomeUnreachable, "connect": OutcomeUnreachable, "tls": OutcomeUnreachable,
		"blocked": OutcomeUnreachable, "closed": OutcomeUnreachable, "protocol": OutcomeUnreachable,
	} {
		d := DefaultPolicy.Decide(1, Answer{ErrorCode: code}, tidings.Health{}, noon, 0)
		if d.Outcome != want || d.Status != tidings.DeliveryPending {
			t.Errorf("%s: %s, %s; want %s, pending", code, d.Outcome, d.Status, want)
		}
	}
	// A receiver that said 2xx has the event, whatever became of the rest of its answer.
	if d := DefaultPolicy.Decide(1, Answer{StatusCode: 200, ErrorCode: "timeout"}, tidings.Health{}, noon, 0); d.Status != tidings.DeliveryDelivered {
		t.Errorf("a 200 whose body did not end is %s", d.Status)
	}
	if d := DefaultPolicy.Decide(1, Answer{StatusCode: 500, ErrorCode: "timeout"}, tidings.Health{}, noon, 0); d.Outcome != OutcomeTimeout {
		t.Errorf("a 500 whose body did not end is %s", d.Outcome)
	}
}

// TestTheScheduleIsThatOfTheDocumentation names the delays again, as receivers
// read them.
func TestTheScheduleIsThatOfTheDocumentation(t *testing.T) {
	want := []string{"5s", "5m0s", "30m0s", "2h0m0s", "5h0m0s", "10h0m0s", "14h0m0s", "20h0m0s", "24h0m0s"}
	for n := 1; n <= 10; n++ {
		d := DefaultPolicy.Decide(n, Answer{StatusCode: 500}, tidings.Health{}, noon, 0)
		if n == 10 {
			if d.Status != tidings.DeliveryFailed || d.Reason != tidings.ReasonExhausted {
				t.Errorf("the tenth failure gives %s, %s", d.Status, d.Reason)
			}
			continue
		}
		if got := d.Due.Sub(noon).String(); got != want[n-1] {
			t.Errorf("after failure %d: %s, want %s", n, got, want[n-1])
		}
		if hold := n <= 2; d.Hold != hold {
			t.Errorf("after failure %d: hold %v, want %v", n, d.Hold, hold)
		}
	}
	early := DefaultPolicy.Decide(1, Answer{StatusCode: 500}, tidings.Health{}, noon, -1).Due.Sub(noon)
	late := DefaultPolicy.Decide(1, Answer{StatusCode: 500}, tidings.Health{}, noon, 1).Due.Sub(noon)
	if early != 4*time.Second || late != 6*time.Second {
		t.Errorf("jitter spreads 5s over %v to %v, want 4s to 6s", early, late)
	}
}

func TestRetryAfter(t *testing.T) {
	for _, row := range []struct {
		status int
		header string
		due    time.Duration // of the delivery, whose schedule says 5 s
		pause  time.Duration // of the lane
	}{
		{503, "", 5 * time.Second, 0},
		{503, "60", time.Minute, time.Minute},
		{429, "60", time.Minute, time.Minute},
		{503, "1", 5 * time.Second, time.Second},
		{503, "0", 5 * time.Second, 0},
		{429, " 7 ", 7 * time.Second, 7 * time.Second},
		{429, "999999999999", 24 * time.Hour, 24 * time.Hour},
		{429, "99999999999999999999999999", 5 * time.Second, 0},
		{429, "-5", 5 * time.Second, 0},
		{429, "soon", 5 * time.Second, 0},
		{503, "Sun, 01 Mar 2026 12:02:00 GMT", 2 * time.Minute, 2 * time.Minute},
		{503, "Sun, 01 Mar 2026 11:00:00 GMT", 5 * time.Second, 0},
		{503, "Sun, 01 Mar 2036 12:00:00 GMT", 24 * time.Hour, 24 * time.Hour},
		{500, "60", 5 * time.Second, 0}, // only 429 and 503 may ask for a pause
		{301, "60", 5 * time.Second, 0},
	} {
		d := DefaultPolicy.Decide(1, Answer{StatusCode: row.status, RetryAfter: row.header}, tidings.Health{}, noon, 0)
		if got := d.Due.Sub(noon); got != row.due {
			t.Errorf("%d with Retry-After %q: due after %v, want %v", row.status, row.header, got, row.due)
		}
		var pause time.Duration
		if !d.PauseUntil.IsZero() {
			pause = d.PauseUntil.Sub(noon)
		}
		if pause != row.pause {
			t.Errorf("%d with Retry-After %q: paused for %v, want %v", row.status, row.header, pause, row.pause)
		}
	}
	// Jitter never makes a retry sooner than the receiver asked.
	d := DefaultPolicy.Decide(1, Answer{StatusCode: 429, RetryAfter: "6"}, tidings.Health{}, noon, -1)
	if d.Due.Before(noon.Add(6 * time.Second)) {
		t.Errorf("due after %v, the receiver asked for 6s", d.Due.Sub(noon))
	}
}

func TestAnEndpointThatOnlyFailsIsDisabledAfterFiveDays(t *testing.T) {
	fail := func(h tidings.Health, at time.Duration) Decision {
		return DefaultPolicy.Decide(1, Answer{StatusCode: 500}, h, noon.Add(at), 0)
	}
	// Failures all along.
	var h tidings.Health
	for at := time.Duration(0); at < 120*time.Hour; at += 6 * time.Hour {
		d := fail(h, at)
		if d.Disable != "" {
			t.Fatalf("disabled after %v", at)
		}
		h = d.Health
	}
	if d := fail(h, 120*time.Hour); d.Disable != tidings.DisabledFailing || d.Status != tidings.DeliveryPending {
		t.Errorf("after 120h: disable %q, the delivery %s; want failing, pending", d.Disable, d.Status)
	}
	// Two failures long apart prove nothing: one more, 12 hours on, does.
	h = fail(tidings.Health{}, 0).Health
	d := fail(h, 121*time.Hour)
	if d.Disable != "" {
		t.Error("disabled after two failures")
	}
	if d = fail(d.Health, 122*time.Hour); d.Disable != "" {
		t.Error("disabled although the third failure followed the second closely")
	}
	if d = fail(d.Health, 134*time.Hour); d.Disable == "" {
		t.Error("not disabled after three failures, each 12 hours apart")
	}
	// One success starts the clock anew.
	if ok := DefaultPolicy.Decide(1, Answer{StatusCode: 200}, d.Health, noon, 0); ok.Health != (tidings.Health{}) {
		t.Errorf("after a success the clock stands at %+v", ok.Health)
	}
}

func TestDecideAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "attempt")
		a := Answer{
			StatusCode: rapid.IntRange(0, 999).Draw(t, "status"),
			RetryAfter: rapid.OneOf(rapid.String(), rapid.Map(rapid.Int(), func(i int) string { return fmt.Sprint(i) })).Draw(t, "retry after"),
			ErrorCode:  rapid.SampledFrom([]string{"", "timeout", "dns"}).Draw(t, "error"),
		}
		luck := rapid.Float64Range(-1, 1).Draw(t, "luck")
		d := DefaultPolicy.Decide(n, a, tidings.Health{}, noon, luck)
		switch d.Status {
		case tidings.DeliveryPending:
			if d.Due.Before(noon) || d.Due.After(noon.Add(29*time.Hour)) {
				t.Fatalf("due %v", d.Due)
			}
		case tidings.DeliveryDelivered:
			if a.StatusCode < 200 || a.StatusCode > 299 {
				t.Fatalf("delivered by %+v", a)
			}
		case tidings.DeliveryFailed:
			if n <= len(DefaultPolicy.RetrySchedule) || d.Reason == "" {
				t.Fatalf("failed at attempt %d: %q", n, d.Reason)
			}
		default:
			t.Fatalf("status %q", d.Status)
		}
	})
}
