package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	for _, c := range []struct {
		why, events, last, shown string
	}{
		{"a pass", `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1.25}`, "1 passed, 0 failed, 0 skipped", "ok\tp\t1.2s\n"},
		{"a failure and a skip", `{"Action":"output","Package":"p","Test":"TestA/x","Output":"wrong\n"}
{"Action":"fail","Package":"p","Test":"TestA/x"}
{"Action":"output","Package":"p","Test":"TestB","Output":"no node\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}`, "0 passed, 1 failed, 1 skipped", "wrong\nno node\nFAIL\tp\t0.0s\n"},
		{"a package that is not built", `{"ImportPath":"p","Action":"build-output","Output":"syntax error\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"output","Package":"p","Output":"FAIL p [build failed]\n"}
{"Action":"fail","Package":"p"}`, "0 passed, 1 failed, 0 skipped", "syntax error\nFAIL p [build failed]\nFAIL\tp\t0.0s\n"},
		{"a panic in the middle of a test", `{"Action":"output","Package":"p","Test":"TestA","Output":"panic: timed out\n"}
{"Action":"fail","Package":"p"}`, "0 passed, 1 failed, 0 skipped", "panic: timed out\nFAIL\tp\t0.0s\n"},
		{"a package without tests", `{"Action":"output","Package":"p","Output":"? p [no test files]\n"}
{"Action":"skip","Package":"p"}`, "0 passed, 0 failed, 0 skipped", ""},
		{"words of go itself", "go: no such package", "0 passed, 0 failed, 0 skipped", "go: no such package"},
	} {
		t.Run(c.why, func(t *testing.T) {
			var shown bytes.Buffer
			tally := newTally(&shown)
			tally.read(strings.NewReader(c.events))
			if tally.String() != c.last || shown.String() != c.shown {
				t.Errorf("%q, shown %q; want %q, %q", tally, shown.String(), c.last, c.shown)
			}
		})
	}
}
