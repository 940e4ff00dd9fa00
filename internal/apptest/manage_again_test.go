package apptest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
)

// switchable is a receiver whose answer a test changes.
type switchable struct{ status atomic.Int64 }

func (s *switchable) answer(w http.ResponseWriter, _ *http.Request, _ apptest.Received) {
	w.WriteHeader(int(s.status.Load()))
}

func answering(status int) *switchable {
	s := &switchable{}
	s.status.Store(int64(status))
	return s
}

func retried(delays ...time.Duration) apptest.Option {
	return func(c *app.Config) { c.RetrySchedule = append([]time.Duration{}, delays...) }
}

func TestATestEventGoesToOneEndpointOnly(t *testing.T) {
	a := managed(t)
	receiver, other := apptest.NewReceiver(t, a.CA, nil), apptest.NewReceiver(t, a.CA, nil)
	id := register(a.API, receiver.URL, completed)
	a.Register(other.URL)
	var d managedDelivery
	ask(t, a.API, "POST", "/endpoints/"+id+"/test", apptest.Object{"eventType": offered}).want(t, http.StatusAccepted).data(t, &d)
	if d.EndpointID != id || d.EventType != offered || d.ID == "" {
		t.Errorf("the test is %+v", d)
	}
	got := receiver.Wait(1)[0]
	if got.Header.Get("webhook-test") != "true" || got.ID() != d.EventID || string(got.Body) != `{"eventType":"`+offered+`","payload":{"openId4VcIssuanceId":"sample"}}` {
		t.Errorf("the test arrived as %v %s", got.Header, got.Body)
	}
	if err := verified(t, a.Secret(id), got, nil); err != nil {
		t.Error(err)
	}
	done := awaitDelivery(t, a.API, d.ID, "delivered")
	if len(done.Attempts) != 1 || done.Attempts[0].StatusCode != 204 {
		t.Errorf("the test's delivery is %+v", done)
	}
	var e struct{ Test bool }
	a.Call("GET", "/events/"+d.EventID, nil, http.StatusOK, &e)
	if !e.Test {
		t.Error("the event is not marked as a test")
	}
	ask(t, a.API, "POST", "/endpoints/"+id+"/test", nil).want(t, http.StatusAccepted)
	if got := receiver.Wait(2)[1]; !contains(got.Body, completed) {
		t.Errorf("without a type the test is %s", got.Body)
	}
	a.Publish(completed, "real")
	if got := other.Wait(1)[0]; got.Header.Get("webhook-test") != "" || !contains(got.Body, "real") {
		t.Errorf("the other endpoint got %s", got.Body)
	}
	if got := receiver.Wait(3)[2]; got.Header.Get("webhook-test") != "" {
		t.Error("a real event is marked as a test")
	}
	r := ask(t, a.API, "POST", "/endpoints/"+id+"/test", apptest.Object{"eventType": "nope"}).want(t, http.StatusBadRequest)
	if at, _ := r.problem(); at != "/eventType" {
		t.Errorf("points to %q", at)
	}
	for i, want := range []string{
		`{"eventType":"openid4vc.credential.revoked","payload":{"openId4VcIssuanceId":"sample","openId4VcCredentialId":"sample"}}`,
		`{"eventType":"tidings.endpoint.failing","payload":{"endpointId":"sample"}}`,
		`{"eventType":"tidings.endpoint.disabled","payload":{"endpointId":"sample","reason":"failing"}}`,
	} { // opt-in, too
		ask(t, a.API, "POST", "/endpoints/"+id+"/test", apptest.Object{"eventType": strings.Split(want, `"`)[3]}).want(t, http.StatusAccepted)
		if got := receiver.Wait(4 + i)[3+i]; string(got.Body) != want || got.Header.Get("webhook-test") != "true" {
			t.Errorf("the sample is %s, want %s", got.Body, want)
		}
	}
	ask(t, stranger(t, a, "other"), "POST", "/endpoints/"+id+"/test", nil).want(t, http.StatusNotFound)
	change(t, a.API, id, apptest.Object{"status": "disabled"})
	ask(t, a.API, "POST", "/endpoints/"+id+"/test", nil).want(t, http.StatusConflict)
}

// Whoever repairs a receiver tests it again: that test does not wait for the
// retries of the one before.
func TestATestDoesNotWaitForTheOneBefore(t *testing.T) {
	a := managed(t, retried(time.Hour))
	far := answering(500)
	receiver := apptest.NewReceiver(t, a.CA, far.answer)
	id := a.Register(receiver.URL)
	test := func() (d managedDelivery) {
		ask(t, a.API, "POST", "/endpoints/"+id+"/test", nil).want(t, http.StatusAccepted).data(t, &d)
		return d
	}
	first := test()
	a.Await("it has failed once", func() bool { return deliveryOf(t, a.API, first.ID).AttemptCount == 1 })
	far.status.Store(204)
	awaitDelivery(t, a.API, test().ID, "delivered")
	if d := deliveryOf(t, a.API, first.ID); d.Status != "pending" {
		t.Errorf("the first test is %+v", d)
	}
}

// failing brings an endpoint to where only one delivery at a time is tried.
func failing(t *testing.T, a *apptest.App, id string) (deliveries []managedDelivery) {
	t.Helper()
	for i := range 8 {
		a.Publish(offered, fmt.Sprint("old", i))
	}
	a.Await("the endpoint is failing", func() bool {
		attempts := 0
		deliveries = list[managedDelivery](a.API, "/deliveries?filter[endpointId]="+id)
		for _, d := range deliveries {
			attempts += d.AttemptCount
		}
		return attempts >= 5
	})
	a.Publish(offered, "waits-1")
	a.Publish(offered, "waits-2")
	return list[managedDelivery](a.API, "/deliveries?filter[status]=pending&filter[endpointId]="+id)
}

func TestARetryIsTriedNowAlsoOnAFailingLane(t *testing.T) {
	a := managed(t, retried(time.Hour, time.Hour, time.Hour))
	far := answering(500)
	receiver := apptest.NewReceiver(t, a.CA, far.answer)
	id := a.Register(receiver.URL)
	pending := failing(t, a, id)
	for _, d := range pending[:3] { // the two that were never tried, and one that was
		before := deliveryOf(t, a.API, d.ID)
		r := ask(t, a.API, "POST", "/deliveries/"+d.ID+"/retry", nil).want(t, http.StatusAccepted)
		var same managedDelivery
		if r.data(t, &same); same.ID != d.ID || same.RetryOf != "" {
			t.Errorf("the retry of a pending delivery is %+v", same)
		}
		a.Await("it is tried", func() bool { return deliveryOf(t, a.API, d.ID).AttemptCount == before.AttemptCount+1 })
	}
	var test managedDelivery
	ask(t, a.API, "POST", "/endpoints/"+id+"/test", nil).want(t, http.StatusAccepted).data(t, &test)
	a.Await("a test is tried", func() bool { return deliveryOf(t, a.API, test.ID).AttemptCount == 1 })
	far.status.Store(204)
	ask(t, a.API, "POST", "/deliveries/"+pending[1].ID+"/retry", nil).want(t, http.StatusAccepted)
	awaitDelivery(t, a.API, pending[1].ID, "delivered")
}

func TestARetryOfAnEndedDeliveryIsANewOne(t *testing.T) {
	a := managed(t, retried())
	far := answering(500)
	receiver := apptest.NewReceiver(t, a.CA, far.answer)
	id := a.Register(receiver.URL)
	event := a.Publish(offered, "i")
	receiver.Wait(1)
	var ended managedDelivery
	a.Await("it has failed", func() bool {
		l := list[managedDelivery](a.API, "/deliveries?filter[status]=failed")
		if len(l) == 1 {
			ended = l[0]
		}
		return len(l) == 1
	})
	far.status.Store(204)
	var again managedDelivery
	ask(t, a.API, "POST", "/deliveries/"+ended.ID+"/retry", nil).want(t, http.StatusAccepted).data(t, &again)
	if again.ID == ended.ID || again.RetryOf != ended.ID || again.EventID != event || again.EndpointID != id {
		t.Errorf("the retry is %+v", again)
	}
	got := receiver.Wait(2)
	if got[1].ID() != got[0].ID() || got[1].Header.Get("webhook-attempt") != "1" || string(got[1].Body) != string(got[0].Body) {
		t.Errorf("sent again with %v", got[1].Header)
	}
	awaitDelivery(t, a.API, again.ID, "delivered")
	if d := deliveryOf(t, a.API, ended.ID); d.Status != "failed" || d.AttemptCount != 1 {
		t.Errorf("the ended delivery became %+v", d)
	}
	// One that was delivered can be sent again, too.
	var third managedDelivery
	ask(t, a.API, "POST", "/deliveries/"+again.ID+"/retry", nil).want(t, http.StatusAccepted).data(t, &third)
	awaitDelivery(t, a.API, third.ID, "delivered")
	if n := len(list[struct{}](a.API, "/events/"+event+"/deliveries")); n != 3 {
		t.Errorf("the event has %d deliveries, want 3", n)
	}
	ask(t, stranger(t, a, "other"), "POST", "/deliveries/"+ended.ID+"/retry", nil).want(t, http.StatusNotFound)
	ask(t, a.API, "POST", "/deliveries/nothing/retry", nil).want(t, http.StatusNotFound)
	a.Call("DELETE", "/endpoints/"+id, nil, http.StatusNoContent, nil)
	ask(t, a.API, "POST", "/deliveries/"+ended.ID+"/retry", nil).want(t, http.StatusConflict)
}

// An ended delivery that is sent again does not wait for a later event of its
// issuance, which it would precede.
func TestARetryOfAnEndedDeliveryWaitsForNoLaterEvent(t *testing.T) {
	a := managed(t, retried(time.Hour))
	far := answering(204)
	receiver := apptest.NewReceiver(t, a.CA, far.answer)
	a.Register(receiver.URL)
	a.Publish(offered, "i")
	receiver.Wait(1)
	var first managedDelivery
	a.Await("it is delivered", func() bool {
		l := list[managedDelivery](a.API, "/deliveries?filter[status]=delivered")
		if len(l) == 1 {
			first = l[0]
		}
		return len(l) == 1
	})
	far.status.Store(500)
	a.Publish(completed, "i")
	a.Await("the next one waits for its retry", func() bool {
		l := list[managedDelivery](a.API, "/deliveries?filter[status]=pending")
		return len(l) == 1 && l[0].AttemptCount == 1
	})
	far.status.Store(204)
	var again managedDelivery
	ask(t, a.API, "POST", "/deliveries/"+first.ID+"/retry", nil).want(t, http.StatusAccepted).data(t, &again)
	awaitDelivery(t, a.API, again.ID, "delivered")
}

func TestADeletedEndpointsPendingDeliveriesAreCanceled(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	id := a.Register(receiver.URL)
	change(t, a.API, id, apptest.Object{"status": "disabled"})
	publish(t, a.API, many(250, offered, "i")...)
	some := list[managedDelivery](a.API, "/deliveries?filter[status]=pending")[7].ID
	a.Call("DELETE", "/endpoints/"+id, nil, http.StatusNoContent, nil)
	ask(t, a.API, "POST", "/deliveries/"+some+"/retry", nil).want(t, http.StatusConflict)
	ask(t, a.API, "GET", "/endpoints/"+id, nil).want(t, http.StatusNotFound)
	ask(t, a.API, "GET", "/endpoints/"+id+"/secret", nil).want(t, http.StatusNotFound)
	a.Await("all are canceled", func() bool { return len(list[struct{}](a.API, "/deliveries?filter[status]=canceled")) == 250 })
	if d := deliveryOf(t, a.API, some); d.Status != "canceled" || d.Reason != "endpoint_deleted" || d.EndpointID != id {
		t.Errorf("a canceled delivery is %+v", d)
	}
	if n := len(list[struct{}](a.API, "/deliveries?filter[endpointId]="+id)); n != 250 {
		t.Errorf("the deleted endpoint's history has %d deliveries", n)
	}
	if n := len(receiver.Received()); n != 0 {
		t.Errorf("%d webhooks were sent", n)
	}
}

type shownRecovery struct {
	ID, EndpointID, Status, Since, Until string
	Examined, Recovered                  int
	EndedAt                              *string
}

func awaitRecovery(t *testing.T, a *apptest.API, r shownRecovery) shownRecovery {
	t.Helper()
	a.Await("the recovery has ended", func() bool {
		a.Call("GET", "/endpoints/"+r.EndpointID+"/recoveries/"+r.ID, nil, http.StatusOK, &r)
		return r.Status == "completed"
	})
	return r
}

func TestRecoverSendsOnceWhatDidNotArrive(t *testing.T) {
	a := managed(t, retried())
	far := answering(204)
	receiver := apptest.NewReceiver(t, a.CA, far.answer)
	id := register(a.API, receiver.URL, offered)
	since := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	delivered := publish(t, a.API, many(3, offered, "delivered")...)
	a.Await("three are delivered", func() bool { return len(list[struct{}](a.API, "/deliveries?filter[status]=delivered")) == 3 })
	far.status.Store(500)
	lost := publish(t, a.API, many(300, offered, "lost")...)
	a.Await("all others have failed or wait behind a probe", func() bool { return len(list[struct{}](a.API, "/deliveries?filter[status]=failed")) >= 5 })
	never := publish(t, a.API, many(2, completed, "never")...)
	far.status.Store(204)
	change(t, a.API, id, apptest.Object{"filterTypes": []string{offered, completed}})

	var r shownRecovery
	ask(t, a.API, "POST", "/endpoints/"+id+"/recover", apptest.Object{"since": since}).want(t, http.StatusAccepted).data(t, &r)
	if r.ID == "" || r.EndpointID != id || r.Status != "running" || r.Since != since || r.EndedAt != nil {
		t.Errorf("a recovery begins as %+v", r)
	}
	a.Restart()
	r = awaitRecovery(t, a.API, r)
	if r.Examined != 306 || // with "failing", which nobody asked for
		r.Recovered < 7 || r.Recovered > 302 || r.EndedAt == nil {
		t.Errorf("the recovery ended as %+v", r)
	}
	// A test is tried at once, and finds that the endpoint is back.
	ask(t, a.API, "POST", "/endpoints/"+id+"/test", nil).want(t, http.StatusAccepted)
	awaitBacklog(t, a.API, id, 0)
	ok := map[string]int{}
	for _, d := range list[managedDelivery](a.API, "/deliveries?filter[status]=delivered") {
		ok[d.EventID]++
	}
	for _, event := range slices.Concat(delivered, lost, never) {
		if ok[event] != 1 {
			t.Errorf("%s was delivered %d times, want once", event, ok[event])
		}
	}
	again := r
	ask(t, a.API, "POST", "/endpoints/"+id+"/recover", apptest.Object{"since": since}).want(t, http.StatusAccepted).data(t, &again)
	if again = awaitRecovery(t, a.API, again); again.Recovered != 0 || again.ID == r.ID {
		t.Errorf("a second recovery recovers %+v", again)
	}
	ask(t, stranger(t, a, "other"), "GET", "/endpoints/"+id+"/recoveries/"+r.ID, nil).want(t, http.StatusNotFound)
	ask(t, a.API, "GET", "/endpoints/"+a.Register(receiver.URL)+"/recoveries/"+r.ID, nil).want(t, http.StatusNotFound)
}

func TestRecoverRefuses(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	id := a.Register(receiver.URL)
	old := time.Now().Add(-721 * time.Hour).UTC().Format(time.RFC3339)
	now := time.Now().UTC()
	for _, c := range []struct{ body, at string }{
		{`{}`, "/since"}, {`{"since":"x"}`, "/since"}, {`{"since":1}`, "/since"}, {`{"since":"2999-01-01T00:00:00Z"}`, "/since"}, {`{"since":"` + old + `"}`, "/since"},
		{`{"since":"` + now.Add(-time.Hour).Format(time.RFC3339) + `","until":"x"}`, "/until"},
		{`{"since":"` + now.Add(-time.Hour).Format(time.RFC3339) + `","until":"` + now.Add(-2*time.Hour).Format(time.RFC3339) + `"}`, "/since"},
	} {
		r := ask(t, a.API, "POST", "/endpoints/"+id+"/recover", c.body).want(t, http.StatusBadRequest)
		if at, _ := r.problem(); at != c.at {
			t.Errorf("%s points to %q, want %q", c.body, at, c.at)
		}
	}
	_, detail := ask(t, a.API, "POST", "/endpoints/"+id+"/recover", apptest.Object{"since": old}).problem()
	oldest := now.Add(-720 * time.Hour).Format("2006-01-02T15")
	if !contains([]byte(detail), oldest) && !contains([]byte(detail), now.Add(-719*time.Hour).Format("2006-01-02T15")) {
		t.Errorf("the refusal does not name the oldest time %s: %s", oldest, detail)
	}
	ask(t, a.API, "POST", "/endpoints/nobody/recover", apptest.Object{"since": now.Add(-time.Hour).Format(time.RFC3339)}).want(t, http.StatusNotFound)
}

func TestRecoverStaysWithinItsPeriod(t *testing.T) {
	a := managed(t)
	publish(t, a.API, many(3, offered, "before")...)
	lists := list[struct{ CreatedAt time.Time }](a.API, "/events")
	a.Await("the clock has moved on", func() bool { return time.Since(lists[2].CreatedAt) > 5*time.Millisecond })
	since := time.Now().UTC()
	a.Await("the clock has moved on", func() bool { return time.Since(since) > 5*time.Millisecond })
	within := publish(t, a.API, many(2, offered, "within")...)
	a.Await("the clock has moved on", func() bool { return time.Since(since) > 50*time.Millisecond })
	until := time.Now().UTC()
	a.Await("the clock has moved on", func() bool { return time.Since(until) > 5*time.Millisecond })
	publish(t, a.API, many(3, offered, "after")...)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	id := a.Register(receiver.URL)
	var r shownRecovery
	ask(t, a.API, "POST", "/endpoints/"+id+"/recover", apptest.Object{"since": since.Format(time.RFC3339Nano), "until": until.Format(time.RFC3339Nano)}).want(t, http.StatusAccepted).data(t, &r)
	if r = awaitRecovery(t, a.API, r); r.Recovered != 2 {
		t.Errorf("recovered %+v, want 2", r)
	}
	got := idsOf(receiver.Wait(2))
	slices.Sort(got)
	slices.Sort(within)
	if !slices.Equal(got, within) {
		t.Errorf("recovered %v, want %v", got, within)
	}
}
