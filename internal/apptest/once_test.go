package apptest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/server"
)

// growing is a server whose lists grow while they are read.
type growing struct {
	*apptest.App
	receiver           *apptest.Receiver
	endpoint, issuance string
	template, code     string
	event, delivery    string // an event with a delivery for each endpoint, one of which has ended
	added              int
}

// newGrowing makes a few of everything. One endpoint is disabled, so that its
// deliveries stay pending; the others' end while the lists are read.
func newGrowing(t *testing.T) *growing {
	g := &growing{App: apptest.New(t, func(c *app.Config) { c.Sandbox = true })}
	g.receiver = apptest.NewReceiver(t, g.CA, nil)
	var disabled string
	for range 5 {
		disabled, g.endpoint = g.endpoint, g.add("endpoint")
	}
	g.Call("PATCH", "/endpoints/"+disabled, apptest.Object{"status": "disabled"}, http.StatusOK, nil)
	for range 6 {
		g.template, g.code = g.add("template"), fmt.Sprint("Code", g.added)
	}
	for range 6 {
		g.issuance = g.add("issuance")
		g.event = g.add("event")
	}
	apptest.Await(t, "a delivery has ended", func() bool {
		for _, d := range list[struct{ ID, Status string }](g.API, "/events/"+g.event+"/deliveries") {
			if d.Status == "delivered" {
				g.delivery = d.ID
			}
		}
		return g.delivery != ""
	})
	return g
}

// add makes one more of a kind. Issuances end at once, so that lists by status
// grow, too; a delivery is sent again.
func (g *growing) add(kind string) string {
	g.added++
	var made struct{ ID string }
	switch kind {
	case "endpoint":
		g.Call("POST", "/endpoints", apptest.Object{"url": fmt.Sprint(g.receiver.URL, "/", g.added)}, http.StatusCreated, &made)
	case "template":
		g.Call("POST", "/templates/credentials", apptest.Object{"name": fmt.Sprint("Membership ", g.added%3), "code": fmt.Sprint("Code", g.added), "credentialFormat": "sd-jwt",
			"attributes": apptest.Object{"given_name": apptest.Object{"type": "string"}}}, http.StatusCreated, &made)
	case "issuance":
		g.Call("POST", "/credentials/issuance", apptest.Object{"credentialTemplateId": g.template, "attributes": apptest.Object{"given_name": "Zainab"}}, http.StatusCreated, &made)
		g.Call("POST", "/credentials/"+made.ID+"/simulate", apptest.Object{"outcome": "expired"}, http.StatusOK, nil)
	case "event":
		made.ID = g.Publish("openid4vc.issuance.completed", "order-1")
	case "delivery":
		g.Call("POST", "/deliveries/"+g.delivery+"/retry", nil, http.StatusAccepted, &made)
	}
	return made.ID
}

// selection is what a list is asked for, and how many items it has at least.
type selection struct {
	query url.Values
	least int
}

// selections gives the ways to read a list: as it is, by each value of each
// filter, in each order, and by a search.
func (g *growing) selections(t *testing.T, r server.Route) []selection {
	id := g.issuance
	if r.Pattern == "/templates/credentials" {
		id = g.template
	}
	type example struct {
		value string
		least int
	}
	open := map[string]example{ // filters that take any value
		"issuanceId": {"order-1", 4}, "endpointId": {g.endpoint, 4}, "eventId": {g.event, 4}, "credentialTemplateId": {g.template, 4},
		"since": {time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), 4}, "type": {g.code, 1}, "id": {id, 1},
	}
	out := []selection{{url.Values{}, 4}}
	for _, order := range append([]string{r.Sort}, r.Sorts...) {
		out = append(out, selection{url.Values{"sort": {order}}, 4})
	}
	if r.Search {
		out = append(out, selection{url.Values{"search[name]": {"membership"}}, 4})
	}
	for _, f := range r.Filters {
		name := "filter[" + f.Name + "]"
		for _, value := range f.Values {
			out = append(out, selection{url.Values{name: {value}}, 0})
		}
		if f.Values != nil {
			continue
		}
		known, ok := open[f.Name]
		if !ok {
			t.Fatalf("%s takes the filter %s, of which this test knows no value", r.Pattern, f.Name)
		}
		out = append(out, selection{url.Values{name: {known.value}}, known.least})
	}
	return out
}

// listPage reads one page.
func listPage(t *testing.T, a *apptest.API, path string) (ids []string, next, prev string) {
	t.Helper()
	status, answer, err := a.Request("GET", path, nil)
	var page struct {
		Data  []struct{ ID string }
		Links struct{ Next, Prev string }
	}
	if err != nil || status != http.StatusOK || json.Unmarshal(answer, &page) != nil {
		t.Fatalf("GET %s: %d, %v: %s", path, status, err, answer)
	}
	for _, item := range page.Data {
		ids = append(ids, item.ID)
	}
	return ids, strings.TrimPrefix(page.Links.Next, server.Prefix), strings.TrimPrefix(page.Links.Prev, server.Prefix)
}

// pages reads a list to its end in one direction. Between its first pages,
// items are added.
func pages(t *testing.T, a *apptest.API, path string, backwards bool, grow func()) (ids []string) {
	t.Helper()
	if backwards { // begins on the last page
		for next := path; next != ""; {
			path = next
			_, next, _ = listPage(t, a, path)
		}
	}
	for n := 0; path != ""; n++ {
		got, next, prev := listPage(t, a, path)
		ids = append(ids, got...)
		if path = next; backwards {
			path = prev
		}
		if n < 3 {
			grow()
		}
	}
	return ids
}

// Every list, with every filter and in every order, gives each item exactly
// once to whoever reads it page by page in either direction, while items are
// added and deliveries end. The lists are those of the table of routes.
func TestEveryListGivesEachItemOnceWhileItGrows(t *testing.T) {
	adds := map[string][]string{ // what adds to a list
		"/endpoints": {"endpoint"}, "/events": {"event"}, "/deliveries": {"event", "delivery"}, "/events/{id}/deliveries": {"delivery"},
		"/audit": {"endpoint"}, "/templates/credentials": {"template"}, "/credentials": {"issuance"},
	}
	for _, r := range server.Table() {
		if !r.List {
			continue
		}
		t.Run(r.Pattern, func(t *testing.T) {
			kinds := adds[r.Pattern]
			if kinds == nil {
				t.Fatal("this test does not know what adds to this list")
			}
			g := newGrowing(t)
			grow := func() {
				for _, kind := range kinds {
					g.add(kind)
				}
			}
			items := map[string]int{} // by parameter
			for _, s := range g.selections(t, r) {
				path := strings.ReplaceAll(r.Pattern, "{id}", g.event) + "?" + s.query.Encode()
				for _, backwards := range []bool{false, true} {
					n := readWhileItGrows(t, g.API, path, backwards, grow)
					if n < s.least {
						t.Errorf("%s has only %d items", path, n)
					}
					for name := range s.query {
						items[name] += n
					}
				}
			}
			for name, n := range items {
				if n == 0 {
					t.Errorf("no value of %s selects anything", name)
				}
			}
		})
	}
}

// readWhileItGrows reads a list and tells how many items it had from before to
// after that.
func readWhileItGrows(t *testing.T, a *apptest.API, path string, backwards bool, grow func()) (kept int) {
	t.Helper()
	before := pages(t, a, path+"&page[size]=100", false, func() {})
	got := pages(t, a, path+fmt.Sprint("&page[size]=", min(100, 1+len(before)/4)), backwards, grow)
	after := pages(t, a, path+"&page[size]=100", false, func() {})
	times := map[string]int{}
	for _, id := range got {
		if times[id]++; times[id] == 2 {
			t.Errorf("%s, backwards %t: %s came twice", path, backwards, id)
		}
	}
	for _, id := range before {
		if !slices.Contains(after, id) {
			continue // a delivery that ended is not pending any more
		}
		if kept++; times[id] == 0 {
			t.Errorf("%s, backwards %t: %s did not come", path, backwards, id)
		}
	}
	return kept
}
