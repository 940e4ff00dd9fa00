package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/internal/server"
)

// population is one object of each sort, so that every route has something
// to answer.
type population struct {
	ids    map[string]string // by the first name of the path
	sub    string            // what the {sub} of a path names: a recovery
	bodies map[string]string // by method and pattern
}

func (w *world) population() population {
	w.t.Helper()
	template := w.revocable("Member")
	p := population{ids: map[string]string{
		"endpoints": w.endpoint("a"), "events": w.event("order-1"), "templates": template, "credentials": w.issuance(template),
	}}
	p.ids["deliveries"] = ids(w.get("/events/" + p.ids["events"] + "/deliveries").items())[0]
	recover := `{"since":"2026-02-28T00:00:00Z"}`
	p.sub = w.post("/endpoints/"+p.ids["endpoints"]+"/recover", recover).want(202).data()["id"].(string)
	suspended := `{"ids":["` + w.issued(template) + `"]}`
	p.bodies = map[string]string{
		"POST /credentials/revoke":          `{"ids":["` + w.issued(template) + `"]}`,
		"POST /credentials/suspend":         suspended,
		"POST /credentials/resume":          suspended,
		"POST /endpoints":                   `{"url":"https://receiver.example/b"}`,
		"PATCH /endpoints/{id}":             `{"description":"Accounts"}`,
		"POST /endpoints/{id}/recover":      recover,
		"POST /events":                      eventBody("order-2"),
		"POST /credentials/{id}/deferral":   `{"decision":"approve"}`,
		"POST /credentials/{id}/simulate":   `{"outcome":"completed"}`,
		"PATCH /templates/credentials/{id}": `{"description":"For members"}`,
		"POST /templates/credentials":       `{"name":"Other","code":"Other","attributes":{"a":{"type":"string"}}}`,
		"POST /credentials/issuance":        `{"credentialTemplateId":"` + template + `","attributes":{"given_name":"Zainab"}}`,
	}
	return p
}

func (p population) path(r server.Route) string {
	return strings.NewReplacer("{id}", p.ids[strings.Split(r.Pattern, "/")[1]], "{sub}", p.sub).Replace(r.Pattern)
}

// body gives a good body of the route, empty where it takes none.
func (p population) body(r server.Route) string {
	text, ok := p.bodies[r.Method+" "+r.Pattern]
	if !ok && r.Request != nil {
		return "{}"
	}
	return text
}

// conflicts makes requests that meet what is there.
func (y *tally) conflicts(p population) {
	w := y.w
	endpoint := p.ids["endpoints"]
	w.post("/endpoints", `{"url":"https://receiver.example/","id":"`+endpoint+`","signatures":["v1","v1a"]}`, bearer(w.newToken("other"))...).want(201)
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/endpoints", `{"url":"https://receiver.example/","id":"` + endpoint + `"}`},
		{"PATCH", "/endpoints/" + endpoint, `{"signatures":["v1","v1a"]}`},
		{"POST", "/events", eventBody(p.ids["credentials"])},
		{"POST", "/credentials/revoke", p.bodies["POST /credentials/revoke"]},
		{"POST", "/credentials/suspend", p.bodies["POST /credentials/revoke"]},
		{"POST", "/credentials/resume", p.bodies["POST /credentials/resume"]},
		{"POST", "/templates/credentials", `{"name":"Again","code":"Member","attributes":{"a":{"type":"string"}}}`},
	} {
		if y.request(c.method, c.path, c.body) != 409 {
			w.t.Errorf("%s %s meets no conflict", c.method, c.path)
		}
	}
	if y.request("POST", "/credentials/"+p.ids["credentials"]+"/simulate", `{"outcome":"failed"}`) != 409 {
		w.t.Error("an issuance ends twice")
	}
	w.request("PATCH", "/endpoints/"+endpoint, `{"status":"disabled"}`).want(200)
	if y.request("POST", "/endpoints/"+endpoint+"/test", "") != 409 {
		w.t.Error("a disabled endpoint gets samples")
	}
}

// repeats sends each route that takes keys the same key with two bodies.
func (y *tally) repeats(p population) {
	for _, route := range y.w.server.Routes() {
		if !route.Idempotency {
			continue
		}
		path, body := p.path(route), p.body(route)
		key := []string{"Idempotency-Key", "a-key"}
		if route.Pattern == "/endpoints" || route.Pattern == "/templates/credentials" {
			body = strings.NewReplacer("/b", "/keyed", "Other", "Keyed").Replace(body)
		}
		first := y.w.request(route.Method, path, body, key...).want(route.Status)
		if again := y.w.request(route.Method, path, body, key...); again.status != route.Status {
			y.w.t.Errorf("%s again: %d %s, first %s", again.what, again.status, again.text, first.text)
		}
		if route.Request != nil && y.request(route.Method, path, body+" ", key...) != 409 {
			y.w.t.Errorf("%s: another body with the same key is no conflict", route.Pattern)
		}
		y.request(route.Method, path, body, "Idempotency-Key", "no key")
	}
}

// tally keeps which statuses each operation has answered.
type tally struct {
	w    *world
	s    *spec
	seen map[string]map[string]bool // by method and pattern
}

func (y *tally) request(method, path, body string, headers ...string) (status int) {
	y.w.t.Helper()
	a := y.w.request(method, path, body, headers...) // which holds it against the document
	bare, _, _ := strings.Cut(path, "?")
	pattern, operation := y.s.operation(method, bare)
	for name := range y.s.find("paths", pattern) {
		if name != operation && a.status != 405 {
			continue
		}
		at := strings.ToUpper(name) + " " + pattern
		if y.seen[at] == nil {
			y.seen[at] = map[string]bool{}
		}
		y.seen[at][fmt.Sprint(a.status)] = true
	}
	return a.status
}

// faults are statuses that need one; see TestDocumentedFaultsCome.
var faults = []string{"429", "500", "503"}

// Every answer that the document tells of comes: for every route, each of its
// statuses.
func TestEveryDocumentedAnswerComes(t *testing.T) {
	w := newWorld(t)
	y := &tally{w, specOf(t, w.server), map[string]map[string]bool{}}
	made := w.population()
	for _, route := range w.server.Routes() {
		y.refused(route, made)
	}
	good := func(deletes bool) {
		for _, route := range w.server.Routes() {
			if (route.Method == http.MethodDelete) == deletes && !route.Stream {
				y.request(route.Method, made.path(route), made.body(route))
			}
		}
	}
	good(false)
	y.request(http.MethodPost, "/credentials/"+made.ids["credentials"]+"/revoke", "") // which was delivered meanwhile
	y.repeats(made)
	y.conflicts(made)
	good(true)
	y.request(http.MethodDelete, "/credentials/"+w.issuance(made.ids["templates"]), "") // that of the population has ended
	y.request(http.MethodPost, "/credentials/"+made.ids["credentials"]+"/reissue", "")
	y.request(http.MethodPost, "/credentials/"+w.deferred(made.ids["templates"])+"/deferral", `{"decision":"approve"}`)
	y.request(http.MethodPost, "/credentials/"+made.ids["credentials"]+"/deferral", `{"decision":"approve"}`)
	if _, err := w.store.CancelDeleted(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	y.request(http.MethodPost, "/deliveries/"+made.ids["deliveries"]+"/retry", "")
	for _, route := range w.server.Routes() {
		at := route.Method + " " + route.Pattern
		for status := range y.s.find("paths", route.Pattern, strings.ToLower(route.Method), "responses") {
			if status == "200" && route.Stream { // see TestStreamAsDocumented
				continue
			}
			if !y.seen[at][status] && !slices.Contains(faults, status) {
				t.Errorf("%s: the documented %s never came; there were %v", at, status, y.seen[at])
			}
		}
	}
}

// refused sends what the adapter refuses.
func (y *tally) refused(route server.Route, made population) {
	w, good := y.w, made.path(route)
	y.request(http.MethodPut, good, "")
	y.request(route.Method, good, body(route), "Authorization", "")
	for _, scope := range tidings.AllScopes {
		if scope != route.Scope && scope != tidings.ScopeAdmin {
			y.request(route.Method, good, body(route), bearer(w.newToken("default", scope))...)
		}
	}
	if strings.Contains(route.Pattern, "{") {
		y.request(route.Method, path(route, "nothing"), made.body(route))
	}
	if route.List {
		y.request(route.Method, good+"?page[size]=0", "")
	}
	if route.Stream {
		if y.request(http.MethodHead, good, "") != 405 {
			w.t.Error("HEAD of a stream would not end")
		}
		y.request(route.Method, good, "", "Last-Event-ID", "nothing")
	}
	if route.Request != nil {
		y.request(route.Method, good, "{")
		y.request(route.Method, good, "{}", "Content-Type", "text/plain")
		y.request(route.Method, good, strings.Repeat(" ", server.MaxEventBody+1))
	}
}

// faulty is a checker of tokens that fails.
type faulty struct{ err error }

func (f *faulty) Check(context.Context, string) (tidings.Caller, error) {
	return tidings.Caller{}, f.err
}

// Those answers come too that need a fault in the server.
func TestDocumentedFaultsCome(t *testing.T) {
	fault := &faulty{}
	w := newWorld(t, func(c *server.Config) { c.Auth = fault })
	for status, err := range map[int]error{
		500: errors.New("broken"),
		503: tidings.Unavailable(time.Second, nil, "Busy."),
		429: &tidings.Error{Kind: tidings.KindLimited, Message: "Enough.", Retry: time.Minute},
	} {
		fault.err = err
		for _, route := range w.server.Routes() {
			w.request(route.Method, path(route, "abc"), body(route)).want(status)
		}
	}
}

// The stream is as documented: its headers, and each event in it.
func TestStreamAsDocumented(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.http.URL+server.Prefix+"/events/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	w.event("order-1")
	scanner, event := bufio.NewScanner(response.Body), ""
	for scanner.Scan() && event == "" {
		event, _ = strings.CutPrefix(scanner.Text(), "data: ")
		if event == scanner.Text() {
			event = ""
		}
	}
	s := specOf(t, w.server)
	s.conforms(t, http.MethodGet, "/events/stream", "", answer{t, "stream", response.StatusCode, response.Header, event})
	if err := s.at(t, specURL+"/closed", "components", "schemas", "Event").Validate(decoded(t, []byte(event))); err != nil {
		t.Errorf("%q: %v", event, err)
	}
}
