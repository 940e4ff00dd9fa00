package apptest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/wallet"
)

// A wallet never feels the trouble of a receiver: all its steps are answered
// while one receiver hangs, one fails and one is not there, before any of them
// has been told anything.
func TestAWalletNeverFeelsTheReceivers(t *testing.T) {
	a := apptest.New(t, func(c *app.Config) { c.RetrySchedule = []time.Duration{time.Hour} })
	hanging := make(chan struct{})
	defer close(hanging)
	receiver := apptest.NewReceiver(t, a.CA, func(w http.ResponseWriter, r *http.Request, _ apptest.Received) {
		if strings.HasSuffix(r.URL.Path, "/hangs") {
			<-hanging
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	a.Register(receiver.URL + "/hangs")
	a.Register(receiver.URL + "/fails")
	a.Register(deadURL(t))

	made := template(a.API)
	for _, event := range []string{wallet.Accepted, wallet.Failure} {
		var i issuance
		a.Call("POST", "/credentials/issuance", apptest.Object{"credentialTemplateId": made, "attributes": apptest.Object{"name": "somebody"}}, http.StatusCreated, &i)
		held, err := newWallet(t, a.API).Claim(t.Context(), i.OfferURI)
		if err != nil {
			t.Fatal(err)
		}
		if err := held.Notify(t.Context(), event); err != nil {
			t.Fatal(err)
		}
		end := map[string]string{wallet.Accepted: "completed", wallet.Failure: "failed"}[event]
		theStory(t, a.API, issuance{ID: i.ID, Status: end})
	}
	if all := list[struct{}](a.API, "/deliveries?filter[status]=delivered"); len(all) > 0 {
		t.Errorf("%d deliveries arrived: the receivers have no trouble", len(all))
	}
}
