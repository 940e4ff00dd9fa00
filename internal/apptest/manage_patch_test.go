package apptest_test

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
)

func TestPatchChangesEveryField(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	id := a.Register(receiver.URL)
	was := endpointOf(t, a.API, id)
	if was.Status != "enabled" || was.MaxInFlight != 8 || !slices.Equal(was.Signatures, []string{"v1"}) || was.Headers != nil || was.RetrySchedule != nil {
		t.Errorf("a new endpoint is shown as %+v", was)
	}
	got := change(t, a.API, id, apptest.Object{"url": receiver.URL + "/two", "filterTypes": []string{completed}, "description": "second",
		"headers": apptest.Object{"Authorization": "Bearer s3cr3t"}, "rateLimit": 2.5, "maxInFlight": 3, "retrySchedule": []int{7, 11}, "signatures": []string{"v1", "v1a"}})
	want := was
	want.URL, want.FilterTypes, want.Description, want.Headers = receiver.URL+"/two", []string{completed}, "second", map[string]string{"Authorization": "***"}
	want.RateLimit, want.MaxInFlight, want.RetrySchedule, want.Signatures = 2.5, 3, []int{7, 11}, []string{"v1", "v1a"}
	if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(endpointOf(t, a.API, id), want) {
		t.Errorf("changed to %+v, want %+v", got, want)
	}
	audited := actions(a.API, id)
	if got := change(t, a.API, id, apptest.Object{}); !reflect.DeepEqual(got, want) {
		t.Errorf("an empty patch changed it to %+v", got)
	}
	if now := actions(a.API, id); !slices.Equal(now, audited) {
		t.Errorf("the audit log tells of a patch that asked for nothing: %v, before it %v", now, audited)
	}
	got = change(t, a.API, id, apptest.Object{"filterTypes": []string{}, "description": "", "headers": apptest.Object{}, "rateLimit": 0, "retrySchedule": []int{}, "signatures": []string{"v1"}, "maxInFlight": 8})
	want = was
	want.URL = receiver.URL + "/two"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("emptied to %+v, want %+v", got, want)
	}
}

// A member that is null goes back to what it is by default, as in a JSON merge
// patch (RFC 7396).
func TestPatchWithNullGoesBackToTheDefault(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	id := a.Register(receiver.URL)
	was := endpointOf(t, a.API, id)
	change(t, a.API, id, apptest.Object{"filterTypes": []string{completed}, "description": "d", "headers": apptest.Object{"X-A": "1"},
		"rateLimit": 5, "maxInFlight": 2, "retrySchedule": []int{9}, "signatures": []string{"v1", "v1a"}})
	got := change(t, a.API, id, apptest.Object{"filterTypes": nil, "description": nil, "headers": nil, "rateLimit": nil, "maxInFlight": nil, "retrySchedule": nil, "signatures": nil})
	if !reflect.DeepEqual(got, was) {
		t.Errorf("null gives %+v, want %+v", got, was)
	}
	a.Publish(offered, "i")
	receiver.Wait(1)
	for _, member := range []string{"url", "status", "recoverSince"} {
		r := ask(t, a.API, "PATCH", "/endpoints/"+id, apptest.Object{member: nil}).want(t, http.StatusBadRequest)
		if at, _ := r.problem(); at != "/"+member {
			t.Errorf("%s null: %s", member, r.body)
		}
	}
}

func TestPatchRefusesWhatIsWrong(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	id := a.Register(receiver.URL)
	was := endpointOf(t, a.API, id)
	headers := func(name, value string) string {
		return fmt.Sprintf(`{"headers":{%q:%q}}`, name, value)
	}
	for _, c := range []struct{ body, at string }{
		{`{"colour":"red"}`, "/colour"}, {`{"id":"x"}`, "/id"}, {`{"url":1}`, "/url"}, {`{"url":""}`, "/url"}, {`{"url":"http://receiver.example/"}`, "/url"},
		{`{"url":"https://10.0.0.1/"}`, "/url"}, {`{"filterTypes":"x"}`, "/filterTypes"}, {`{"filterTypes":["nope"]}`, "/filterTypes/0"}, {`{"filterTypes":[1]}`, "/filterTypes/0"},
		{`{"description":true}`, "/description"}, {`{"description":"` + strings.Repeat("x", 501) + `"}`, "/description"},
		{`{"rateLimit":-1}`, "/rateLimit"}, {`{"rateLimit":0.001}`, "/rateLimit"}, {`{"rateLimit":10001}`, "/rateLimit"}, {`{"rateLimit":"1"}`, "/rateLimit"},
		{`{"maxInFlight":0}`, "/maxInFlight"}, {`{"maxInFlight":65}`, "/maxInFlight"}, {`{"maxInFlight":1.5}`, "/maxInFlight"},
		{`{"retrySchedule":[0]}`, "/retrySchedule/0"}, {`{"retrySchedule":[1,604801]}`, "/retrySchedule/1"}, {`{"retrySchedule":[1,-9223372036854775808]}`, "/retrySchedule/1"},
		{`{"retrySchedule":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}`, "/retrySchedule"},
		{`{"signatures":[]}`, "/signatures"}, {`{"signatures":["v1a"]}`, "/signatures"}, {`{"signatures":["v1a","v1"]}`, "/signatures"}, {`{"signatures":["v2"]}`, "/signatures"},
		{`{"status":"paused"}`, "/status"}, {`{"status":1}`, "/status"}, {`{"recoverSince":"disabledAt"}`, "/recoverSince"},
		{`{"status":"enabled","recoverSince":"disabledAt"}`, "/recoverSince"}, {`{"status":"enabled","recoverSince":"yesterday"}`, "/recoverSince"},
		{`{"status":"enabled","recoverSince":"2999-01-01T00:00:00Z"}`, "/recoverSince"}, {`{"status":"enabled","recoverSince":"2025-01-01T00:00:00Z"}`, "/recoverSince"},
		{`{"status":"disabled","recoverSince":"` + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) + `"}`, "/recoverSince"},
		{headers("Host", "x"), "/headers/Host"}, {headers("webhook-id", "x"), "/headers/webhook-id"}, {headers("Webhook-Test", "x"), "/headers/Webhook-Test"}, {headers("connection", "x"), "/headers/connection"},
		{headers("Transfer-Encoding", "chunked"), "/headers/Transfer-Encoding"}, {headers("te", "x"), "/headers/te"}, {headers("content-length", "1"), "/headers/content-length"},
		{headers("x-a", "one\r\ntwo: 2"), "/headers/x-a"}, {headers("x-a", "one\ntwo"), "/headers/x-a"}, {headers("a b", "x"), "/headers/a b"}, {headers("a/b", "x"), "/headers/a~1b"}, {headers("", "x"), "/headers/"},
		{`{"headers":{"x-a":"1","X-A":"2"}}`, "/headers/x-a"}, {`{"headers":{"x-a":1}}`, "/headers/x-a"}, {`{"headers":[]}`, "/headers"},
	} {
		r := ask(t, a.API, "PATCH", "/endpoints/"+id, c.body)
		if at, _ := r.problem(); r.status != http.StatusBadRequest || at != c.at {
			t.Errorf("%.80s gives %d and points to %q, want 400 and %q: %s", c.body, r.status, at, c.at, r.body)
		}
	}
	ask(t, a.API, "PATCH", "/endpoints/"+id, "[]").want(t, http.StatusBadRequest)
	ask(t, a.API, "PATCH", "/endpoints/"+id, "").want(t, http.StatusBadRequest)
	ask(t, a.API, "PATCH", "/endpoints/nobody", `{"description":"x"}`).want(t, http.StatusNotFound)
	ask(t, stranger(t, a, "other"), "PATCH", "/endpoints/"+id, `{"description":"x"}`).want(t, http.StatusNotFound)
	if got := endpointOf(t, a.API, id); !reflect.DeepEqual(got, was) {
		t.Errorf("refused patches changed the endpoint to %+v", got)
	}
}

func TestAPausedEndpointCollectsAndDrainsInOrder(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	id := a.Register(receiver.URL)
	e := change(t, a.API, id, apptest.Object{"status": "disabled"})
	if e.Status != "disabled" || e.DisabledReason != "manual" || e.DisabledAt == "" {
		t.Errorf("a paused endpoint is shown as %+v", e)
	}
	first := change(t, a.API, id, apptest.Object{"status": "disabled"}).DisabledAt
	if first != e.DisabledAt {
		t.Errorf("pausing twice moves disabledAt from %s to %s", e.DisabledAt, first)
	}
	var want []string
	for range 12 {
		want = append(want, a.Publish(offered, "the-issuance"))
	}
	if e := endpointOf(t, a.API, id); e.Backlog.Count != 12 || e.Backlog.OldestAt == "" {
		t.Errorf("the backlog is %+v, want 12", e.Backlog)
	}
	other := apptest.NewReceiver(t, a.CA, nil)
	control := a.Register(other.URL)
	a.Publish(completed, "another")
	other.Wait(1)
	if got := receiver.Received(); len(got) != 0 {
		t.Fatalf("%d webhooks reached a paused endpoint", len(got))
	}
	a.Restart()
	a.Publish(completed, "another")
	other.Wait(2)
	if got := receiver.Received(); len(got) != 0 {
		t.Fatalf("%d webhooks reached a paused endpoint after a restart", len(got))
	}
	e = change(t, a.API, id, apptest.Object{"status": "enabled", "rateLimit": 20})
	if e.Status != "enabled" || e.DisabledReason != "" || e.DisabledAt != "" {
		t.Errorf("an enabled endpoint is shown as %+v", e)
	}
	got := receiver.Wait(14)
	var about []string
	for _, r := range got {
		if contains(r.Body, "the-issuance") {
			about = append(about, r.ID())
		}
	}
	if !slices.Equal(about, want) {
		t.Errorf("drained in the order %v, want %v", about, want)
	}
	if took := got[13].At.Sub(got[0].At); took < 12*time.Second/20 {
		t.Errorf("14 webhooks drained in %v, want at most 20 a second", took)
	}
	awaitBacklog(t, a.API, id, 0)
	a.Call("DELETE", "/endpoints/"+control, nil, http.StatusNoContent, nil)
}

func TestAChangedURLTakesTheBacklogAlong(t *testing.T) {
	a := managed(t, func(c *app.Config) { c.RetrySchedule = []time.Duration{time.Second, time.Second, time.Second} })
	broken := apptest.NewReceiver(t, a.CA, func(w http.ResponseWriter, _ *http.Request, _ apptest.Received) { w.WriteHeader(500) })
	good := apptest.NewReceiver(t, a.CA, nil)
	id := a.Register(broken.URL)
	ids := publish(t, a.API, many(3, offered, "i")...)
	broken.Wait(3)
	before := len(endpointOf(t, a.API, id).URL)
	change(t, a.API, id, apptest.Object{"url": good.URL})
	got := good.Until(func(got []apptest.Received) bool {
		seen := map[string]bool{}
		for _, r := range got {
			seen[r.ID()] = true
		}
		return len(seen) == 3
	})
	for _, r := range got {
		if !slices.Contains(ids, r.ID()) || r.Header.Get("webhook-attempt") == "1" {
			t.Errorf("the new URL got %s, attempt %s", r.ID(), r.Header.Get("webhook-attempt"))
		}
	}
	awaitBacklog(t, a.API, id, 0)
	if before == 0 {
		t.Error("the endpoint had no URL")
	}
}

func TestHeadersAreSentAndNeverShown(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	var e struct{ ID string }
	made := ask(t, a.API, "POST", "/endpoints", apptest.Object{"url": receiver.URL, "headers": apptest.Object{"Authorization": "Bearer s3cr3t", "X-Empty": "", "x-lower": "blank inside"}}).want(t, http.StatusCreated)
	made.data(t, &e)
	secretFree(t, "the new endpoint", made.body, "s3cr3t")
	a.Publish(offered, "i")
	h := receiver.Wait(1)[0].Header
	if h.Get("Authorization") != "Bearer s3cr3t" || h.Get("X-Lower") != "blank inside" || h["X-Empty"] == nil {
		t.Errorf("sent with the headers %v", h)
	}
	for _, path := range []string{"/endpoints/" + e.ID, "/endpoints", "/audit"} {
		secretFree(t, path, ask(t, a.API, "GET", path, nil).want(t, http.StatusOK).body, "s3cr3t")
	}
	if got := change(t, a.API, e.ID, apptest.Object{"url": receiver.URL + "/elsewhere"}); got.Headers["Authorization"] != "***" {
		t.Errorf("the same host loses the headers: %v", got.Headers)
	}
	elsewhere := apptest.NewReceiver(t, a.CA, nil)
	if got := change(t, a.API, e.ID, apptest.Object{"url": elsewhere.URL}); len(got.Headers) != 0 {
		t.Errorf("another host gets the headers %v", got.Headers)
	}
	a.Publish(offered, "j")
	if h := elsewhere.Wait(1)[0].Header; h.Get("Authorization") != "" || h["X-Empty"] != nil {
		t.Errorf("another host got the headers %v", h)
	}
	got := change(t, a.API, e.ID, apptest.Object{"url": receiver.URL, "headers": apptest.Object{"X-New": "n"}})
	if !reflect.DeepEqual(got.Headers, map[string]string{"X-New": "***"}) {
		t.Errorf("headers that come with the new URL are shown as %v", got.Headers)
	}
	secretFree(t, "the log", []byte(a.Logs.String()), "s3cr3t")
}

func TestFilterTypesChange(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	id := register(a.API, receiver.URL, completed)
	a.Publish(offered, "unwanted")
	change(t, a.API, id, apptest.Object{"filterTypes": []string{offered}})
	a.Publish(completed, "unwanted")
	a.Publish(offered, "wanted-1")
	change(t, a.API, id, apptest.Object{"filterTypes": []string{}})
	a.Publish(expired, "wanted-2")
	for _, r := range receiver.Wait(2) {
		if !contains(r.Body, "wanted-") {
			t.Errorf("got %s", r.Body)
		}
	}
	if n := len(list[struct{}](a.API, "/deliveries")); n != 2 {
		t.Errorf("%d deliveries were made, want 2", n)
	}
}

func TestEnablingRecoversSince(t *testing.T) {
	for _, since := range []string{"disabledAt", "firstFailureAt", "time"} {
		t.Run(since, func(t *testing.T) {
			a := managed(t, func(c *app.Config) { c.RetrySchedule = []time.Duration{} })
			status := make(chan int, 1)
			status <- 500
			receiver := apptest.NewReceiver(t, a.CA, func(w http.ResponseWriter, _ *http.Request, _ apptest.Received) {
				s := <-status
				status <- s
				w.WriteHeader(s)
			})
			id := a.Register(receiver.URL)
			before := time.Now().UTC()
			lost := a.Publish(offered, "lost")
			a.Await("it has failed", func() bool { return len(list[struct{}](a.API, "/deliveries?filter[status]=failed")) == 1 })
			change(t, a.API, id, apptest.Object{"status": "disabled", "filterTypes": []string{completed}})
			never := a.Publish(offered, "never-made")
			waits := a.Publish(completed, "waits")
			<-status
			status <- 204
			at, want := since, []string{lost, never, waits}
			switch since {
			case "time":
				at = before.Format("2006-01-02T15:04:05.000Z")
			case "disabledAt":
				want = []string{never, waits}
			}
			change(t, a.API, id, apptest.Object{"status": "enabled", "filterTypes": nil, "recoverSince": at})
			receiver.Wait(1 + len(want))
			a.Await("the recovery has ended and all is sent", func() bool {
				return endpointOf(t, a.API, id).Backlog.Count == 0 && len(list[struct{}](a.API, "/deliveries?filter[status]=delivered")) == len(want)
			})
			got := idsOf(receiver.Received())[1:]
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("recovered %v, want %v", got, want)
			}
		})
	}
}
