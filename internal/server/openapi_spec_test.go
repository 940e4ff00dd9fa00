package server_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"tidings/internal/server"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// spec is the OpenAPI document as a client reads it, with a validator that
// has nothing of ours in it.
type spec struct {
	raw      []byte
	doc      map[string]any
	compiler *jsonschema.Compiler
	mu       sync.Mutex
	schemas  map[string]*jsonschema.Schema
}

const specURL = "https://tidings.example/openapi.json"

// readSpec reads the document, and beside it one whose objects are closed:
// there, a member that is not documented is a mistake.
func readSpec(t testing.TB, raw []byte) *spec {
	t.Helper()
	s := &spec{raw: raw, compiler: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	if err := json.Unmarshal(raw, &s.doc); err != nil {
		t.Fatal(err)
	}
	s.compiler.DefaultDraft(jsonschema.Draft2020)
	s.compiler.AssertFormat()
	closed := decoded(t, raw)
	closeObjects(closed)
	for name, doc := range map[string]any{specURL: decoded(t, raw), specURL + "/closed": closed} {
		if err := s.compiler.AddResource(name, doc); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func decoded(t testing.TB, text []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, open := v["additionalProperties"]; !open && v["type"] == "object" && v["properties"] != nil {
			v["additionalProperties"] = false
		}
		for _, inner := range v {
			closeObjects(inner)
		}
	case []any:
		for _, inner := range v {
			closeObjects(inner)
		}
	}
}

// at gives the schema at a place of the document.
func (s *spec) at(t testing.TB, document string, path ...string) *jsonschema.Schema {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	place := document + "#" + pointerTo(path...)
	if s.schemas[place] == nil {
		compiled, err := s.compiler.Compile(place)
		if err != nil {
			t.Fatalf("%s: %v", place, err)
		}
		s.schemas[place] = compiled
	}
	return s.schemas[place]
}

func pointerTo(path ...string) string {
	out := ""
	for _, token := range path {
		out += "/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
	}
	return out
}

// find gives what stands at a place, following references.
func (s *spec) find(path ...string) map[string]any {
	var v any = s.doc
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = s.follow(m[name])
	}
	m, _ := v.(map[string]any)
	return m
}

func (s *spec) follow(v any) any {
	m, _ := v.(map[string]any)
	if ref, ok := m["$ref"].(string); ok {
		return s.find(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	return v
}

// theSpec is the document of this package's servers.
var theSpec = struct {
	once sync.Once
	spec *spec
}{}

func specOf(t testing.TB, s *server.Server) *spec {
	t.Helper()
	theSpec.once.Do(func() {
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, server.OpenAPIPath, nil))
		theSpec.spec = readSpec(t, rec.Body.Bytes())
	})
	return theSpec.spec
}

// path finds the path of the document that serves a request's path.
func (s *spec) path(path string) string {
	best := ""
	for pattern := range s.find("paths") {
		if fits(pattern, path) && (best == "" || strings.Contains(best, "{")) {
			best = pattern
		}
	}
	return best
}

func fits(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if strings.HasPrefix(want[i], "{") && got[i] != "" {
			continue
		}
		if want[i] != got[i] {
			return false
		}
	}
	return true
}

// operation names the operation that describes the answer to a request: that
// of the method, or any of the path where the path has no such method.
func (s *spec) operation(method, path string) (pattern, operation string) {
	pattern = s.path(path)
	item := s.find("paths", pattern)
	operation = strings.ToLower(method)
	if method == http.MethodHead {
		return pattern, "get"
	}
	if _, ok := item[operation]; ok {
		return pattern, operation
	}
	for name := range item {
		if name != "parameters" {
			operation = name
		}
	}
	return pattern, operation
}

// conforms fails the test unless the answer is one that the document tells
// of, down to every member, and the request was one, if it was accepted.
func (s *spec) conforms(t testing.TB, method, path, body string, a answer) {
	t.Helper()
	path, _, _ = strings.Cut(path, "?")
	if strings.HasPrefix(path, "//") || s.path(path) == "" {
		return // not a route
	}
	pattern, operation := s.operation(method, path)
	at := []string{"paths", pattern, operation, "responses", strconv.Itoa(a.status)}
	response := s.find(at...)
	if response == nil {
		t.Errorf("%s: the document has no status %d: %s", a.what, a.status, a.text)
		return
	}
	s.checkHeaders(t, response, a)
	if a.status < 300 && strings.TrimSpace(body) != "" && s.find("paths", pattern, operation, "requestBody") != nil {
		schema := s.at(t, specURL, "paths", pattern, operation, "requestBody", "content", "application/json", "schema")
		if err := schema.Validate(decoded(t, []byte(body))); err != nil {
			t.Errorf("%s: it was accepted, but the document refuses it: %v", a.what, err)
		}
	}
	if method == http.MethodHead {
		return
	}
	if _, ok := response["content"]; !ok {
		if a.text != "" {
			t.Errorf("%s: a body that is not documented: %s", a.what, a.text)
		}
		return
	}
	media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	if response["content"].(map[string]any)[media] == nil {
		t.Errorf("%s: content type %q", a.what, media)
		return
	}
	if media != "application/json" {
		return
	}
	if ref, ok := s.find(at[:4]...)[at[4]].(map[string]any)["$ref"].(string); ok {
		at = strings.Split(strings.TrimPrefix(ref, "#/"), "/")
	}
	schema := s.at(t, specURL+"/closed", append(at, "content", "application/json", "schema")...)
	if err := schema.Validate(decoded(t, []byte(a.text))); err != nil {
		t.Errorf("%s: the answer is not as documented: %v\n%s", a.what, err, a.text)
	}
}

func (s *spec) checkHeaders(t testing.TB, response map[string]any, a answer) {
	t.Helper()
	headers, _ := response["headers"].(map[string]any)
	for name := range headers {
		header := s.follow(headers[name]).(map[string]any)
		got := a.header.Get(name)
		if got == "" {
			if header["required"] == true || name == "Retry-After" && a.status == 503 {
				t.Errorf("%s: no header %s", a.what, name)
			}
			continue
		}
		schema := header["schema"].(map[string]any)
		if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(got) {
			t.Errorf("%s: %s is %q, not %s", a.what, name, got, pattern)
		}
		if n, err := strconv.Atoi(got); schema["type"] == "integer" && (err != nil || n < 1) {
			t.Errorf("%s: %s is %q", a.what, name, got)
		}
	}
}
