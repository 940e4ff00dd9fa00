package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/alecthomas/kong"
)

var update = flag.Bool("update", false, "write the table of settings into docs/operating.md")

const (
	exampleFile   = "../../tidings.example.toml"
	operatingPage = "../../docs/operating.md"
)

// setting is a flag of serve that a configuration file can hold.
type setting struct{ name, env, value, help string }

// settings lists them, in the order of the help.
func settings(t *testing.T) []setting {
	t.Helper()
	parser, err := kong.New(&cli{})
	if err != nil {
		t.Fatal(err)
	}
	var out []setting
	for _, command := range parser.Model.Children {
		if command.Name != "serve" {
			continue
		}
		for _, f := range command.Flags {
			if f.Name != "config" {
				out = append(out, setting{f.Name, strings.Join(f.Envs, ", "), f.Default, f.Help})
			}
		}
	}
	if len(out) == 0 {
		t.Fatal("serve has no settings")
	}
	return out
}

// example gives the example file with every setting in force.
func example(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^#([a-z-]+ *= )`).ReplaceAllString(string(text), "$1")
}

func TestTheExampleFileHasEverySettingAndNothingElse(t *testing.T) {
	var have map[string]any
	if _, err := toml.Decode(example(t), &have); err != nil {
		t.Fatal(err)
	}
	for _, s := range settings(t) {
		v, ok := have[s.name]
		if !ok {
			t.Errorf("%s is missing", s.name)
			continue
		}
		delete(have, s.name)
		if list, ok := v.([]any); ok {
			var parts []string
			for _, part := range list {
				parts = append(parts, fmt.Sprint(part))
			}
			v = strings.Join(parts, ",")
		}
		if s.value != "" && fmt.Sprint(v) != s.value {
			t.Errorf("%s is %v, its default is %s", s.name, v, s.value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		t.Errorf("%s is no setting", name)
	}
}

// parseServe parses "serve" with a configuration file.
func parseServe(t *testing.T, config string) (serveCommand, error) {
	t.Helper()
	for _, s := range settings(t) {
		unset(t, s.env)
	}
	path := filepath.Join(t.TempDir(), "tidings.toml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TIDINGS_CONFIG", path)
	var c cli
	parser, err := kong.New(&c, kong.Resolvers(fileResolver{}), kong.Writers(io.Discard, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse([]string{"serve"})
	return c.Serve, err
}

// unset takes a variable out of the environment until the test ends.
func unset(t *testing.T, name string) {
	t.Setenv(name, "")
	os.Unsetenv(name)
}

func TestTheExampleFileChangesNothingButWhatHasNoDefault(t *testing.T) {
	with, err := parseServe(t, example(t))
	if err != nil {
		t.Fatal(err)
	}
	without, err := parseServe(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if with.Database == "" || with.PublicURL == "" || with.TLSCert == "" || len(with.EgressAllow) == 0 || with.EgressProxy == "" {
		t.Errorf("the examples do not arrive: %+v", with)
	}
	with.Database, with.DatabaseListen, with.PublicURL, with.TLSCert, with.TLSKey, with.EgressAllow, with.EgressCA, with.EgressProxy = "", "", "", "", "", nil, "", ""
	with.AuthIssuer, with.AuthAudience, with.AuthScopePrefix, with.AuthCA = "", "", "", ""
	with.Config, without.Config = "", ""
	if !reflect.DeepEqual(with, without) {
		t.Errorf("with the file %+v\nwithout   %+v", with, without)
	}
}

func TestAnUnknownSettingIsRefused(t *testing.T) {
	_, err := parseServe(t, "lisen = \"127.0.0.1:1\"\n")
	if err == nil || !strings.Contains(err.Error(), "no such setting: lisen") {
		t.Errorf("error %v", err)
	}
}

// TestTheOperatingPageListsEverySetting keeps the page's table true. Run it
// with -update after a flag of serve has changed.
func TestTheOperatingPageListsEverySetting(t *testing.T) {
	var table strings.Builder
	table.WriteString("| flag, name in the file | environment | default | |\n| --- | --- | --- | --- |\n")
	for _, s := range settings(t) {
		value := ""
		if s.value != "" {
			value = "`" + s.value + "`"
		}
		fmt.Fprintf(&table, "| `--%s` | `%s` | %s | %s |\n", s.name, s.env, value, s.help)
	}
	text, err := os.ReadFile(operatingPage)
	if err != nil {
		t.Fatal(err)
	}
	const start, end = "<!-- settings: made by a test of cmd/tidings -->\n", "<!-- end of settings -->"
	before, rest, ok := strings.Cut(string(text), start)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the page has no place for the table")
	}
	want := before + start + table.String() + end + after
	if string(text) == want {
		return
	}
	if !*update {
		t.Fatal("the table of settings is out of date: go test ./cmd/tidings -run OperatingPage -update")
	}
	if err := os.WriteFile(operatingPage, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}
