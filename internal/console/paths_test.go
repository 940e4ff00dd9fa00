package console_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
)

// A new organisation signs in, registers an endpoint after a wrong turn, tests
// it, looks at its secret, and pauses and enables it.
func TestANewEndpoint(t *testing.T) {
	a := apptest.New(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	b := newTab(t, a)
	b.open("/endpoints")
	b.at("/sign-in")
	b.check("sign-in")
	b.fill("#client_id", apptest.ClientID)
	b.fill("#client_secret", "wrong")
	b.click("/Sign in/")
	b.sees("do not belong together")
	b.fill("#client_secret", apptest.ClientSecret)
	b.click("/Sign in/")
	b.at("/endpoints") // where it was going
	b.sees("No endpoint yet")
	b.open("")
	b.sees("Three steps to the first webhook")
	b.check("overview-first")

	b.click("/New endpoint/")
	b.at("/endpoints/new")
	b.fill("#url", "http://localhost:3000/webhooks")
	b.click("/Register/")
	b.until("document.querySelector('#url-error')")
	b.sees("tidings listen needs no endpoint")
	b.check("endpoint-form")
	b.fill("#url", receiver.URL)
	b.fill("#description", "Orders")
	b.click("/Register/")
	b.sees("Created.")
	b.sees("Nothing has been delivered here yet")
	b.check("endpoint-new")

	b.choose("#test-type", "openid4vc.issuance.failed")
	b.click("/Send/")
	b.sees("204 No Content") // by itself
	got := receiver.Wait(1)[0]
	b.sees(got.ID())
	b.sees("webhook-test: true")
	b.sees(string(got.Body))
	b.sees("webhook-timestamp: " + got.Header.Get("webhook-timestamp"))
	b.check("delivery")

	b.click("//*[@class='crumbs']/a[2]")
	b.click("/Show the secret/")
	b.sees("whsec_")
	b.check("secret")
	before := must[string](b, "document.getElementById('secret').textContent")
	b.click("/Back to the endpoint/")
	b.click("/Rotate it/")
	b.click("/Rotate/")
	b.sees("Signing along")
	b.sees(before)

	b.click("/Back to the endpoint/")
	b.click("/Pause/")
	b.sees("Paused. Deliveries are kept")
	a.Publish("openid4vc.issuance.offered", "waits")
	b.click("/Enable/")
	b.sees("Enabled.")
	receiver.Wait(2)

	b.click("/Edit/")
	b.click("#description")
	b.fill("#description", "")
	b.click("input[value='openid4vc.issuance.completed']")
	b.click("/Save/")
	b.sees("Saved.")
	b.until("[...document.querySelectorAll('dd')].some((d) => d.textContent.trim() === 'openid4vc.issuance.completed')")
	b.open("/endpoints")
	b.sees("1 chosen")
	b.check("endpoints")

	b.click("a.url")
	b.click("/Delete it/")
	b.click("/Delete for good/")
	b.sees("Deleted.")
	b.sees("No endpoint yet")
}

// An endpoint that fails is told of on every page, with what to do; it is
// disabled, and recovered with a progress bar.
func TestAFailingEndpoint(t *testing.T) {
	broken := make(chan struct{})
	a := apptest.New(t, func(c *app.Config) {
		c.RetrySchedule = []time.Duration{100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond, time.Hour}
		c.DisableAfter = time.Hour
	})
	receiver := apptest.NewReceiver(t, a.CA, func(w http.ResponseWriter, _ *http.Request, got apptest.Received) {
		select {
		case <-broken:
			w.WriteHeader(http.StatusNoContent)
		default:
			http.Error(w, "the database is away", http.StatusInternalServerError)
		}
	})
	id := a.Register(receiver.URL)
	event := a.Publish("openid4vc.issuance.completed", "cmfwfjxdq003js601bmgy9tva")
	receiver.Wait(4)

	b := newTab(t, a)
	b.signIn(apptest.ClientID, apptest.ClientSecret)
	b.sees("is failing: no attempt succeeds any more")
	b.sees("It will be disabled")
	b.check("overview-failing")
	b.click("/See its deliveries/")
	b.at("/deliveries")
	b.check("deliveries")
	b.click("td a")
	b.sees("the database is away")
	b.sees("The receiver failed inside. Look into its log")
	b.sees(event)
	b.check("delivery-failing")
	b.open("/endpoints/" + id) // says why, until when, and how to check
	b.sees("On the way to being disabled")
	b.sees("The endpoint answered 500; only 2xx counts as received. The receiver failed inside.")
	b.sees("send it a sample, below, or run tidings play")
	b.check("endpoint-failing")
	b.click("/See the request and the answer/")
	b.sees("the database is away")
	close(broken)
	b.click("/Try now/")
	b.sees("204 No Content")
	b.open("/endpoints/" + id)
	b.until("!document.querySelector('.notice')")
	b.sees("delivered")
}

// What failed is sent again from the list, once: a second press leaves it alone.
// An endpoint that was disabled is recovered with its enabling.
func TestSendingAgain(t *testing.T) {
	var mended atomic.Bool
	a := apptest.New(t, func(c *app.Config) { c.RetrySchedule = []time.Duration{} })
	receiver := apptest.NewReceiver(t, a.CA, func(w http.ResponseWriter, r *http.Request, got apptest.Received) {
		switch {
		case mended.Load():
			w.WriteHeader(http.StatusNoContent)
		case strings.Contains(string(got.Body), "last"):
			w.WriteHeader(http.StatusGone)
		default:
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	id := a.Register(receiver.URL)
	for _, issuance := range []string{"one", "two", "three"} {
		a.Publish("openid4vc.issuance.offered", issuance)
	}
	failed := func(n int) {
		t.Helper()
		a.Await("deliveries have failed", func() bool {
			var list []apptest.Object
			a.Call("GET", "/deliveries?filter[status]=failed", nil, http.StatusOK, &list)
			return len(list) == n
		})
	}
	failed(3)
	b := newTab(t, a)
	b.signIn(apptest.ClientID, apptest.ClientSecret)
	b.open("/deliveries?status=failed&issuance=two")
	b.click("/Send again all that this filter shows/")
	b.click("/Send again/")
	b.sees("1 sent again.")
	failed(4)

	a.Publish("openid4vc.issuance.offered", "last")
	a.Await("the endpoint is disabled", func() bool {
		var e apptest.Object
		a.Call("GET", "/endpoints/"+id, nil, http.StatusOK, &e)
		return e["status"] == "disabled"
	})
	b.open("/endpoints/" + id)
	b.sees("was disabled: the receiver answered 410 Gone")
	b.sees("It answered 410 Gone, at attempt 1")
	b.check("endpoint-disabled")
	mended.Store(true)
	b.choose("#enable-since", "1h")
	b.click("/Enable/")
	b.sees("100 %")
	b.sees("completed")
	b.check("recovery")
	b.open("/deliveries?status=delivered")
	b.until("document.querySelectorAll('.rows tbody tr').length === 4")
	b.open("/deliveries?status=failed")
	b.click("/Send again all that this filter shows/")
	b.click("/Send again/")
	b.sees("There was nothing to send again.")
}
