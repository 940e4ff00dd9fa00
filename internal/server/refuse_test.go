package server_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tidings"
	"tidings/internal/server"
	"tidings/internal/store"
)

// path puts an id into a route's pattern.
func path(r server.Route, id string) string {
	return strings.NewReplacer("{id}", id, "{sub}", id).Replace(r.Pattern)
}

// body gives a body that the route accepts as JSON, if it takes one.
func body(r server.Route) string {
	if r.Request == nil {
		return ""
	}
	switch {
	case strings.HasSuffix(r.Pattern, "/recover"):
		return `{"since":"2026-02-28T00:00:00Z"}`
	case strings.HasSuffix(r.Pattern, "/simulate"):
		return `{"outcome":"completed"}`
	case strings.HasSuffix(r.Pattern, "/deferral"):
		return `{"decision":"approve"}`
	}
	return "{}"
}

func TestEveryRouteWantsAToken(t *testing.T) {
	w := newWorld(t)
	stranger := newWorld(t)
	expired := w.token
	w.clock.advance(10 * time.Minute)
	w.token = w.newToken("default")
	for _, route := range w.server.Routes() {
		for _, test := range []struct{ name, header, challenge string }{
			{"none", "", `Bearer realm="me-creds"`},
			{"malformed", "Bearer abc", `Bearer realm="me-creds", error="invalid_token"`},
			{"other scheme", "Basic YTpi", `Bearer realm="me-creds", error="invalid_token"`},
			{"no scheme", w.token, `Bearer realm="me-creds", error="invalid_token"`},
			{"empty", "Bearer ", `Bearer realm="me-creds", error="invalid_token"`},
			{"expired", "Bearer " + expired, `Bearer realm="me-creds", error="invalid_token"`},
			{"foreign", "Bearer " + stranger.token, `Bearer realm="me-creds", error="invalid_token"`},
		} {
			a := w.request(route.Method, path(route, "abc"), body(route), "Authorization", test.header).refused(401, "UNAUTHORIZED", "")
			if got := a.header.Get("WWW-Authenticate"); got != test.challenge {
				t.Errorf("%s, %s: challenge %s", a.what, test.name, got)
			}
			if token := strings.TrimPrefix(test.header, "Bearer "); len(token) > 10 && strings.Contains(a.text+w.log.take(), token) {
				t.Errorf("%s, %s: the token is repeated", a.what, test.name)
			}
		}
		// The scheme is case-insensitive (RFC 9110, section 11.1).
		if route.Stream {
			continue // it would not end
		}
		if a := w.request(route.Method, path(route, "abc"), body(route), "Authorization", "bEARER "+w.token); a.status == 401 {
			t.Errorf("%s: %s", a.what, a.text)
		}
	}
}

func TestScopes(t *testing.T) {
	w := newWorld(t)
	tokens := map[tidings.Scope]string{}
	for _, scope := range tidings.AllScopes {
		tokens[scope] = w.newToken("default", scope)
	}
	for _, route := range w.server.Routes() {
		want := tidings.ScopeAdmin
		switch {
		case route.Method == http.MethodGet && !strings.HasSuffix(route.Pattern, "/secret"):
			want = tidings.ScopeRead
		case route.Pattern == "/credentials/{id}" && route.Method == http.MethodDelete:
			want = tidings.ScopePublish
		case route.Method == http.MethodPost && (route.Pattern == "/events" || route.Pattern == "/credentials/issuance" || strings.HasSuffix(route.Pattern, "/simulate") || strings.HasSuffix(route.Pattern, "/deferral") || strings.HasSuffix(route.Pattern, "/reissue")):
			want = tidings.ScopePublish
		}
		for scope, token := range tokens {
			if route.Stream && (scope == want || scope == tidings.ScopeAdmin) {
				continue // it would not end
			}
			a := w.request(route.Method, path(route, "abc"), body(route), bearer(token)...)
			if scope == want || scope == tidings.ScopeAdmin {
				if a.status == 401 || a.status == 403 {
					t.Errorf("%s with %s: %s", a.what, scope, a.text)
				}
				continue
			}
			a.refused(403, "FORBIDDEN", "")
			if got := a.header.Get("WWW-Authenticate"); got != `Bearer realm="me-creds", error="insufficient_scope", scope="`+string(want)+`"` {
				t.Errorf("%s with %s: challenge %s", a.what, scope, got)
			}
		}
	}
}

// No organisation reads, changes or counts another's objects, nor learns that
// they exist.
func TestOrganisationsAreApart(t *testing.T) {
	w := newWorld(t)
	endpoint, template := w.endpoint("a"), w.template("Member")
	issuance, event := w.issuance(template), w.event("one")
	delivery := ids(w.get("/events/" + event + "/deliveries").items())[0]
	other := bearer(w.newToken("other"))
	for _, route := range w.server.Routes() {
		id := map[string]string{"endpoints": endpoint, "events": event, "deliveries": delivery, "templates": template, "credentials": issuance}[strings.Split(route.Pattern, "/")[1]]
		switch {
		case strings.Contains(route.Pattern, "{id}"):
			theirs := w.request(route.Method, path(route, id), body(route), other...).refused(404, "NOT_FOUND", "")
			missing := w.request(route.Method, path(route, strings.Repeat("x", len(id))), body(route), other...).refused(404, "NOT_FOUND", "")
			if strings.ReplaceAll(theirs.detail(), id, "") != strings.ReplaceAll(missing.detail(), strings.Repeat("x", len(id)), "") {
				t.Errorf("%s tells that the object exists: %q, %q", theirs.what, theirs.detail(), missing.detail())
			}
		case route.List:
			if mine := w.get(route.Pattern).want(200).items(); len(mine) == 0 {
				t.Errorf("%s shows me nothing", route.Pattern)
			}
			if theirs := w.get(route.Pattern, other...).want(200).items(); len(theirs) != 0 && route.Pattern != "/audit" { // that organisation has made a client
				t.Errorf("%s shows another's %v", route.Pattern, theirs)
			}
			for _, f := range route.Filters {
				if f.Values == nil {
					if a := w.get(route.Pattern+"?filter["+f.Name+"]="+id, other...); a.status == 200 && len(a.items()) != 0 {
						t.Errorf("%s, filter %s shows another's %v", route.Pattern, f.Name, a.items())
					}
				}
			}
			if a := w.get(route.Pattern+"?page[after]="+id, other...); a.status == 200 && len(a.items()) != 0 {
				t.Errorf("%s goes on from another's item: %s", route.Pattern, a.text)
			}
		}
	}
	w.post("/credentials/issuance", `{"credentialTemplateId":"`+template+`","attributes":{"given_name":"A"}}`, other...).refused(400, "VALIDATION_ERROR", "/credentialTemplateId")
	// The same id and the same code are free in another organisation.
	w.post("/endpoints", `{"id":"`+endpoint+`","url":"https://r.example/"}`, other...).want(201)
	w.template("Member", other...)
	w.get("/endpoints/" + endpoint).want(200)
}

// badBodies are requests that must be refused: where the error points, and a
// part of its sentence. TEMPLATE stands for the id of one.
var badBodies = []struct{ name, route, body, at, says string }{
	{"empty", "/endpoints", "", "", "The body is empty"},
	{"only white space", "/events", " \n\t", "", "The body is empty"},
	{"null", "/endpoints", "null", "", "must be a JSON object; got null"},
	{"array for one", "/endpoints", "[]", "", "must be a JSON object; got an array"},
	{"string", "/endpoints", `"a"`, "", "got a string"},
	{"number for events", "/events", "1", "", "a JSON object or an array of objects; got a number"},
	{"not JSON", "/endpoints", "url=https://a.example", "", "line 1, column 1"},
	{"second line", "/endpoints", "{\"url\":\"https://a.example\",\n  id}", "", "line 2, column 3 (offset 30)"},
	{"cut", "/endpoints", `{"url":"https://a.exam`, "/url", "ends too early"},
	{"trailing comma", "/endpoints", `{"url":"https://a.example",}`, "", "line 1, column 27"},
	{"trailing data", "/endpoints", `{"url":"https://a.example"} {}`, "", "line 1, column 29"},
	{"comment", "/endpoints", `{"url":"https://a.example"} // no`, "", "not valid JSON"},
	{"byte order mark", "/endpoints", "\ufeff{}", "", "not valid JSON"},
	{"invalid UTF-8", "/endpoints", "{\"url\":\"https://a.example/\xff\"}", "/url", "invalid UTF-8"},
	{"half a surrogate", "/endpoints", `{"url":"https://a.example/\ud800"}`, "/url", "not valid JSON"},
	{"NUL", "/endpoints", `{"url":"https://a.example/\u0000"}`, "/url", "U+0000"},
	{"NUL in a name", "/templates/credentials", attributes(`{"a\u0000":{"type":"string"}}`), "/attributes/a\x00", "U+0000"},
	{"twice", "/endpoints", `{"url":"https://a.example","url":"https://b.example"}`, "/url", "more than once"},
	{"unknown", "/endpoints", `{"url":"https://a.example","secret":"a"}`, "/secret", "the members are url, id, filterTypes"},
	{"other case", "/endpoints", `{"URL":"https://a.example"}`, "/URL", "no member"},
	{"wrong type", "/endpoints", `{"url":1}`, "/url", "must be a string; got a number"},
	{"wrong type in a list", "/endpoints", `{"url":"https://a.example","filterTypes":["openid4vc.issuance.failed",{}]}`, "/filterTypes/1", "must be a string; got an object"},
	{"not a list", "/endpoints", `{"url":"https://a.example","filterTypes":"openid4vc.issuance.failed"}`, "/filterTypes", "must be an array; got a string"},

	{"no url", "/endpoints", `{}`, "/url", "required"},
	{"null url", "/endpoints", `{"url":null}`, "/url", "required"},
	{"http", "/endpoints", `{"url":"http://a.example"}`, "/url", "https"},
	{"loopback", "/endpoints", `{"url":"https://127.0.0.1/"}`, "/url", "public internet"},
	{"bad id", "/endpoints", `{"url":"https://a.example","id":"a b"}`, "/id", "1 to 64"},
	{"unknown type", "/endpoints", `{"url":"https://a.example","filterTypes":["openid4vc.issuance.failed","nope"]}`, "/filterTypes/1", "openid4vc.issuance.offered"},

	{"no event", "/events", "[]", "", "1 to 1000"},
	{"too many events", "/events", "[" + strings.Repeat("{},", 1000) + "{}]", "/1000", "at most 1000"},
	{"no type", "/events", `{"payload":{"openId4VcIssuanceId":"a"}}`, "/eventType", "required"},
	{"verifier's type", "/events", strings.Replace(eventBody("a"), "issuance.completed", "verification.verified", 1), "/eventType", "cannot be published"},
	{"no payload", "/events", `{"eventType":"openid4vc.issuance.completed"}`, "/payload/openId4VcIssuanceId", "required"},
	{"bad issuance", "/events", eventBody("a b"), "/payload/openId4VcIssuanceId", "1 to 128"},
	{"personal data", "/events", strings.Replace(eventBody("a"), `"}}`, `","name":"Zainab"}}`, 1), "/payload/name", "no member"},
	{"personal data in an array", "/events", "[" + eventBody("a") + "," + strings.Replace(eventBody("a"), `"}}`, `"},"claims":{}}`, 1) + "]", "/1/claims", "no member"},
	{"wrong type in an array", "/events", "[" + eventBody("a") + `,{"eventType":1}]`, "/1/eventType", "must be a string; got a number"},
	{"number in an array", "/events", "[" + eventBody("a") + `,1]`, "/1", "must be an object; got a number"},
	{"array in an array", "/events", "[[]]", "/0", "must be an object; got an array"},
	{"null in an array", "/events", "[null]", "/0/eventType", "required"},
	{"twice in an array", "/events", `[{"eventType":"a","eventType":"b"}]`, "/0/eventType", "more than once"},
	{"bad item", "/events", "[" + eventBody("a") + "," + eventBody("") + "]", "/1/payload/openId4VcIssuanceId", "required"},
	{"bad key", "/events", `{"eventType":"openid4vc.issuance.failed","payload":{"openId4VcIssuanceId":"a"},"idempotencyKey":"a b"}`, "/idempotencyKey", "visible ASCII"},

	{"no name", "/templates/credentials", `{"code":"C","attributes":{"a":{"type":"string"}}}`, "/name", "required"},
	{"no code", "/templates/credentials", `{"name":"N","attributes":{"a":{"type":"string"}}}`, "/code", "required"},
	{"bad code", "/templates/credentials", `{"name":"N","code":"/","attributes":{"a":{"type":"string"}}}`, "/code", "1 to 64"},
	{"bad older code", "/templates/credentials", `{"name":"N","type":"/","attributes":{"a":{"type":"string"}}}`, "/type", "1 to 64"},
	{"two codes", "/templates/credentials", `{"name":"N","type":"A","code":"B","attributes":{"a":{"type":"string"}}}`, "/type", "must not differ"},
	{"mdoc", "/templates/credentials", `{"name":"N","code":"C","credentialFormat":"mso_mdoc","attributes":{"a":{"type":"string"}}}`, "/credentialFormat", "sd-jwt"},
	{"no attributes", "/templates/credentials", attributes(`{}`), "/attributes", "required"},
	{"attributes as a list", "/templates/credentials", attributes(`[]`), "/attributes", "must be an object; got an array"},
	{"no attribute type", "/templates/credentials", attributes(`{"a":{}}`), "/attributes/a/type", "required"},
	{"bad attribute type", "/templates/credentials", attributes(`{"a":{"type":"blob"}}`), "/attributes/a/type", "string, number, boolean or date"},
	{"unknown attribute member", "/templates/credentials", attributes(`{"a":{"type":"string","max":1}}`), "/attributes/a/max", "no member"},
	{"escaped pointer", "/templates/credentials", attributes(`{"a/b~c":{"type":1}}`), "/attributes/a~1b~0c/type", "must be a string; got a number"},
	{"reserved", "/templates/credentials", attributes(`{"iss":{"type":"string"}}`), "/attributes/iss", "set by the issuer"},

	{"no template", "/credentials/issuance", `{"attributes":{}}`, "/credentialTemplateId", "required"},
	{"unknown template", "/credentials/issuance", `{"credentialTemplateId":"x","attributes":{}}`, "/credentialTemplateId", "no credential template"},
	{"required attribute", "/credentials/issuance", offer(`"attributes":{}`), "/attributes/given_name", "requires"},
	{"no attributes at all", "/credentials/issuance", `{"credentialTemplateId":"TEMPLATE"}`, "/attributes/given_name", "requires"},
	{"unknown attribute", "/credentials/issuance", offer(`"attributes":{"given_name":"A","x":1}`), "/attributes/x", "no attribute"},
	{"wrong attribute", "/credentials/issuance", offer(`"attributes":{"given_name":1}`), "/attributes/given_name", "must be a string"},
	{"huge number", "/credentials/issuance", offer(`"attributes":{"given_name":"A","level":1e999}`), "/attributes/level", "must be"},
	{"expires at once", "/credentials/issuance", offer(`"attributes":{"given_name":"A"},"expiresIn":0`), "/expiresIn", "1 to 7776000"},
	{"expires too late", "/credentials/issuance", offer(`"attributes":{"given_name":"A"},"expiresIn":7776001`), "/expiresIn", "1 to 7776000"},
	{"half a second", "/credentials/issuance", offer(`"attributes":{"given_name":"A"},"expiresIn":1.5`), "/expiresIn", "must be an integer"},
	{"expiry as text", "/credentials/issuance", offer(`"attributes":{"given_name":"A"},"expiresIn":"60"`), "/expiresIn", "must be an integer; got a string"},
	{"huge expiry", "/credentials/issuance", offer(`"attributes":{"given_name":"A"},"expiresIn":99999999999999999999`), "/expiresIn", "must be an integer"},
}

func attributes(text string) string { return `{"name":"N","code":"C","attributes":` + text + `}` }
func offer(text string) string      { return `{"credentialTemplateId":"TEMPLATE",` + text + `}` }

func TestBadBodies(t *testing.T) {
	w := newWorld(t)
	template := w.template("Member")
	for _, test := range badBodies {
		t.Run(test.name, func(t *testing.T) {
			a := w.post(test.route, strings.ReplaceAll(test.body, "TEMPLATE", template), "Content-Type", "application/json")
			a.t = t
			a.refused(400, "VALIDATION_ERROR", test.at)
			if detail := a.detail(); !strings.Contains(detail, test.says) || strings.Contains(detail, "Go ") || strings.Contains(detail, "json:") {
				t.Errorf("it says %q, want %q", detail, test.says)
			}
		})
	}
	if n := len(w.get("/events").items()) + len(w.get("/endpoints").items()); n != 0 {
		t.Errorf("%d objects were made all the same", n)
	}
}

// Every faulty event of an array is told, up to a number.
func TestAllFaultyEventsAreTold(t *testing.T) {
	w := newWorld(t)
	a := w.post("/events", "["+eventBody("a")+strings.Repeat(","+eventBody("b c"), 30)+"]").refused(400, "VALIDATION_ERROR", "/1/payload/openId4VcIssuanceId")
	if n := len(a.body()["errors"].([]any)); n != 20 {
		t.Errorf("%d errors", n)
	}
}

func TestMediaTypes(t *testing.T) {
	w := newWorld(t)
	for media, status := range map[string]int{
		"": 202, "application/json": 202, "application/json; charset=utf-8": 202, "application/json;charset=UTF-8": 202, "Application/JSON": 202,
		"application/vnd.api+json": 202, "application/cloudevents+json; charset=utf-8": 202,
		"text/plain": 415, "application/x-www-form-urlencoded": 415, "text/json+json": 415, "application/jsonp": 415, "json": 415, ";": 415,
		"application/json; charset=latin1": 415,
	} {
		a := w.post("/events", eventBody("a"), "Content-Type", media)
		if a.status != status {
			t.Errorf("%q: %d %s", media, a.status, a.text)
		}
		if a.status == 415 {
			a.refused(415, "UNSUPPORTED_MEDIA_TYPE", "")
		}
	}
	w.post("/events", eventBody("a"), "Content-Encoding", "gzip").refused(415, "UNSUPPORTED_MEDIA_TYPE", "")
}

func TestBodyLimits(t *testing.T) {
	w := newWorld(t)
	pad := func(body string, size int) string { return body + strings.Repeat(" ", size-len(body)) }
	w.post("/endpoints", pad(`{"url":"https://a.example"}`, 64<<10)).want(201)
	w.post("/endpoints", pad(`{"url":"https://a.example"}`, 64<<10+1)).refused(413, "PAYLOAD_TOO_LARGE", "")
	w.post("/events", pad(eventBody("a"), 1<<20)).want(202)
	w.post("/events", pad(eventBody("a"), 1<<20+1)).refused(413, "PAYLOAD_TOO_LARGE", "")
	full := "[" + eventBody("a") + strings.Repeat(","+eventBody("a"), 999) + "]"
	if n := len(w.post("/events", full).want(202).items()); n != 1000 {
		t.Errorf("%d events", n)
	}
	// A length that is not announced is counted while reading.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.http.URL+server.Prefix+"/endpoints", io.MultiReader(strings.NewReader(pad("{}", 70<<10))))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	answer{t, "chunked", resp.StatusCode, resp.Header, string(text)}.refused(413, "PAYLOAD_TOO_LARGE", "")
}

func TestUnknownRoutes(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"", "/", "/nope", "/endpoints/", "/endpoints/a/b", "/events/a/deliveries/b", "//", "//nope", "//me-creds/api//endpoints",
		"//me-creds/api/endpoints/../events", "//me-creds/api/./endpoints", "//me-creds/api/endpoints/..", "/endpoints/%2e%2e", "/endpoints/a%2fb", "/endpoints/%00", "/events/%ff",
		"/events/" + strings.Repeat("a", 200)} {
		w.get(path).refused(404, "NOT_FOUND", "")
	}
}

func TestMethodNotAllowed(t *testing.T) {
	w := newWorld(t)
	for path, allow := range map[string]string{
		"/endpoints": "GET, HEAD, POST", "/endpoints/abc": "DELETE, GET, HEAD, PATCH", "/endpoints/abc/secret": "GET, HEAD", "/events": "GET, HEAD, POST",
		"/deliveries": "GET, HEAD", "/templates/credentials/abc": "GET, HEAD, PATCH", "/credentials": "GET, HEAD", "/credentials/abc": "DELETE, GET, HEAD", "/credentials/issuance": "POST",
	} {
		for _, method := range []string{http.MethodPut, http.MethodOptions, "BREW"} {
			if a := w.request(method, path, "").refused(405, "METHOD_NOT_ALLOWED", ""); a.header.Get("Allow") != allow {
				t.Errorf("%s: Allow %q, want %q", a.what, a.header.Get("Allow"), allow)
			}
		}
	}
	w.get("/credentials/issuance").refused(405, "METHOD_NOT_ALLOWED", "")
	if a := w.request(http.MethodHead, "/endpoints", "").want(200); a.text != "" {
		t.Errorf("HEAD has a body: %q", a.text)
	}
	if log := w.log.take(); strings.Contains(log, "BREW") {
		t.Error("a stranger's method stands in the log")
	}
}

// broken is a store whose Publish does what a test wants.
type broken struct {
	*store.Store
	publish func() error
}

func (b broken) Publish(context.Context, int64, []tidings.NewEvent, *tidings.Idempotency) ([]tidings.Event, error) {
	return nil, b.publish()
}

func TestStoreErrors(t *testing.T) {
	var fail func() error
	w := newWorld(t, func(c *server.Config) { c.Events = broken{c.Events.(*store.Store), func() error { return fail() }} })
	for name, test := range map[string]struct {
		fail   func() error
		status int
		code   string
		retry  string
	}{
		"unavailable":    {func() error { return tidings.Unavailable(1200*time.Millisecond, errors.New("disk"), "Busy.") }, 503, "UNAVAILABLE", "2"},
		"no retry given": {func() error { return tidings.Unavailable(0, nil, "Busy.") }, 503, "UNAVAILABLE", "1"},
		"limited":        {func() error { return &tidings.Error{Kind: tidings.KindLimited, Message: "Enough."} }, 429, "RATE_LIMITED", ""},
		"limited for":    {func() error { return &tidings.Error{Kind: tidings.KindLimited, Message: "Enough.", Retry: time.Minute} }, 429, "RATE_LIMITED", "60"},
		"internal":       {func() error { return errors.New("secret detail") }, 500, "INTERNAL", ""},
		"internal kind":  {func() error { return &tidings.Error{Kind: tidings.KindInternal, Message: "secret detail"} }, 500, "INTERNAL", ""},
		"partly internal": {func() error {
			return errors.Join(tidings.NotFound("event", "a"), errors.New("secret detail"))
		}, 500, "INTERNAL", ""},
		"panic":     {func() error { panic("secret detail") }, 500, "INTERNAL", ""},
		"cancelled": {func() error { return context.DeadlineExceeded }, 503, "UNAVAILABLE", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			w.log.take()
			fail = test.fail
			a := w.post("/events", eventBody("a"))
			a.t = t
			a.refused(test.status, test.code, "")
			if got := a.header.Get("Retry-After"); got != test.retry {
				t.Errorf("Retry-After %q, want %q", got, test.retry)
			}
			log := w.log.take()
			if strings.Contains(a.text, "secret detail") || strings.Contains(a.text, "disk") {
				t.Errorf("the cause is shown: %s", a.text)
			}
			if test.status == 500 && (!strings.Contains(log, "secret detail") || !strings.Contains(log, a.header.Get("X-Request-Id"))) {
				t.Errorf("the log does not tell the cause under the id: %s", log)
			}
			if strings.Count(log, "\n") != 1 {
				t.Errorf("not one line: %s", log)
			}
		})
	}
}

func TestWrappedAndJoinedErrors(t *testing.T) {
	w := newWorld(t, func(c *server.Config) {
		c.Events = broken{c.Events.(*store.Store), func() error {
			return errors.Join(tidings.Invalid("/0/a", "First."), errors.Join(tidings.Conflict("Second.")))
		}}
	})
	a := w.post("/events", "["+eventBody("a")+"]").refused(400, "VALIDATION_ERROR", "/0/a")
	if list := a.body()["errors"].([]any); len(list) != 2 || list[1].(map[string]any)["code"] != "CONFLICT" || list[1].(map[string]any)["id"] == list[0].(map[string]any)["id"] {
		t.Errorf("errors %v", list)
	}
}

func TestTooMuchToDo(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	w := newWorld(t, func(c *server.Config) {
		c.MaxInFlight = 1
		c.Events = broken{c.Events.(*store.Store), func() error {
			close(inside)
			<-leave
			return tidings.Conflict("Done.")
		}}
	})
	done := make(chan answer)
	go func() { done <- w.post("/events", eventBody("a")) }()
	<-inside
	if a := w.get("/events").refused(503, "UNAVAILABLE", ""); a.header.Get("Retry-After") != "1" {
		t.Errorf("headers %v", a.header)
	}
	close(leave)
	(<-done).refused(409, "CONFLICT", "")
	w.get("/events").want(200)
}

func TestLogLine(t *testing.T) {
	type seen struct {
		method, route string
		status        int
	}
	var observed []seen
	w := newWorld(t, func(c *server.Config) {
		c.Observe = func(method, route string, status int, _ time.Duration) {
			observed = append(observed, seen{method, route, status})
		}
	})
	a := w.get("/credentials/issuance-of-zainab?filter[x]=private").want(404)
	line := w.log.take()
	for _, want := range []string{`"method":"GET"`, `"route":"/credentials/{id}"`, `"status":404`, `"organisation":"default"`, `"duration":`, `"request":"` + a.header.Get("X-Request-Id") + `"`} {
		if !strings.Contains(line, want) {
			t.Errorf("the line lacks %s: %s", want, line)
		}
	}
	for _, never := range []string{"zainab", "private", w.token} {
		if strings.Contains(line, never) {
			t.Errorf("the line holds %s: %s", never, line)
		}
	}
	if strings.Count(line, "\n") != 1 {
		t.Errorf("not one line: %s", line)
	}
	w.get("/no/such/zainab").want(404)
	if line := w.log.take(); strings.Contains(line, "zainab") || !strings.Contains(line, `"route":"unknown"`) {
		t.Errorf("line %s", line)
	}
	if len(observed) != 2 || observed[0] != (seen{"GET", "/credentials/{id}", 404}) || observed[1] != (seen{"GET", "unknown", 404}) {
		t.Errorf("observed %v", observed)
	}
}

func TestHealth(t *testing.T) {
	var trouble error
	w := newWorld(t, func(c *server.Config) { c.Ready = func(context.Context) error { return trouble } })
	check := func(path string, status int, body string) {
		t.Helper()
		if a := w.get(path, "Authorization", "").want(status); strings.TrimSpace(a.text) != body {
			t.Errorf("%s: %q", path, a.text)
		}
	}
	check("//healthz", 200, `{"status":"ok"}`)
	check("//readyz", 200, `{"status":"ok"}`)
	trouble = errors.New("the disk at /var/lib is on fire")
	check("//healthz", 200, `{"status":"ok"}`)
	check("//readyz", 503, `{"status":"unavailable"}`)
	if !strings.Contains(w.log.take(), "on fire") {
		t.Error("the log does not say why")
	}
}

// All mistakes are reported at once.
func TestConfigMistakes(t *testing.T) {
	_, err := server.New(server.Config{MaxInFlight: -1})
	if err == nil {
		t.Fatal("an empty configuration is accepted")
	}
	for _, name := range []string{"Auth", "Endpoints", "Events", "Deliveries", "Templates", "Issuances", "Issuer", "CheckURL", "OfferLife", "MaxInFlight"} {
		if !strings.Contains(err.Error(), "Config."+name) {
			t.Errorf("%s is not reported: %v", name, err)
		}
	}
}

// A request that is broken off leaves no trace but its log line.
func TestBrokenOffBody(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequest(http.MethodPost, server.Prefix+"/events", io.MultiReader(strings.NewReader(`[`), failing{}))
	r.Header.Set("Authorization", "Bearer "+w.token)
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	answer{t, "broken off", rec.Code, rec.Header(), rec.Body.String()}.refused(400, "VALIDATION_ERROR", "")
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection reset") }
