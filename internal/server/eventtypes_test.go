package server_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The catalogue has the names of the reference, each with a schema that its
// example and no other type's example fulfils.
func TestEventTypes(t *testing.T) {
	w := newWorld(t)
	var have, examples []string
	schemas := map[string]*jsonschema.Schema{}
	items := w.get("/event-types").want(200).items()
	for _, item := range items {
		name := item["name"].(string)
		have = append(have, name)
		compiler := jsonschema.NewCompiler()
		if err := compiler.AddResource("https://tidings.example/"+name, decoded(t, asJSON(t, item["schema"]))); err != nil {
			t.Fatal(err)
		}
		schema, err := compiler.Compile("https://tidings.example/" + name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		schemas[name] = schema
		examples = append(examples, string(asJSON(t, item["example"])))
		if item["description"] == "" || item["optIn"] != !strings.HasPrefix(name, "openid4vc.issuance.") {
			t.Errorf("item %v", item)
		}
		for _, alias := range item["aliases"].([]any) {
			if alias != strings.Replace(name, "verification", "presentation", 1) {
				t.Errorf("%s has the alias %s", name, alias)
			}
			w.post("/endpoints", `{"url":"https://r.example/","filterTypes":["`+alias.(string)+`"]}`).want(201)
		}
		w.post("/endpoints", `{"url":"https://r.example/","filterTypes":["`+name+`"]}`).want(201)
	}
	for _, name := range []string{"issuance.offered", "issuance.completed", "issuance.partiallyIssued", "issuance.failed", "issuance.expired",
		"verification.requested", "verification.verified", "verification.failed", "verification.expired", "verification.data"} {
		if !slices.Contains(have, "openid4vc."+name) {
			t.Errorf("%s is missing from %v", name, have)
		}
	}
	for i, name := range have {
		for k, example := range examples {
			if err := schemas[name].Validate(decoded(t, []byte(example))); (err == nil) != (i == k) {
				t.Errorf("the schema of %s and %s: %v", name, example, err)
			}
		}
	}
}
