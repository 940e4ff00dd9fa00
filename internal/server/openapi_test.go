package server_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tidings/internal/apptest"
	"tidings/internal/server"

	"github.com/pb33f/libopenapi/datamodel"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// each visits every object of a document with the place where it stands.
func each(v any, at []string, visit func(at []string, object map[string]any)) {
	at = slices.Clip(at)
	switch v := v.(type) {
	case map[string]any:
		visit(at, v)
		for _, name := range slices.Sorted(maps.Keys(v)) {
			each(v[name], append(at, name), visit)
		}
	case []any:
		for i := range v {
			each(v[i], append(at, strconv.Itoa(i)), visit)
		}
	}
}

// The document is OpenAPI 3.1: by the official schema, by what that schema
// cannot say, and by the metaschema of each schema in it.
func TestOpenAPIDocument(t *testing.T) {
	s := specOf(t, newWorld(t).server)
	official := jsonschema.NewCompiler()
	if err := official.AddResource("https://spec.openapis.org/oas/3.1", decoded(t, []byte(datamodel.OpenAPI31SchemaData))); err != nil {
		t.Fatal(err)
	}
	schema, err := official.Compile("https://spec.openapis.org/oas/3.1")
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(decoded(t, s.raw)); err != nil {
		t.Fatalf("it is not OpenAPI 3.1: %v", err)
	}
	meta, err := jsonschema.NewCompiler().Compile("https://json-schema.org/draft/2020-12/schema")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string][]string{}
	each(s.doc, nil, func(at []string, o map[string]any) {
		if ref, ok := o["$ref"].(string); ok && s.follow(o) == nil {
			t.Errorf("%s refers to %s, which is not there", at, ref)
		}
		if id, ok := o["operationId"].(string); ok {
			if seen[id] != nil || !regexp.MustCompile(`^[a-z][A-Za-z]+$`).MatchString(id) {
				t.Errorf("%s: the operationId %s is taken by %v, or is no name", at, id, seen[id])
			}
			seen[id] = at
		}
		if len(at) > 2 && (at[len(at)-1] == "schema" || len(at) == 3 && at[1] == "schemas") {
			if err := meta.Validate(o); err != nil {
				t.Errorf("%s is no schema: %v", at, err)
			}
		}
	})
	for pattern, item := range s.find("paths") {
		want := len(regexp.MustCompile(`\{[^}]+\}`).FindAllString(pattern, -1))
		if parameters, _ := item.(map[string]any)["parameters"].([]any); len(parameters) != want {
			t.Errorf("%s has %d parameters in its path, the document %d", pattern, want, len(parameters))
		}
	}
}

// What the table serves and what the document tells of are the same.
func TestOpenAPIIsTheTable(t *testing.T) {
	w := newWorld(t)
	s := specOf(t, w.server)
	var served, told []string
	for _, route := range w.server.Routes() {
		served = append(served, strings.ToLower(route.Method)+" "+route.Pattern)
		op := s.find("paths", route.Pattern, strings.ToLower(route.Method))
		if op == nil {
			continue
		}
		if op["summary"] != route.Summary || op["tags"] == nil {
			t.Errorf("%s %s: give it a line in openapi_operations.go; the document has %v", route.Method, route.Pattern, op["operationId"])
		}
		want := fmt.Sprintf("[map[oauth2:[%s]] map[bearer:[%[1]s]]]", route.Scope)
		if got := fmt.Sprint(op["security"]); got != want {
			t.Errorf("%s %s: security %s, want %s", route.Method, route.Pattern, got, want)
		}
	}
	for pattern, item := range s.find("paths") {
		for method := range item.(map[string]any) {
			if method != "parameters" {
				told = append(told, method+" "+pattern)
			}
		}
	}
	slices.Sort(served)
	slices.Sort(told)
	if !slices.Equal(served, told) {
		t.Errorf("served %v\ntold of %v", served, told)
	}
}

// Every example is what it is an example of, and every request of an example
// is accepted.
func TestOpenAPIExamples(t *testing.T) {
	w := newWorld(t)
	s := specOf(t, w.server)
	each(s.doc, nil, func(at []string, o map[string]any) {
		example, ok := o["example"]
		if !ok || o["schema"] == nil || slices.Contains(at, "example") {
			return
		}
		if err := s.at(t, specURL+"/closed", append(at, "schema")...).Validate(decoded(t, asJSON(t, example))); err != nil {
			t.Errorf("the example at %s: %v", at, err)
		}
	})
	template := w.revocable("Example")
	revoked, suspended := w.issued(template), w.issued(template)
	for _, route := range w.server.Routes() {
		if route.Request == nil || strings.Contains(route.Pattern, "{") {
			continue
		}
		content := s.find("paths", route.Pattern, strings.ToLower(route.Method), "requestBody", "content", "application/json")
		text := string(asJSON(t, content["example"]))
		if route.Pattern == "/credentials/issuance" { // of a template that this server does not have
			text = strings.NewReplacer("cm2ytsdid009u4ke3t30aiuvc", template, "holder_name", "given_name", "card_number", "level").Replace(text)
		}
		held := map[string]string{"/credentials/revoke": revoked}[route.Pattern]
		text = strings.ReplaceAll(text, "cm7d9cq5600pzk3zq9wzxxtc3", cmp.Or(held, suspended))
		w.request(route.Method, route.Pattern, text).want(route.Status)
	}
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Anyone may read the document, from anywhere, and need not read it twice.
func TestOpenAPIIsServed(t *testing.T) {
	w := newWorld(t)
	a := w.get("//openapi.json", "Authorization", "").want(200)
	for name, want := range map[string]string{"Content-Type": "application/json", "Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	etag := a.header.Get("Etag")
	for match, status := range map[string]int{etag: 304, "W/" + etag: 304, `"other", ` + etag: 304, "*": 304, `"other"`: 200} {
		if got := w.get("//openapi.json", "If-None-Match", match).want(status); (got.text == "") != (status == 304) || got.header.Get("Etag") != etag {
			t.Errorf("If-None-Match %s: %v, %d bytes", match, got.header, len(got.text))
		}
	}
	if head := w.request(http.MethodHead, "//openapi.json", "").want(200); head.text != "" {
		t.Error("HEAD has a body")
	}
	if a := w.request(http.MethodPost, "//openapi.json", "{}").refused(405, "METHOD_NOT_ALLOWED", ""); a.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("Allow: %q", a.header.Get("Allow"))
	}
	if log := w.log.take(); !strings.Contains(log, `"route":"/openapi.json"`) || !strings.Contains(log, a.header.Get("X-Request-Id")) {
		t.Errorf("log %s", log)
	}
}

// The links of the document lead to the server itself, and its webhooks
// section describes what an endpoint receives.
func TestOpenAPIOfAWholeServer(t *testing.T) {
	a := apptest.New(t)
	answered, err := a.HTTP.Get(a.URL + server.OpenAPIPath)
	if err != nil {
		t.Fatal(err)
	}
	defer answered.Body.Close()
	var doc json.RawMessage
	if err := json.NewDecoder(answered.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	s := readSpec(t, doc)
	if got := s.doc["servers"].([]any)[0].(map[string]any)["url"]; got != a.URL+server.Prefix {
		t.Errorf("the server is %v", got)
	}
	flow := s.find("components", "securitySchemes", "oauth2", "flows", "clientCredentials")
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {apptest.ClientID}, "client_secret": {apptest.ClientSecret},
		"scope": {strings.Join(slices.Sorted(maps.Keys(flow["scopes"].(map[string]any))), " ")}}
	token, err := a.HTTP.PostForm(flow["tokenUrl"].(string), form)
	if err != nil || token.StatusCode != 200 {
		t.Fatalf("no token: %v %v", token, err)
	}
	token.Body.Close()

	receiver := apptest.NewReceiver(t, a.CA, nil)
	a.Register(receiver.URL)
	a.Publish("openid4vc.issuance.failed", "order-1")
	got := receiver.Wait(1)[0]
	hook := s.find("webhooks", "openid4vc.issuance.failed", "post")
	for _, v := range hook["parameters"].([]any) {
		p := v.(map[string]any)
		value := got.Header.Get(p["name"].(string))
		if p["required"] != true {
			if value != "" {
				t.Errorf("%s is there: %s", p["name"], value)
			}
			continue
		}
		if pattern := p["schema"].(map[string]any)["pattern"].(string); !regexp.MustCompile(pattern).MatchString(value) {
			t.Errorf("%s is %q, not %s", p["name"], value, pattern)
		}
		if !regexp.MustCompile(p["schema"].(map[string]any)["pattern"].(string)).MatchString(p["example"].(string)) {
			t.Errorf("the example of %s: %v", p["name"], p["example"])
		}
	}
	body := s.at(t, specURL+"/closed", "webhooks", "openid4vc.issuance.failed", "post", "requestBody", "content", "application/json", "schema")
	if err := body.Validate(decoded(t, got.Body)); err != nil {
		t.Errorf("the webhook is not as documented: %v", err)
	}
}
