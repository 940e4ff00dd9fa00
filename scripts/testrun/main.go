// Command testrun runs "go test" and ends with one line that counts:
//
//	412 passed, 0 failed, 0 skipped
//
// Of tests that pass it shows nothing, of the others all that they wrote.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	timeout := flag.Duration("timeout", 12*time.Minute, "how long all tests together may take")
	skips := flag.String("skips", "allow", "whether a skipped test is a failure: allow or fail")
	summary := flag.String("summary", "", "a file that gets the last line, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("the time of %v is over", *timeout))
	defer cancel()
	t := newTally(os.Stdout)
	err := run(ctx, t, flag.Args())
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil && (t.failed == 0 || ctx.Err() != nil) {
		fmt.Println("testrun:", err)
		t.failed++
	}
	fmt.Println(t)
	if *summary != "" {
		if err := os.WriteFile(*summary, []byte(t.String()+"\n"), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "testrun:", err)
			os.Exit(1)
		}
	}
	if t.failed > 0 || t.passed == 0 || t.skipped > 0 && *skips == "fail" {
		os.Exit(1)
	}
}

// run has "go test" report to t. When ctx ends, go and all that it started end.
func run(ctx context.Context, t *tally, args []string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	t.read(out)
	return cmd.Wait()
}

// event is a line of "go test -json" (go doc test2json).
type event struct {
	Action     string
	ImportPath string
	Package    string
	Test       string
	Output     string
	Elapsed    float64
}

type name struct{ pkg, test string }

// tally counts tests, subtests too, and shows those that do not pass.
type tally struct {
	w                       io.Writer
	passed, failed, skipped int
	output                  map[name]*bytes.Buffer // of what has not ended yet
	failedIn                map[string]int         // tests, by package
}

func newTally(w io.Writer) *tally {
	return &tally{w: w, output: map[name]*bytes.Buffer{}, failedIn: map[string]int{}}
}

// String is the last line.
func (t *tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}

func (t *tally) read(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil {
				t.add(e)
			} else {
				t.w.Write(line) // what go itself has to say
			}
		}
		if err != nil {
			return
		}
	}
}

func (t *tally) add(e event) {
	n := name{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		io.WriteString(t.w, e.Output)
	case "output":
		if t.output[n] == nil {
			t.output[n] = &bytes.Buffer{}
		}
		t.output[n].WriteString(e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			t.endPackage(e)
		} else {
			t.endTest(n, e.Action)
		}
	}
}

func (t *tally) endTest(n name, action string) {
	switch action {
	case "pass":
		t.passed++
	case "skip":
		t.skipped++
		t.show(n)
	case "fail":
		t.failed++
		t.failedIn[n.pkg]++
		t.show(n)
	}
	delete(t.output, n)
}

func (t *tally) endPackage(e event) {
	own := name{pkg: e.Package}
	if e.Action == "fail" {
		for n := range t.output { // what a panic or a timeout has cut short
			if n.pkg == e.Package && n != own {
				t.show(n)
				delete(t.output, n)
			}
		}
		t.show(own)
		if t.failedIn[e.Package] == 0 { // it was not built, or fell outside of a test
			t.failed++
		}
		fmt.Fprintf(t.w, "FAIL\t%s\t%.1fs\n", e.Package, e.Elapsed)
	} else if e.Action == "pass" {
		fmt.Fprintf(t.w, "ok\t%s\t%.1fs\n", e.Package, e.Elapsed)
	}
	delete(t.output, own)
}

func (t *tally) show(n name) {
	if b := t.output[n]; b != nil {
		t.w.Write(b.Bytes())
	}
}
