package server_test

import (
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
	bodies map[string]string // by method and pattern
}

func (w *world) population() population {
	w.t.Helper()
	template := w.template("Member")
	p := population{ids: map[string]string{
		"endpoints": w.endpoint("a"), "events": w.event("order-1"), "templates": template, "credentials": w.issuance(template),
	}}
	p.ids["deliveries"] = ids(w.get("/events/" + p.ids["events"] + "/deliveries").items())[0]
	p.bodies = map[string]string{
		"POST /endpoints":             `{"url":"https://receiver.example/b"}`,
		"POST /events":                eventBody("order-2"),
		"POST /templates/credentials": `{"name":"Other","code":"Other","attributes":{"a":{"type":"string"}}}`,
		"POST /credentials/issuance":  `{"credentialTemplateId":"` + template + `","attributes":{"given_name":"Zainab"}}`,
	}
	return p
}

func (p population) path(r server.Route) string {
	return path(r, p.ids[strings.Split(r.Pattern, "/")[1]])
}

// conflicts are requests that meet what is there.
func (p population) conflicts() map[string]string {
	return map[string]string{
		"/endpoints":             `{"url":"https://receiver.example/","id":"` + p.ids["endpoints"] + `"}`,
		"/events":                eventBody(p.ids["credentials"]),
		"/templates/credentials": `{"name":"Again","code":"Member","attributes":{"a":{"type":"string"}}}`,
	}
}

// tally keeps which statuses each operation has answered.
type tally struct {
	w    *world
	s    *spec
	seen map[string]map[string]bool // by method and pattern
}

func (y *tally) request(method, path, body string, headers ...string) {
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
			if (route.Method == http.MethodDelete) == deletes {
				y.request(route.Method, made.path(route), made.bodies[route.Method+" "+route.Pattern])
			}
		}
	}
	good(false)
	for path, body := range made.conflicts() {
		y.request(http.MethodPost, path, body)
	}
	good(true)
	for _, route := range w.server.Routes() {
		at := route.Method + " " + route.Pattern
		for status := range y.s.find("paths", route.Pattern, strings.ToLower(route.Method), "responses") {
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
		y.request(route.Method, path(route, "nothing"), made.bodies[route.Method+" "+route.Pattern])
	}
	if route.List {
		y.request(route.Method, good+"?page[size]=0", "")
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
