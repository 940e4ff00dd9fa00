package server

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// describedTable gives the schemas of everything in the table.
func describedTable() (*schemas, []Route) {
	table := Table()
	s := &schemas{components: object{}, types: map[string]reflect.Type{}}
	for i := range table {
		describeRoute(s, &table[i])
	}
	s.of(problemsType, answered)
	return s, table
}

// Every type and member of the API is explained, and nothing else is.
func TestEveryMemberIsExplained(t *testing.T) {
	s, table := describedTable()
	used := map[string]bool{}
	for name, typ := range s.types {
		used[name] = true
		used[strings.TrimSuffix(name, "Input")] = true
		if wordsOf(name, "").text == "" {
			t.Errorf("openapi_members.go has no words for %s", name)
		}
		s.members(typ, name, func(owner string, _ reflect.StructField, member string, _ bool) {
			used[owner+"."+member] = true
			used[strings.TrimSuffix(owner, "Input")+"."+member] = true
			if wordsOf(owner, member).text == "" {
				t.Errorf("openapi_members.go has no words for %s.%s", owner, member)
			}
		})
	}
	for key := range dictionary {
		if !used[key] {
			t.Errorf("openapi_members.go has words for %s, which is not in the API", key)
		}
	}
	var known []string
	for i := range table {
		known = append(known, table[i].Method+" "+table[i].Pattern)
	}
	for key := range operations {
		if !slices.Contains(known, key) {
			t.Errorf("openapi_operations.go has words for %s, which is not in the API", key)
		}
	}
}

// A closed set has every constant of its type: a new one must not be unknown
// to those who read the document.
func TestEnumsAreTheConstants(t *testing.T) {
	constants := constantsOf(t, "../..")
	if len(constants["EventType"]) < 10 {
		t.Fatalf("found %v", constants)
	}
	for typ, values := range enums {
		want, got := constants[typ.Name()], slices.Clone(values)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the document has %v, the constants are %v", typ.Name(), got, want)
		}
	}
}

// The patterns and the reserved names are the nouns' own.
func TestPatternsAreTheNouns(t *testing.T) {
	constants := constantsOf(t, "../..")
	for name, pattern := range map[string]string{
		"issuanceIDPattern": issuanceIDPattern, "idempotencyKeyPattern": idempotencyKeyPattern,
		"endpointIDPattern": endpointIDPattern, "codePattern": codePattern, "claimPattern": claimPattern,
		"headerName": headerNamePattern,
	} {
		if got := constants[name]; !slices.Equal(got, []string{pattern}) {
			t.Errorf("%s: the document has %s, the nouns %s", name, pattern, got)
		}
	}
	if got := constants["fixedHeaders"]; !slices.Equal(got, fixedHeaders) {
		t.Errorf("the document has the fixed headers %v, the nouns %v", fixedHeaders, got)
	}
	if got := constants["reservedClaims"]; !slices.Equal(got, reservedClaims) {
		t.Errorf("the document reserves %v, the nouns %v", reservedClaims, got)
	}
}

// constantsOf reads the texts that a package declares, by the type that is
// named with them, else by their own name.
func constantsOf(t *testing.T, dir string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			key := spec.Names[0].Name
			if typ, ok := spec.Type.(*ast.Ident); ok {
				key = typ.Name
			}
			for _, v := range spec.Values {
				ast.Inspect(v, func(n ast.Node) bool {
					if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
						value, _ := strconv.Unquote(text.Value)
						out[key] = append(out[key], value)
					}
					return true
				})
			}
			return true
		})
	}
	return out
}
