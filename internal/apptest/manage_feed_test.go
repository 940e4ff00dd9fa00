package apptest_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
)

// follow reads an event stream until enough has come or it ends, and gives the
// ids in order.
func follow(t *testing.T, a *apptest.API, last string, n int) (ids []string) {
	t.Helper()
	request, err := http.NewRequest("GET", a.URL+"/me-creds/api/events/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+a.Token())
	if last != "" {
		request.Header.Set("Last-Event-ID", last)
	}
	patient := &http.Client{Transport: a.HTTP.Transport}
	answer, err := patient.Do(request)
	if err != nil {
		return nil // the server is being started again
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("the stream: status %d, %v", answer.StatusCode, answer.Header)
		return nil
	}
	lines := bufio.NewScanner(answer.Body)
	id := ""
	for len(ids) < n && lines.Scan() {
		if next, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			id = next
		}
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var e struct{ ID, EventType string }
			if json.Unmarshal([]byte(data), &e) != nil || e.ID != id || e.EventType == "" {
				t.Errorf("the stream shows %q under the id %s", data, id)
			}
		}
		if lines.Text() == "" && id != "" {
			ids, id = append(ids, id), ""
		}
	}
	return ids
}

func TestAStreamLosesAndRepeatsNothingOverARestart(t *testing.T) {
	a := managed(t)
	first := a.Publish(offered, "first")
	var want []string
	add := func(n int, name string) {
		for i := range n {
			want = append(want, a.Publish(offered, fmt.Sprint(name, i)))
		}
	}
	add(150, "before") // more than a page
	got := follow(t, a.API, first, 40)
	api := a.API
	var part []string
	var reader sync.WaitGroup
	reader.Go(func() { part = follow(t, api, got[len(got)-1], 1000) })
	add(60, "during")
	begin := time.Now()
	a.Restart() // ends the stream
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("with a stream open the stop took %v", took)
	}
	reader.Wait()
	got = append(got, part...)
	add(30, "after")
	got = append(got, follow(t, a.API, got[len(got)-1], len(want)-len(got))...)
	if !slices.Equal(got, want) {
		t.Errorf("streamed %d events, want %d in the order of their acceptance", len(got), len(want))
	}
	var feed []string
	for _, e := range list[struct{ ID string }](a.API, "/events?page[size]=7") {
		feed = append(feed, e.ID)
	}
	if !slices.Equal(feed, append([]string{first}, want...)) {
		t.Errorf("the feed has %d events, want %d in the same order", len(feed), len(want)+1)
	}
	for _, last := range []string{"nothing", "cm7d9cq5600pwk3zq3kmpg8uc"} {
		ask(t, a.API, "GET", "/events/stream", nil, "Last-Event-ID", last).want(t, http.StatusBadRequest)
	}
	ask(t, stranger(t, a, "other"), "GET", "/events/stream", nil, "Last-Event-ID", first).want(t, http.StatusBadRequest)
}

func TestListsGiveEachItemOnceWhileItemsAreAdded(t *testing.T) {
	a := managed(t)
	receiver := apptest.NewReceiver(t, a.CA, nil)
	id := a.Register(receiver.URL)
	old := publish(t, a.API, many(60, offered, "old")...)
	receiver.Wait(60)
	for _, path := range []string{"/events?", "/deliveries?", "/deliveries?filter[endpointId]=" + id + "&", "/deliveries?filter[eventType]=" + offered + "&"} {
		seen := map[string]int{}
		next := path + "page[size]=9"
		for next != "" {
			r := ask(t, a.API, "GET", next, nil).want(t, http.StatusOK)
			var page struct {
				Data  []struct{ ID, EventID string }
				Links struct{ Next string }
			}
			if err := json.Unmarshal(r.body, &page); err != nil {
				t.Fatal(err)
			}
			for _, item := range page.Data {
				if item.EventID == "" {
					item.EventID = item.ID
				}
				seen[item.EventID]++
			}
			if next = strings.TrimPrefix(page.Links.Next, "/me-creds/api"); len(seen) < 60 {
				a.Publish(offered, "new")
			}
		}
		for _, event := range old {
			if seen[event] != 1 {
				t.Errorf("%s gives an event %d times, want once", path, seen[event])
			}
		}
		for event, n := range seen {
			if n != 1 {
				t.Errorf("%s gives %s %d times", path, event, n)
			}
		}
	}
}

// The endpoints can be deleted page by page: a cursor outlives its endpoint.
func TestEndpointsCanBeDeletedPageByPage(t *testing.T) {
	a := managed(t)
	for range 5 {
		a.Register("https://receiver.example/")
	}
	next := "/endpoints?page[size]=2"
	deleted := 0
	for next != "" {
		var page struct {
			Data  []struct{ ID string }
			Links struct{ Next string }
		}
		if err := json.Unmarshal(ask(t, a.API, "GET", next, nil).want(t, http.StatusOK).body, &page); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Data {
			a.Call("DELETE", "/endpoints/"+e.ID, nil, http.StatusNoContent, nil)
			deleted++
		}
		next = strings.TrimPrefix(page.Links.Next, "/me-creds/api")
	}
	if deleted != 5 {
		t.Errorf("%d of 5 deleted", deleted)
	}
}

func TestAnIdempotencyKeyMakesOneThing(t *testing.T) {
	a, clock := managedAt(t)
	other := stranger(t, a, "other")
	receiver := apptest.NewReceiver(t, a.CA, nil)
	id := a.Register(receiver.URL)
	a.Publish(offered, "i")
	receiver.Wait(1)
	var delivery string
	a.Await("it is delivered", func() bool {
		l := list[managedDelivery](a.API, "/deliveries?filter[status]=delivered")
		if len(l) == 1 {
			delivery = l[0].ID
		}
		return len(l) == 1
	})
	var template struct{ ID string }
	body := apptest.Object{"name": "T", "code": "t", "attributes": apptest.Object{"a": apptest.Object{"type": "string"}}}
	r := ask(t, a.API, "POST", "/templates/credentials", body)
	if r.want(t, http.StatusCreated).data(t, &template); template.ID == "" {
		t.Fatalf("%s", r.body)
	}
	since := clock.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	for i, c := range []struct {
		path       string
		one, other any
		count      string
	}{
		{"/endpoints", apptest.Object{"url": receiver.URL, "headers": apptest.Object{"x": "s3cr3t"}}, apptest.Object{"url": receiver.URL + "/b"}, "/endpoints"},
		{"/templates/credentials", coded(body, "u"), coded(body, "v"), "/templates/credentials"},
		{"/credentials/issuance", apptest.Object{"credentialTemplateId": template.ID, "attributes": apptest.Object{"a": "x"}}, apptest.Object{"credentialTemplateId": template.ID, "attributes": apptest.Object{"a": "y"}}, "/credentials"},
		{"/events", event(completed, "j"), event(completed, "k"), "/events"},
		{"/events", []apptest.Object{event(completed, "j"), event(completed, "l")}, []apptest.Object{event(completed, "j")}, "/events"},
		{"/endpoints/" + id + "/test", apptest.Object{"eventType": completed}, apptest.Object{"eventType": offered}, "/deliveries"},
		{"/endpoints/" + id + "/recover", apptest.Object{"since": since}, apptest.Object{"since": since, "until": since}, ""},
		{"/deliveries/" + delivery + "/retry", nil, nil, "/deliveries"},
	} {
		key := fmt.Sprint("key-", i)
		first := ask(t, a.API, "POST", c.path, c.one, "Idempotency-Key", key)
		if first.status/100 != 2 {
			t.Errorf("%s: %d %s", c.path, first.status, first.body)
			continue
		}
		count := func() int { return len(list[struct{}](a.API, c.count)) }
		before := count()
		again := ask(t, a.API, "POST", c.path, c.one, "Idempotency-Key", key)
		if again.status != first.status || madeBy(t, again) != madeBy(t, first) || count() != before {
			t.Errorf("%s again: %d %s, first %s; %d items, then %d", c.path, again.status, again.body, first.body, before, count())
		}
		secretFree(t, c.path, again.body, "s3cr3t")
		if c.other != nil {
			ask(t, a.API, "POST", c.path, c.other, "Idempotency-Key", key).want(t, http.StatusConflict)
		}
		if count() != before {
			t.Errorf("%s: a refused request made something", c.path)
		}
		if c.path == "/endpoints" || c.path == "/events" {
			if r := ask(t, other, "POST", c.path, c.other, "Idempotency-Key", key); r.status != first.status {
				t.Errorf("%s: another organisation's key: %d %s", c.path, r.status, r.body)
			}
		}
	}
	for _, key := range []string{strings.Repeat("k", 256), "a b"} {
		ask(t, a.API, "POST", "/events", event(offered, "i"), "Idempotency-Key", key).want(t, http.StatusBadRequest)
	}
	both := event(offered, "i")
	both["idempotencyKey"] = "x"
	ask(t, a.API, "POST", "/events", both, "Idempotency-Key", "y").want(t, http.StatusBadRequest)

}

func TestAnIdempotencyKeyIsFreeAfterADay(t *testing.T) {
	a, clock := managedAt(t)
	first := madeBy(t, ask(t, a.API, "POST", "/events", event(offered, "z"), "Idempotency-Key", "day"))
	clock.Advance(24*time.Hour + time.Second)
	fresh := a.As(apptest.ClientID, apptest.ClientSecret)
	if r := ask(t, fresh, "POST", "/events", event(offered, "another"), "Idempotency-Key", "day").want(t, http.StatusAccepted); madeBy(t, r) == first {
		t.Error("after a day the key is not free")
	}
}

// Whoever repeats a request need not know what has become of its endpoint since.
func TestARepeatOutlivesItsEndpoint(t *testing.T) {
	a := managed(t)
	id := a.Register(apptest.NewReceiver(t, a.CA, nil).URL)
	test := ask(t, a.API, "POST", "/endpoints/"+id+"/test", nil, "Idempotency-Key", "k").want(t, http.StatusAccepted)
	var d managedDelivery
	test.data(t, &d)
	awaitDelivery(t, a.API, d.ID, "delivered")
	since := apptest.Object{"since": time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)}
	recovery := ask(t, a.API, "POST", "/endpoints/"+id+"/recover", since, "Idempotency-Key", "k").want(t, http.StatusAccepted)
	retry := ask(t, a.API, "POST", "/deliveries/"+d.ID+"/retry", nil, "Idempotency-Key", "k").want(t, http.StatusAccepted)
	ask(t, a.API, "DELETE", "/endpoints/"+id, nil).want(t, http.StatusNoContent)
	for _, c := range []struct {
		path  string
		body  any
		first reply
	}{
		{"/endpoints/" + id + "/test", nil, test}, {"/endpoints/" + id + "/recover", since, recovery}, {"/deliveries/" + d.ID + "/retry", nil, retry},
	} {
		if again := ask(t, a.API, "POST", c.path, c.body, "Idempotency-Key", "k"); again.status != http.StatusAccepted || madeBy(t, again) != madeBy(t, c.first) {
			t.Errorf("%s again: %d %s, first %s", c.path, again.status, again.body, c.first.body)
		}
	}
}

// coded gives a template with another code.
func coded(template apptest.Object, code string) apptest.Object {
	other := maps.Clone(template)
	other["code"] = code
	return other
}

// madeBy gives the ids of what a request made.
func madeBy(t *testing.T, r reply) string {
	t.Helper()
	var one struct{ ID string }
	var more []struct{ ID string }
	if unmarshalData(r.body, &one) != nil {
		r.data(t, &more)
	}
	return one.ID + fmt.Sprint(more)
}

func TestQuotas(t *testing.T) {
	a := managed(t, func(c *app.Config) { c.QuotaEndpoints, c.QuotaEvents, c.QuotaRequests = 2, 1, 40 })
	other := stranger(t, a, "other")
	limited := func(r reply) {
		t.Helper()
		if r.want(t, http.StatusTooManyRequests); r.header.Get("Retry-After") == "" || r.header.Get("Retry-After") == "0" {
			t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
		}
	}
	for range 2 {
		a.Register("https://receiver.example/")
	}
	limited(ask(t, a.API, "POST", "/endpoints", apptest.Object{"url": "https://receiver.example/"}))
	other.Register("https://receiver.example/")
	publish(t, a.API, many(1000, offered, "i")...)
	limited(ask(t, a.API, "POST", "/events", many(100, offered, "i")))
	other.Publish(offered, "i")
	var last reply
	for range 2000 {
		if last = ask(t, a.API, "GET", "/events/nothing", nil); last.status == http.StatusTooManyRequests {
			break
		}
	}
	limited(last)
	ask(t, other, "GET", "/endpoints", nil).want(t, http.StatusOK)
}

func TestReadyzTellsOfTheStore(t *testing.T) {
	a := managed(t)
	ready := func() (text string) {
		answer, err := a.HTTP.Get(a.URL + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		var body any
		if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("status %d, %v", answer.StatusCode, err)
		}
		raw, _ := json.Marshal(body) // of what was read as JSON
		return string(raw)
	}
	if text := ready(); !strings.Contains(text, `"bytes":`) || !strings.Contains(text, `"freeBytes":`) || !strings.Contains(text, `"oldestEventAt":null`) {
		t.Errorf("/readyz: %s", text)
	}
	a.Publish(offered, "i")
	at := list[struct{ CreatedAt string }](a.API, "/events")[0].CreatedAt
	if text := ready(); !strings.Contains(text, `"oldestEventAt":"`+at+`"`) {
		t.Errorf("/readyz: %s, want %s", text, at)
	}
}
