package server_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// walk follows a list's links and gives the ids of each page.
func (w *world) walk(path, link string) (pages [][]string) {
	w.t.Helper()
	for path != "" && len(pages) < 100 {
		a := w.get("//" + strings.TrimPrefix(path, "/")).want(200)
		if page := ids(a.items()); len(page) > 0 {
			pages = append(pages, page)
		}
		links := a.body()["links"].(map[string]any)
		if self, _ := links["self"].(string); !strings.HasPrefix(self, "/me-creds/api/") {
			w.t.Errorf("links.self is %q", self)
		}
		meta := a.body()["meta"].(map[string]any)["page"].(map[string]any)
		next, _ := links["next"].(string)
		prev, _ := links["prev"].(string)
		if meta["hasNext"] != (next != "") || meta["hasPrev"] != (prev != "") {
			w.t.Errorf("%s: meta %v and links %v differ", path, meta, links)
		}
		path, _ = links[link].(string)
	}
	return pages
}

// Walking through a list in either direction gives each item once, in order.
func TestPaging(t *testing.T) {
	w := newWorld(t)
	template := w.template("T0")
	for i := range 7 {
		w.clock.advance(time.Second)
		w.endpoint(fmt.Sprint(i))
		w.issuance(template)
		if i > 0 {
			w.template(fmt.Sprintf("T%d", i))
		}
	}
	event := w.event("one") // seven deliveries, one for each endpoint
	for _, path := range []string{"/endpoints", "/events", "/deliveries", "/templates/credentials", "/credentials",
		"/events/" + event + "/deliveries", "/deliveries?filter[eventId]=" + event, "/credentials?filter[status]=offered"} {
		join := "?"
		if strings.Contains(path, "?") {
			join = "&"
		}
		all := ids(w.get(path + join + "page[size]=100").want(200).items())
		if len(all) < 7 {
			t.Fatalf("%s has only %d items", path, len(all))
		}
		for _, size := range []int{1, 3, 7, 8} {
			forward := w.walk("/me-creds/api"+path+join+fmt.Sprintf("page[size]=%d", size), "next")
			if got := slices.Concat(forward...); !slices.Equal(got, all) {
				t.Errorf("%s by %d: got %v, want %v", path, size, got, all)
			}
			last := all[len(all)-1]
			back := w.walk("/me-creds/api"+path+join+fmt.Sprintf("page[size]=%d&page[before]=%s", size, last), "prev")
			slices.Reverse(back)
			if got := append(slices.Concat(back...), last); !slices.Equal(got, all) {
				t.Errorf("%s back by %d: got %v, want %v", path, size, got, all)
			}
		}
	}
}

// What is added while somebody walks neither repeats nor hides an item.
func TestPagingWhileItGrows(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.event(fmt.Sprint("before-", i))
	}
	var seen []string
	path := "/events?page[size]=2"
	for i := 0; path != "" && i < 20; i++ {
		a := w.get(path).want(200)
		seen = append(seen, ids(a.items())...)
		if i < 2 {
			w.event(fmt.Sprint("meanwhile-", i))
		}
		next, _ := a.body()["links"].(map[string]any)["next"].(string)
		path = strings.TrimPrefix(next, "/me-creds/api")
	}
	if all := ids(w.get("/events?page[size]=100").items()); !slices.Equal(seen, all) {
		t.Errorf("saw %v, want %v", seen, all)
	}
}

func TestPageMembers(t *testing.T) {
	w := newWorld(t)
	if a := w.get("/endpoints").want(200); a.text != `{"data":[],"links":{"self":"/me-creds/api/endpoints"},"meta":{"page":{"size":100,"hasNext":false,"hasPrev":false}}}` {
		t.Errorf("an empty list is %s", a.text)
	}
	for i := range 3 {
		w.event(fmt.Sprint("e-", i))
	}
	a := w.get("/events?page[size]=1&utm_source=x&filter[eventType]=openid4vc.issuance.completed").want(200)
	next, err := url.Parse(a.body()["links"].(map[string]any)["next"].(string))
	if err != nil {
		t.Fatal(err)
	}
	want := url.Values{"page[size]": {"1"}, "page[after]": {ids(a.items())[0]}, "filter[eventType]": {"openid4vc.issuance.completed"}}
	if next.Path != "/me-creds/api/events" || next.Query().Encode() != want.Encode() {
		t.Errorf("next is %s", next)
	}
}

func TestQueryMistakes(t *testing.T) {
	w := newWorld(t)
	id := w.event("one")
	for query, at := range map[string]string{
		"page[size]=0": "page[size]", "page[size]=101": "page[size]", "page[size]=-1": "page[size]", "page[size]=ten": "page[size]", "page[size]=1.5": "page[size]", "page[size]=": "page[size]",
		"page[size]=1&page[size]=2": "page[size]", "page[number]=2": "page[number]", "page=2": "page", "page[size": "page[size",
		"page[after]=nobody": "page[after]", "page[before]=nobody": "page[before]", "page[after]=a/b": "page[after]",
		"page[after]=" + id + "&page[before]=" + id: "page[before]",
		"filter[nope]=1": "filter[nope]", "filter=1": "filter", "filter[eventType]=nope": "filter[eventType]", "filter[since]=yesterday": "filter[since]", "filter[issuanceId]=": "filter[issuanceId]",
		"filter[issuanceId]=a%00": "filter[issuanceId]", "filter[issuanceId]=%ff": "filter[issuanceId]", "filter[issuanceId]=" + strings.Repeat("a", 600): "filter[issuanceId]",
		"filter[issuanceId]=a&filter[issuanceId]=b": "filter[issuanceId]",
		"search[name]=a": "search[name]", "sort=-createdAt": "sort", "sort=name": "sort", "sort=": "sort",
		"filter[a=%zz": "", "a;b": "",
	} {
		a := w.get("/events?"+query).refused(400, "VALIDATION_ERROR", at)
		if strings.HasPrefix(at, "filter[nope") || strings.HasPrefix(at, "search") {
			if !strings.Contains(a.detail(), "filter[eventType], filter[issuanceId], filter[since]") {
				t.Errorf("%s does not name those allowed: %s", query, a.detail())
			}
		}
	}
	for _, query := range []string{"", "utm_source=a", "access_token=a", "filters=1", "pages[size]=1", "sort=createdAt", "page[size]=1", "page[size]=100", "page%5Bsize%5D=5"} {
		w.get("/events?" + query).want(200)
	}
	w.get("/events/" + id + "?page[size]=0&filter[x]=1").want(200) // not a list
}

func TestEventsSinceATime(t *testing.T) {
	w := newWorld(t)
	w.event("before")
	w.clock.advance(time.Minute)
	since := url.QueryEscape(w.clock.Now().Format(time.RFC3339))
	first, second := w.event("first"), w.event("second")
	if got := slices.Concat(w.walk("/me-creds/api/events?page[size]=1&filter[since]="+since, "next")...); !slices.Equal(got, []string{first, second}) {
		t.Errorf("since then there are %v, want %v", got, []string{first, second})
	}
}
