package server_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"tidings/internal/server"
)

// samples are texts on both sides of each pattern.
var samples = map[string]struct{ good, bad []string }{
	`^[Hh][Tt][Tt][Pp][Ss]://`: {[]string{"HTTPS://receiver.example/a", "https://receiver.example:8443/?q=1"}, []string{"http://receiver.example", "ftp://receiver.example", "receiver.example"}},
	`^[A-Za-z0-9._:-]{1,128}$`: {[]string{"a", "urn:uuid:1.2-3_4", strings.Repeat("a", 128)},
		[]string{"", "a b", "ä", "a/b", strings.Repeat("a", 129), "a\n"}},
	`^[\x21-\x7e]{1,255}$`: {[]string{"!", "~", "{\"}", strings.Repeat("k", 255)}, []string{"a b", "ä", strings.Repeat("k", 256), "a\x7f", "a\n"}},
	`^[a-zA-Z0-9_-]{1,64}$`: {[]string{"A", "_", "-", strings.Repeat("z", 64)},
		[]string{"a.b", "a b", "ä", strings.Repeat("z", 65), "a\n"}},
	`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`: {[]string{"0", "A_.-", strings.Repeat("Z", 64)}, []string{"_a", ".a", "-a", "a b", strings.Repeat("Z", 65), "a\n"}},
	`^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$`: {[]string{"_", "a.b:c/d-e", "0", strings.Repeat("c", 128)},
		[]string{"", ".a", "/a", "a b", "ä", "a~b", strings.Repeat("c", 129)}},
	"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$":     {[]string{"x-a", "A!", "~", strings.Repeat("h", 128)}, []string{"", "a b", "a:", "ä", "a\n", strings.Repeat("h", 129)}},
	`^[^\x00-\x08\x0a-\x1f\x7f]*$`:            {[]string{"", "a b", "\t", "ä"}, []string{"a\n", "a\rb", "\x7f", "\x1f"}},
	"^webhook-":                               {nil, []string{"webhook-id", "webhook-x"}},
	`^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$`: {[]string{"en", "de-CH", "zh-Hant-TW", "sl-rozaj-biske-1994"}, []string{"e", "en_GB", "de-", "ä", "en-a-b-c-d-e", "en\n", "toolonglang"}},
	`^#([0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})$`:      {[]string{"#fff", "#12aB9f"}, []string{"fff", "#ffff", "#ggg", "red", "#12345", "#fff\n", "rgb(1,2,3)"}},
	`\S`:                                      {[]string{"x", " x ", "語"}, []string{" ", "\t\n"}},
}

// formats are texts on both sides of each format.
var formats = map[string][]any{
	"uri":       {"https://a b.example/"},
	"date-time": {"2026-02-28T12:00:00Z", "2026-02-28T12:00:00.5+01:00", "2026-02-28", "yesterday", "2026-02-30T00:00:00Z"},
}

// wrongTypes are values of other sorts than one.
var wrongTypes = map[string][]any{
	"string": {1.0, true, []any{}, map[string]any{}}, "integer": {"1", 1.5, true, []any{}}, "number": {"1", true, []any{}}, "boolean": {"true", 1.0},
	"array": {"a", map[string]any{}}, "object": {"a", []any{}},
}

// exclusive are the members that stand in one of two requests.
var exclusive = map[string]bool{"credentialTemplateId": true, "attributes": true, "credentials": true}

// variants gives values on both sides of everything that a schema says. valid
// is one that it accepts.
func (s *spec) variants(t *testing.T, schema map[string]any, valid any) (out []any) {
	t.Helper()
	schema = s.resolve(schema)
	if kind, ok := schema["type"].(string); ok {
		out = append(out, wrongTypes[kind]...)
	}
	for keyword, v := range schema {
		switch keyword {
		case "enum":
			out = append(append(out, v.([]any)...), "nope")
		case "pattern":
			sample, ok := samples[v.(string)]
			if !ok {
				t.Fatalf("there are no samples for the pattern %s", v)
			}
			for _, text := range slices.Concat(sample.good, sample.bad) {
				out = append(out, text)
			}
		case "minLength":
			out = append(out, "")
		case "maxLength":
			text, _ := valid.(string)
			n := int(v.(float64))
			out = append(out, pad(text, n), pad(text, n+1))
		case "minimum", "maximum":
			out = append(out, v, v.(float64)-1, v.(float64)+1, v.(float64)*1.5)
		case "maxItems":
			items := valid.([]any)
			n := int(v.(float64))
			out = append(out, repeated(items[0], n), repeated(items[0], n+1))
		case "anyOf": // of numbers, or of texts
			for _, choice := range v.([]any) {
				out = append(out, s.variants(t, choice.(map[string]any), valid)...)
			}
		case "const":
			out = append(out, v)
		case "format":
			out = append(out, formats[v.(string)]...)
		case "oneOf": // an object, or an array of them
			out = append(out, s.arrays(t, schema, valid)...)
		}
	}
	if items, ok := schema["items"].(map[string]any); ok {
		for _, item := range s.variants(t, items, valid.([]any)[0]) {
			out = append(out, []any{item})
		}
	}
	if object, ok := valid.(map[string]any); ok {
		out = append(out, s.objects(t, schema, object)...)
	}
	return out
}

func (s *spec) resolve(schema map[string]any) map[string]any {
	ref, ok := schema["$ref"]
	if !ok {
		return schema
	}
	out := maps.Clone(s.follow(map[string]any{"$ref": ref}).(map[string]any))
	maps.Copy(out, schema)
	return out
}

func (s *spec) arrays(t *testing.T, schema map[string]any, valid any) (out []any) {
	for _, choice := range schema["oneOf"].([]any) {
		n, ok := s.resolve(choice.(map[string]any))["maxItems"].(float64)
		if !ok {
			out = append(out, s.variants(t, choice.(map[string]any), valid)...)
			continue
		}
		out = append(out, []any{}, []any{valid}, []any{valid, "a"}, repeated(valid, int(n)), repeated(valid, int(n)+1))
	}
	return out
}

// objects varies an object's members one by one.
func (s *spec) objects(t *testing.T, schema, valid map[string]any) (out []any) {
	with := func(name string, v any) {
		changed := maps.Clone(valid)
		changed[name] = v
		out = append(out, changed)
	}
	for name := range valid {
		changed := maps.Clone(valid)
		delete(changed, name)
		out = append(out, changed)
	}
	if schema["additionalProperties"] == false {
		with("noSuchMember", 1.0)
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, property := range properties {
		if valid[name] == nil && exclusive[name] {
			continue
		}
		if valid[name] == nil {
			t.Errorf("the valid request lacks %s", name)
			continue
		}
		for _, v := range s.variants(t, property.(map[string]any), valid[name]) {
			with(name, v)
		}
	}
	if each, ok := schema["additionalProperties"].(map[string]any); ok && properties == nil {
		for name, v := range valid {
			for _, v := range s.variants(t, each, v) {
				with(name, v)
			}
		}
	}
	if names, ok := schema["propertyNames"].(map[string]any); ok {
		for _, name := range namesOf(names) {
			with(name, anyOf(valid))
		}
	}
	if n, ok := schema["maxProperties"].(float64); ok {
		for _, n := range []int{0, int(n), int(n) + 1} {
			many := map[string]any{}
			for i := range n {
				many[fmt.Sprint("name", i)] = anyOf(valid)
			}
			out = append(out, many)
		}
	}
	return out
}

// namesOf gives names on both sides of what a schema says of them.
func namesOf(schema map[string]any) (out []string) {
	pattern, _ := schema["pattern"].(string)
	out = slices.Concat(samples[pattern].good, samples[pattern].bad)
	for _, name := range anySlice(schema["enum"]) {
		out = append(out, name.(string))
	}
	if not, ok := schema["not"].(map[string]any); ok {
		out = append(out, namesOf(not)...)
	}
	for _, choice := range anySlice(schema["anyOf"]) {
		out = append(out, namesOf(choice.(map[string]any))...)
	}
	return out
}

func anySlice(v any) []any { list, _ := v.([]any); return list }

func anyOf(object map[string]any) any {
	for _, v := range object {
		return v
	}
	return nil
}

func repeated(v any, n int) []any { return slices.Repeat([]any{v}, n) }
func pad(text string, n int) string {
	return text + strings.Repeat("a", max(0, n-len(text)))
}

// complete gives a request of each route that has every member.
func (p population) complete() map[string]string {
	attribute := `{"type":"string","name":"N","description":"D","required":true,"alwaysDisclosed":true}`
	display := `"display":[{"name":"N","locale":"de","description":"D","backgroundColor":"#fff","textColor":"#000","logo":{"uri":"https://a.example/l.png","alt":"A"}}]`
	settings := `"description":"D","headers":{"x-a":"1"},"rateLimit":5,"maxInFlight":4,"retrySchedule":[5],"signatures":["v1"]`
	return map[string]string{
		"POST /endpoints": `{"url":"https://receiver.example/","id":"an-id","filterTypes":["openid4vc.issuance.failed"],` + settings + `}`,
		"PATCH /endpoints/{id}": `{"url":"https://receiver.example/","filterTypes":["openid4vc.issuance.failed"],` + settings + `,
			"status":"enabled","recoverSince":"2026-02-28T00:00:00.000Z"}`,
		"POST /endpoints/{id}/secret/rotate": `{"gracePeriodSeconds":60}`,
		"POST /endpoints/{id}/test":          `{"eventType":"openid4vc.issuance.failed"}`,
		"POST /endpoints/{id}/recover":       `{"since":"2026-02-28T00:00:00.000Z","until":"2026-03-01T00:00:00.000Z"}`,
		"POST /events":                       `{"eventType":"openid4vc.issuance.failed","payload":{"openId4VcIssuanceId":"order-1"},"idempotencyKey":"k"}`,
		"POST /templates/credentials": `{"name":"N","code":"C","type":"C","description":"D","credentialFormat":"sd-jwt","attributes":{"given_name":` + attribute + `},
			"validFor":3600,"revocable":true,` + display + `}`,
		"POST /credentials/revoke":          p.bodies["POST /credentials/revoke"],
		"POST /credentials/suspend":         p.bodies["POST /credentials/suspend"],
		"POST /credentials/resume":          p.bodies["POST /credentials/resume"],
		"POST /credentials/{id}/deferral":   `{"decision":"approve","reason":"R"}`,
		"POST /credentials/{id}/simulate":   `{"outcome":"completed"}`,
		"PATCH /templates/credentials/{id}": `{"name":"N","description":"D",` + display + `}`,
		"POST /credentials/issuance":        `{"credentialTemplateId":"` + p.ids["templates"] + `","attributes":{"given_name":"Z"},"expiresIn":60,"txCode":{"length":4,"inputMode":"text"},"deferred":true}`,
	}
}

// alternative gives requests with the members that cannot stand beside those of
// the complete one.
func (p population) alternative() map[string]string {
	return map[string]string{
		"POST /credentials/issuance": `{"credentials":[{"credentialTemplateId":"` + p.ids["templates"] + `","attributes":{"given_name":"Z"}}],"expiresIn":60,"txCode":true,"deferred":false}`,
	}
}

// What the document allows in a request the server takes, and what it forbids
// the server refuses, on both sides of every rule that it states.
func TestEveryRuleIsEnforced(t *testing.T) {
	w := newWorld(t)
	s := specOf(t, w.server)
	made := w.population()
	for _, route := range w.server.Routes() {
		if route.Request == nil {
			continue
		}
		place := []string{"paths", route.Pattern, strings.ToLower(route.Method), "requestBody", "content", "application/json", "schema"}
		var variants []any
		for _, requests := range []map[string]string{made.complete(), made.alternative()} {
			text, ok := requests[route.Method+" "+route.Pattern]
			if !ok && variants != nil {
				continue
			}
			var valid any
			if err := json.Unmarshal([]byte(text), &valid); err != nil {
				t.Fatalf("%s %s: give a complete request: %v", route.Method, route.Pattern, err)
			}
			variants = append(append(variants, s.variants(t, s.find(place...), valid)...), valid)
		}
		if len(variants) < 8 {
			t.Errorf("%s has only %d variants", route.Pattern, len(variants))
		}
		for _, v := range variants {
			text := asJSON(t, v)
			a := w.request(route.Method, made.path(route), string(text))
			told := s.at(t, specURL, place...).Validate(decoded(t, text))
			if a.status != 400 && a.status != 409 && a.status >= 300 {
				t.Errorf("%s: status %d for %s", route.Pattern, a.status, brief(text))
			}
			if (told == nil) != (a.status != 400) && !knownDifference(route, a) {
				t.Errorf("%s: the server says %d and the document %v to %s: %s", route.Pattern, a.status, told, brief(text), a.text)
			}
		}
	}
}

// knownDifference tells of what JSON Schema cannot say.
func knownDifference(route server.Route, a answer) bool {
	detail := a.body()["errors"]
	text := fmt.Sprint(detail)
	switch route.Pattern {
	case "/credentials/issuance": // what the template has, or that there is one
		return strings.Contains(text, "The template") || strings.Contains(text, "The attribute") || strings.Contains(text, "There is no credential template") ||
			strings.Contains(text, "one credential of each template")
	case "/credentials/revoke", "/credentials/suspend", "/credentials/resume": // which credentials there are
		return strings.Contains(text, "There is no credential") || strings.Contains(text, "stands at /ids/")
	case "/endpoints/{id}", "/endpoints/{id}/recover": // what the endpoint has, or what is still kept
		return strings.Contains(text, "at the moment") || strings.Contains(text, "may be gone") || strings.Contains(text, "The period must begin") ||
			strings.Contains(text, "recoverSince goes with")
	case "/templates/credentials", "/templates/credentials/{id}": // two members that must be equal, or must not be
		return strings.Contains(text, "the two must not differ") || strings.Contains(text, "Each language is there once")
	}
	return false
}

func brief(text []byte) string {
	if len(text) > 300 {
		return string(text[:300]) + "…"
	}
	return string(text)
}

// beyondSchema are bad bodies that JSON Schema cannot tell: those that are no
// JSON at all or that only the server's own data makes bad.
var beyondSchema = []string{
	"empty", "only white space", "not JSON", "second line", "cut", "trailing comma", "trailing data", "comment", "byte order mark", "invalid UTF-8",
	"half a surrogate", "NUL", "NUL in a name", "twice", "twice in an array", "loopback", "two codes", "unknown template", "required attribute",
	"no attributes at all", "unknown attribute", "wrong attribute", "huge number",
}

// The bad bodies that other tests send are bad by the document, too.
func TestBadBodiesAreBadByTheDocument(t *testing.T) {
	s := specOf(t, newWorld(t).server)
	for _, test := range badBodies {
		if slices.Contains(beyondSchema, test.name) {
			continue
		}
		schema := s.at(t, specURL, "paths", test.route, "post", "requestBody", "content", "application/json", "schema")
		if schema.Validate(decoded(t, []byte(test.body))) == nil {
			t.Errorf("%s: the document allows it", test.name)
		}
	}
}
