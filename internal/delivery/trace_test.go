package delivery

import (
	"context"
	"net/http"
	"testing"
	"time"

	"tidings"
	"tidings/webhook"
)

// senderFunc posts to nobody.
type senderFunc func(header http.Header) Answer

func (f senderFunc) Post(_ context.Context, _ time.Time, _ string, header http.Header, _ []byte) Answer {
	return f(header)
}

func anAttempt(t *testing.T) *attempt {
	t.Helper()
	signer, err := webhook.NewSigner(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	return &attempt{delivery: tidings.PendingDelivery{EventID: "event", Body: []byte("{}")}, target: &target{Lane: tidings.Lane{Settings: tidings.Settings{URL: "https://receiver.example"}}, signer: signer}}
}

// An attempt whose event is traced is told of at its beginning and its end, and
// the receiver gets what the trace says, if anything, whatever the endpoint's own
// headers hold.
func TestAnAttemptIsTraced(t *testing.T) {
	const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, row := range []struct{ trace, traceparent, want string }{
		{"", "mine", "their own"}, {traceparent, "", "their own"}, {traceparent, "mine", "mine"},
	} {
		var begun, ended int
		var got string
		e := New(nil, senderFunc(func(h http.Header) Answer {
			got = h.Get("Traceparent")
			return Answer{StatusCode: 204}
		}), Config{Trace: func(d *tidings.PendingDelivery, url string) (string, func(Answer)) {
			if begun++; d.Trace != row.trace || url != "https://receiver.example" {
				t.Errorf("an attempt in %q at %s is traced", d.Trace, url)
			}
			return row.traceparent, func(a Answer) { ended += a.StatusCode }
		}})
		a := anAttempt(t)
		a.delivery.Trace, a.target.Headers = row.trace, map[string]string{"traceparent": "their own"}
		e.try(t.Context(), a)
		if got != row.want || row.trace != "" && (begun != 1 || ended != 204) || row.trace == "" && begun+ended != 0 {
			t.Errorf("%+v: the receiver gets %q; begun %d, ended %d", row, got, begun, ended)
		}
	}
}

// Where nothing is traced, an attempt pays nothing for it.
func TestTracesThatAreOffCostNothing(t *testing.T) {
	e, a, ctx := New(nil, senderFunc(func(http.Header) Answer { return Answer{StatusCode: 204} }), Config{}), anAttempt(t), t.Context()
	least := func(do func()) float64 { // what is pooled is made anew where memory is cleaned up meanwhile
		n := testing.AllocsPerRun(200, do)
		for range 9 {
			n = min(n, testing.AllocsPerRun(200, do))
		}
		return n
	}
	alone := least(func() { e.send(ctx, a, "") })
	if all := least(func() { e.try(ctx, a) }); all != alone {
		t.Errorf("%v allocations, %v without the seam", all, alone)
	}
}
