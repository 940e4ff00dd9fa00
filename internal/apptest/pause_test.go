package apptest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tidings/internal/apptest"
)

const askedPause = 3 * time.Second

// askPause answers that nothing more is wanted for a while.
func askPause(w http.ResponseWriter, status int) {
	w.Header().Set("Retry-After", fmt.Sprint(int(askedPause.Seconds())))
	w.WriteHeader(status)
}

// A receiver that asks for a pause gets nothing until it is over, not even
// other events, and everything then.
func TestRetryAfterPausesTheEndpoint(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			p := apptest.Serve(t, apptest.Setup{Flags: []string{oftenRetried}})
			first := make(chan struct{}, 1)
			first <- struct{}{}
			receiver := apptest.NewReceiver(t, p.CA, func(w http.ResponseWriter, _ *http.Request, _ apptest.Received) {
				select {
				case <-first:
					askPause(w, status)
				default:
					w.WriteHeader(http.StatusNoContent)
				}
			})
			p.Register(receiver.URL)
			publish(t, p.API, event(offered, "first"))
			awaitAttempt(p)
			publish(t, p.API, many(5, offered, "later")...)
			got := receiver.Wait(7)
			for _, later := range got[1:] {
				if waited := later.At.Sub(got[0].At); waited < askedPause {
					t.Errorf("a webhook came %v after the receiver had asked for a pause of %v", waited, askedPause)
				}
			}
		})
	}
}

// awaitAttempt waits until a first attempt has failed and is recorded.
func awaitAttempt(p *apptest.Process) {
	p.Await("a failed attempt is recorded", func() bool {
		for _, d := range list[struct{ AttemptCount int }](p.API, "/deliveries?filter[status]=pending") {
			if d.AttemptCount == 1 {
				return true
			}
		}
		return false
	})
}

// What was under way when the receiver asked for a pause, and went well, does
// not end the pause.
func TestASuccessInFlightDoesNotEndAPause(t *testing.T) {
	p := apptest.Serve(t, apptest.Setup{Flags: []string{oftenRetried}})
	open := make(chan struct{})
	receiver := apptest.NewReceiver(t, p.CA, func(w http.ResponseWriter, r *http.Request, got apptest.Received) {
		switch {
		case strings.Contains(string(got.Body), "limited") && got.Header.Get("webhook-attempt") == "1":
			askPause(w, http.StatusTooManyRequests)
		case strings.Contains(string(got.Body), "slow"):
			select {
			case <-open:
			case <-r.Context().Done():
			}
			fallthrough
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	p.Register(receiver.URL)
	publish(t, p.API, event(offered, "slow"))
	receiver.Wait(1)
	publish(t, p.API, event(offered, "limited"))
	asked := receiver.Wait(2)[1].At
	awaitAttempt(p)
	close(open)
	p.Await("the slow one is delivered", func() bool { return len(list[struct{}](p.API, "/deliveries?filter[status]=delivered")) == 1 })
	publish(t, p.API, event(offered, "later"))
	for _, got := range receiver.Wait(4)[2:] {
		if waited := got.At.Sub(asked); waited < askedPause {
			t.Errorf("a webhook came %v after the receiver had asked for a pause of %v", waited, askedPause)
		}
	}
}
