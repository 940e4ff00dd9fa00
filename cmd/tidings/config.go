package main

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/BurntSushi/toml" // TOML for the configuration file: comments, one reader, kept for a decade
	"github.com/alecthomas/kong"
)

// fileResolver gives flags the values of the configuration file. Flags win over
// the environment, and that over the file.
type fileResolver struct{}

// Validate reports a file that cannot be read, or that names a setting that does
// not exist.
func (fileResolver) Validate(app *kong.Application) error {
	values, path, err := readConfigFile(configPath(os.Args[1:]))
	if err != nil || values == nil {
		return err
	}
	known := map[string]bool{}
	for _, command := range app.Leaves(false) {
		for _, flags := range command.AllFlags(false) {
			for _, f := range flags {
				known[f.Name] = known[f.Name] || len(f.Envs) > 0
			}
		}
	}
	var unknown []string
	for name := range values {
		if !known[name] || name == "config" {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return fmt.Errorf("%s: no such setting: %s", path, strings.Join(unknown, ", "))
	}
	return nil
}

// Resolve gives the file's value for a flag, unless the environment has one. A
// flag without a name in the environment is no setting: it says what one call
// of a command does.
func (fileResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return nil, nil
		}
	}
	if flag.Name == "config" || len(flag.Envs) == 0 {
		return nil, nil
	}
	values, _, err := readConfigFile(configPath(os.Args[1:]))
	if err != nil {
		return nil, nil // Validate has reported it
	}
	v, ok := values[flag.Name]
	if !ok {
		return nil, nil
	}
	if list, ok := v.([]any); ok {
		parts := make([]string, len(list))
		for i := range list {
			parts[i] = fmt.Sprint(list[i])
		}
		return strings.Join(parts, ","), nil
	}
	return fmt.Sprint(v), nil
}

// configPath finds --config on the command line, else TIDINGS_CONFIG.
func configPath(args []string) string {
	for i, a := range args {
		if path, ok := strings.CutPrefix(a, "--config="); ok {
			return path
		}
		if a == "--config" && i+1 < len(args) {
			return args[i+1]
		}
	}
	return os.Getenv("TIDINGS_CONFIG")
}

func readConfigFile(path string) (map[string]any, string, error) {
	if path == "" {
		return nil, "", nil
	}
	values := map[string]any{}
	if _, err := toml.DecodeFile(path, &values); err != nil {
		return nil, path, fmt.Errorf("reading the configuration: %w", err)
	}
	return values, path, nil
}
