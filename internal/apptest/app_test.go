package apptest_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/webhook"
)

func TestAnEventArrivesSigned(t *testing.T) {
	a := apptest.New(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	endpoint := a.Register(receiver.URL)
	id := a.Publish("openid4vc.issuance.completed", "an-issuance")

	got := receiver.Wait(1)[0]
	secret, err := webhook.ParseSecret(a.Secret(endpoint))
	if err != nil {
		t.Fatal(err)
	}
	v := webhook.Verifier{Secrets: []webhook.Secret{secret}}
	if err := v.Verify(got.Header, got.Body); err != nil {
		t.Error(err)
	}
	if got.ID() != id || got.Header.Get("webhook-attempt") != "1" || got.Header.Get("content-type") != "application/json" {
		t.Errorf("headers %v", got.Header)
	}
	if want := `{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"an-issuance"}}`; string(got.Body) != want {
		t.Errorf("body %s, want %s", got.Body, want)
	}
}

func TestAFailedAttemptIsRetriedAndLaterEventsOfTheIssuanceWait(t *testing.T) {
	a := apptest.New(t, func(c *app.Config) { c.RetrySchedule = []time.Duration{200 * time.Millisecond} })
	receiver := apptest.NewReceiver(t, a.CA, func(w http.ResponseWriter, _ *http.Request, got apptest.Received) {
		if got.Header.Get("webhook-attempt") == "1" && contains(got.Body, "offered") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	a.Register(receiver.URL)
	offered := a.Publish("openid4vc.issuance.offered", "i")
	completed := a.Publish("openid4vc.issuance.completed", "i")
	got := receiver.Wait(3)
	if got[0].ID() != offered || got[1].ID() != offered || got[2].ID() != completed {
		t.Fatalf("arrived in the order %s, %s, %s; want %s twice, then %s", got[0].ID(), got[1].ID(), got[2].ID(), offered, completed)
	}
	if string(got[0].Body) != string(got[1].Body) {
		t.Error("the body of the retry differs")
	}
}

func contains(body []byte, text string) bool { return bytes.Contains(body, []byte(text)) }
