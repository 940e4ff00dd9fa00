package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"tidings/internal/apptest"
)

const tourPage = "../../docs/cli.md"

// tourExample is a command of the page with what it prints.
type tourExample struct {
	command string
	output  string
	listen  bool // it goes on to the end of the page
}

// tour cuts the page into the text between examples and the examples.
func tour(t *testing.T, page string) (texts []string, examples []*tourExample) {
	t.Helper()
	var text strings.Builder
	var now *tourExample
	var inside, listen, open bool
	for line := range strings.Lines(page) {
		switch {
		case !inside || strings.HasPrefix(line, "```"):
			inside = !inside && strings.HasPrefix(line, "```console")
			listen = strings.HasPrefix(line, "```console listen")
			now, open = nil, false
			text.WriteString(line)
		case open:
			now.command += line
			open = strings.HasSuffix(line, "\\\n")
		case strings.HasPrefix(line, "$ "):
			now = &tourExample{command: strings.TrimPrefix(line, "$ "), listen: listen}
			open = strings.HasSuffix(line, "\\\n")
			texts, examples = append(texts, text.String()), append(examples, now)
			text.Reset()
		default:
			now.output += line
		}
	}
	if len(examples) < 10 {
		t.Fatalf("the page has only %d examples", len(examples))
	}
	return append(texts, text.String()), examples
}

// changing is what differs from run to run.
var changing = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`\bc[0-9a-z]{24}\b`), "ID"},
	{regexp.MustCompile(`\b[0-9a-f]{24}\b`), "REQUEST"},
	{regexp.MustCompile(`\bplay-[a-z2-7]{10}\b`), "PLAY"},
	{regexp.MustCompile(`whsec_[A-Za-z0-9+/=]+`), "SECRET"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`), "TIME"},
	{regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d`), "TIME"},
	{regexp.MustCompile(`\b[0-9.]+m?s\b`), "TOOK"},
	{regexp.MustCompile(` {2,}`), "  "},
}

func steady(text string) string {
	for _, c := range changing {
		text = c.what.ReplaceAllString(text, c.by)
	}
	return text
}

// tourShell is a shell in which the examples run, one after the other.
type tourShell struct {
	in     io.Writer
	out    *bufio.Scanner
	env    []string
	real   *strings.Replacer // the page's addresses to those of the test
	pretty *strings.Replacer // and back
}

func newTourShell(t *testing.T, variables map[string]string) *tourShell {
	pairs := []string{"https://receiver.example/webhooks", variables["RECEIVER"], "http://localhost:3000/webhooks", variables["LOCAL"], "https://tidings.example", variables["TIDINGS_URL"]}
	s := &tourShell{real: strings.NewReplacer(pairs...), env: os.Environ()}
	for i := 0; i < len(pairs); i += 2 {
		pairs[i], pairs[i+1] = pairs[i+1], pairs[i]
	}
	s.pretty = strings.NewReplacer(pairs...)
	for name, value := range variables {
		s.env = append(s.env, name+"="+value)
	}
	cmd := exec.Command("bash")
	cmd.Env, cmd.Dir = s.env, t.TempDir()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	s.in, s.out = in, bufio.NewScanner(out)
	return s
}

// run gives what a command prints.
func (s *tourShell) run(t *testing.T, command string) string {
	t.Helper()
	fmt.Fprintf(s.in, "%secho @@end\n", s.real.Replace(command))
	var out strings.Builder
	for s.out.Scan() {
		if s.out.Text() == "@@end" {
			return s.pretty.Replace(out.String())
		}
		out.WriteString(s.out.Text() + "\n")
	}
	t.Fatalf("the shell ended: %v", s.out.Err())
	return ""
}

// listen starts the listener and waits until it listens; the function that it
// gives waits for so many lines and ends it.
func (s *tourShell) listen(t *testing.T, command string) func(lines int) string {
	t.Helper()
	out := &apptest.Log{}
	cmd := exec.Command("bash", "-c", "exec "+s.real.Replace(command))
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	apptest.Await(t, "it listens", func() bool { return strings.Contains(out.String(), "listening") })
	return func(lines int) string {
		t.Helper()
		apptest.Await(t, "it has printed all", func() bool { return strings.Count(out.String(), "\n") >= lines })
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("listen ends with %v", err)
		}
		return s.pretty.Replace(out.String())
	}
}

// TestTheTourIsTrue runs every example of docs/cli.md and compares what it
// prints. Run it with -update after that has changed.
func TestTheTourIsTrue(t *testing.T) {
	page, err := os.ReadFile(tourPage)
	if err != nil {
		t.Fatal(err)
	}
	texts, examples := tour(t, string(page))
	_, variables := newScriptWorld(t, t.TempDir())
	got := runTour(t, newTourShell(t, variables), examples)
	var fresh strings.Builder
	for i, e := range examples {
		if steady(got[i]) != steady(e.output) {
			if !*update {
				t.Errorf("%s\nprints\n%s\nand the page says\n%s", e.command, got[i], e.output)
			}
			e.output = got[i]
		}
		fresh.WriteString(texts[i] + "$ " + e.command + e.output)
	}
	fresh.WriteString(texts[len(examples)])
	if *update {
		if err := os.WriteFile(tourPage, []byte(fresh.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// runTour gives what each example prints.
func runTour(t *testing.T, shell *tourShell, examples []*tourExample) []string {
	t.Helper()
	got, listening := make([]string, len(examples)), -1
	var stop func(lines int) string
	for i, e := range examples {
		if e.listen {
			listening, stop = i, shell.listen(t, e.command)
			continue
		}
		got[i] = shell.run(t, e.command)
		if strings.HasPrefix(e.command, "tidings delivery") && strings.Contains(got[i], "pending") { // on its way
			apptest.Await(t, "it is delivered", func() bool {
				got[i] = shell.run(t, e.command)
				return !strings.Contains(got[i], "pending")
			})
		}
	}
	if listening >= 0 {
		got[listening] = stop(strings.Count(examples[listening].output, "\n"))
	}
	return got
}
