package client_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings/client"
	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/server"
)

// methods says which method calls which route of the API.
var methods = map[string][]any{
	"POST /endpoints":            {(*client.Client).CreateEndpoint},
	"GET /endpoints":             {(*client.Client).Endpoints},
	"GET /endpoints/{id}":        {(*client.Client).Endpoint},
	"PATCH /endpoints/{id}":      {(*client.Client).UpdateEndpoint},
	"DELETE /endpoints/{id}":     {(*client.Client).DeleteEndpoint},
	"GET /endpoints/{id}/secret": {(*client.Client).EndpointSecret},

	"POST /endpoints/{id}/secret/rotate":   {(*client.Client).RotateEndpointSecret},
	"POST /endpoints/{id}/test":            {(*client.Client).TestEndpoint},
	"POST /endpoints/{id}/recover":         {(*client.Client).RecoverEndpoint},
	"GET /endpoints/{id}/recoveries/{sub}": {(*client.Client).Recovery},

	"POST /events":                {(*client.Client).PublishEvent, (*client.Client).PublishEvents},
	"GET /events":                 {(*client.Client).Events},
	"GET /events/stream":          {(*client.Client).FollowEvents, (*client.Client).LastEvent},
	"GET /event-types":            {(*client.Client).EventTypes},
	"GET /events/{id}":            {(*client.Client).Event},
	"GET /events/{id}/deliveries": {(*client.Client).EventDeliveries},

	"GET /deliveries":      {(*client.Client).Deliveries},
	"GET /deliveries/{id}": {(*client.Client).Delivery},

	"POST /deliveries/{id}/retry": {(*client.Client).RetryDelivery},
	"GET /audit":                  {(*client.Client).Audit},

	"POST /templates/credentials":     {(*client.Client).CreateTemplate},
	"GET /templates/credentials":      {(*client.Client).Templates},
	"GET /templates/credentials/{id}": {(*client.Client).Template},

	"PATCH /templates/credentials/{id}":          {(*client.Client).UpdateTemplate},
	"POST /templates/credentials/{id}/archive":   {(*client.Client).ArchiveTemplate},
	"POST /templates/credentials/{id}/unarchive": {(*client.Client).UnarchiveTemplate},

	"POST /credentials/issuance":      {(*client.Client).CreateIssuance},
	"GET /credentials":                {(*client.Client).Issuances},
	"POST /credentials/revoke":        {(*client.Client).RevokeCredentials},
	"POST /credentials/suspend":       {(*client.Client).SuspendCredentials},
	"POST /credentials/resume":        {(*client.Client).ResumeCredentials},
	"POST /credentials/{id}/revoke":   {(*client.Client).RevokeByID},
	"GET /credentials/{id}":           {(*client.Client).Issuance},
	"POST /credentials/{id}/deferral": {(*client.Client).DecideDeferral},
	"POST /credentials/{id}/reissue":  {(*client.Client).ReissueIssuance},
	"DELETE /credentials/{id}":        {(*client.Client).CancelIssuance},

	"POST /credentials/{id}/simulate": {(*client.Client).SimulateIssuance},
}

// document reads the OpenAPI document of a server.
func document(t *testing.T) map[string]any {
	t.Helper()
	a := apptest.New(t, func(c *app.Config) { c.Sandbox = true })
	answer, err := a.HTTP.Get(a.URL + server.OpenAPIPath)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var doc map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// Every route has a method, every method a route, and what goes in and out
// has the members that the server reads and writes.
func TestEveryRouteHasAMethod(t *testing.T) {
	doc := document(t)
	var known []string
	for _, route := range server.Table() {
		at := route.Method + " " + route.Pattern
		known = append(known, at)
		if len(methods[at]) == 0 {
			t.Errorf("there is no method for %s", at)
		}
		for _, m := range methods[at] {
			f := reflect.TypeOf(m)
			if f.In(1).String() != "context.Context" {
				t.Errorf("%s: the method takes no context first", at)
			}
			if route.Request != nil {
				body := f.In(f.NumIn() - 1)
				if f.IsVariadic() {
					body = f.In(f.NumIn() - 2)
				}
				same(t, at+" asks", route.Request, body)
				required(t, doc, at, route.Request, body)
			}
			answer := f.Out(0)
			if route.List {
				answer = answer.In(0).In(0) // of iter.Seq2
				filters(t, at, route, f.In(f.NumIn()-1))
			}
			if route.Response != nil {
				same(t, at+" answers", route.Response, answer)
			}
			if keyed := f.IsVariadic(); route.Idempotency && !keyed {
				t.Errorf("%s takes idempotency keys, and its method none", at)
			}
		}
	}
	for at := range methods {
		if !slices.Contains(known, at) {
			t.Errorf("there is no route %s", at)
		}
	}
}

// same fails the test where two types have not the same members in JSON. One
// may say by a pointer what the other says by its zero value.
func same(t *testing.T, at string, theirs, ours reflect.Type) {
	t.Helper()
	theirs, ours = bare(theirs), bare(ours)
	if ours.Kind() == reflect.Slice && theirs.Kind() == reflect.Struct { // of one or many
		ours = ours.Elem()
	}
	switch {
	case theirs == ours,
		theirs.Kind() == reflect.String && ours == reflect.TypeFor[time.Time](), // a request may hold any time of RFC 3339
		theirs == reflect.TypeFor[server.Time]() && ours == reflect.TypeFor[time.Time](),
		theirs.Kind() == reflect.Map && ours == reflect.TypeFor[json.RawMessage]():
		return
	case theirs.Kind() == reflect.String && ours.Kind() == reflect.String: // a name for some texts
		return
	case theirs.Kind() != ours.Kind():
		t.Errorf("%s: %v and %v", at, theirs, ours)
		return
	}
	switch theirs.Kind() {
	case reflect.Slice:
		same(t, at+"[]", theirs.Elem(), ours.Elem())
	case reflect.Map:
		same(t, at+"{}", theirs.Elem(), ours.Elem())
	case reflect.Struct:
		a, b := fields(theirs), fields(ours)
		if x, y := slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)); !slices.Equal(x, y) {
			t.Errorf("%s: the server has %v, the client %v", at, x, y)
		}
		for name := range a {
			if _, ok := b[name]; ok {
				same(t, at+"."+name, a[name].Type, b[name].Type)
			}
		}
	}
}

// bare takes off pointers, and what lets a body be one or many.
func bare(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if strings.HasPrefix(t.Name(), "OneOrMany[") {
		items, _ := t.FieldByName("Items")
		return items.Type.Elem()
	}
	return t
}

// fields gives the members of a struct's JSON object.
func fields(t reflect.Type) map[string]reflect.StructField {
	out := map[string]reflect.StructField{}
	for f := range t.Fields() {
		if !f.IsExported() {
			continue
		}
		if f.Anonymous {
			maps.Copy(out, fields(f.Type))
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out[name] = f
	}
	return out
}

// required fails the test where a request could leave out what it must have,
// or could not leave out what it need not.
func required(t *testing.T, doc map[string]any, at string, theirs, ours reflect.Type) {
	t.Helper()
	theirs, ours = bare(theirs), bare(ours)
	if ours.Kind() == reflect.Slice {
		ours = ours.Elem()
	}
	schema := doc["components"].(map[string]any)["schemas"].(map[string]any)[theirs.Name()].(map[string]any)
	musts, _ := schema["required"].([]any)
	for name, f := range fields(ours) {
		if must, omits := slices.Contains(musts, any(name)), strings.Contains(f.Tag.Get("json"), ",omit"); must == omits {
			t.Errorf("%s: %s is required: %v, can be left out: %v", at, name, must, omits)
		}
	}
}

// filters fails the test unless a query has what the list takes, and no more.
func filters(t *testing.T, at string, route server.Route, query reflect.Type) {
	t.Helper()
	want := []string{"page[after]", "page[size]"}
	if route.Search {
		want = append(want, "search[name]")
	}
	if len(route.Sorts) > 0 {
		want = append(want, "sort")
	}
	for _, f := range route.Filters {
		want = append(want, "filter["+f.Name+"]")
	}
	var got []string
	for _, f := range reflect.VisibleFields(query) {
		if name := f.Tag.Get("query"); name != "" {
			got = append(got, name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s takes %v, its query has %v", at, want, got)
	}
}
