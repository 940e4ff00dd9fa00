package apptest_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings/internal/apptest"
	"tidings/internal/server"
)

// apiRoute is an operation of the OpenAPI document.
type apiRoute struct{ method, path string }

// apiRoutes reads all of them, those of the future too.
func apiRoutes(t testing.TB, a *apptest.API) (all []apiRoute) {
	t.Helper()
	answer, err := a.HTTP.Get(a.URL + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var doc struct {
		Servers []struct{ URL string }
		Paths   map[string]map[string]json.RawMessage
	}
	if err := json.NewDecoder(answer.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(doc.Paths[path])) {
			switch method = strings.ToUpper(method); method {
			case "GET", "POST", "PATCH", "PUT", "DELETE":
				all = append(all, apiRoute{method, doc.Servers[0].URL + path})
			}
		}
	}
	if len(all) < 20 || doc.Servers[0].URL != a.URL+server.Prefix {
		t.Fatalf("the document names %d operations of %v", len(all), doc.Servers)
	}
	return all
}

// FuzzAPI sends requests to every operation of the API with any id, query and
// body: none gives a 5xx, none hangs, and each refusal says what was wrong.
func FuzzAPI(f *testing.F) {
	inside := apptest.NewInside(f)
	routes := apiRoutes(f, inside.API)
	made, bearer := template(inside.API), "Bearer "+inside.Token() // for ever: no time passes
	bodies := []string{``, `{}`, `null`, `[]`, `[{}]`, `{"a":1e999}`, "{\"url\":\"\xff\"}", `{"ids":[null,""]}`,
		`{"credentialTemplateId":"` + made + `","attributes":{"name":"x"},"expiresIn":1e18}`,
		`{"credentialTemplateId":"` + made + `","attributes":{"name":"\u0000"}}`,
		`{"name":"T","code":"T` + strings.Repeat("x", 300) + `","attributes":{"":{"type":"string"}}}`,
		`{"eventType":"openid4vc.issuance.offered","payload":{"openId4VcIssuanceId":"a"},"idempotencyKey":""}`,
		`{"url":"https://receiver.example/","id":"../x","filterTypes":[""]}`, `{"since":"0000-00-00T00:00:00Z"}`}
	for n := range routes {
		for k, body := range bodies {
			f.Add(byte(n), []string{"x", made, "%00", "..", strings.Repeat("c", 25), "nothing"}[k%6], "", body)
		}
		for _, query := range []string{"page[size]=0", "page[after]=\xff", "filter[id]=&sort=--", "page[size]=9999999999999999999", "filter[status]=x&filter[status]=y", "%"} {
			f.Add(byte(n), made, query, "")
		}
	}
	f.Fuzz(func(t *testing.T, n byte, id, query, body string) {
		route := routes[int(n)%len(routes)]
		path := route.path
		for strings.Contains(path, "{") {
			before, rest, _ := strings.Cut(path, "{")
			_, after, _ := strings.Cut(rest, "}")
			path = before + url.PathEscape(cmp.Or(id, "x")) + after
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if strings.HasSuffix(path, "/stream") {
			cancel() // it has no end of its own
		}
		r, err := http.NewRequestWithContext(ctx, route.method, path+"?"+query, strings.NewReader(body))
		if err != nil {
			return // no request can look like that
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", bearer)
		judge(t, route, inside, r)
	})
}

func judge(t *testing.T, route apiRoute, inside *apptest.Inside, r *http.Request) {
	t.Helper()
	answer, err := inside.RoundTrip(r) // which follows no redirects
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var refusal struct {
		Errors []struct{ Status, Detail string }
	}
	switch at := route.method + " " + route.path; {
	case answer.StatusCode >= 500 && r.Context().Err() == nil:
		t.Errorf("%s: status %d: %s", at, answer.StatusCode, text)
	case r.Context().Err() == context.DeadlineExceeded:
		t.Errorf("%s: no answer in time", at)
	case answer.StatusCode == http.StatusUnauthorized:
		t.Errorf("%s: the token does not count: nothing was tried", at)
	case answer.StatusCode < 400:
	case json.Unmarshal(text, &refusal) != nil || len(refusal.Errors) == 0 || refusal.Errors[0].Detail == "" || refusal.Errors[0].Status != fmt.Sprint(answer.StatusCode):
		t.Errorf("%s: status %d, which says nothing: %s", at, answer.StatusCode, text)
	}
}
