package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// page writes the demo's output: numbered steps, and below each one line per
// thing that happens, in columns.
type page struct {
	w     io.Writer
	color bool
	steps int
}

// Escape sequences (ECMA-48, SGR), used on a terminal only.
const (
	bold, faint, red, green, yellow = "1", "2", "31", "32", "33"
)

// newPage colours what is written to a terminal, unless NO_COLOR is set.
func newPage(w io.Writer) *page {
	p := &page{w: w}
	if f, ok := w.(*os.File); ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		info, err := f.Stat()
		p.color = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *page) paint(code, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *page) title(name, sentence string) {
	fmt.Fprintf(p.w, "%s  %s\n", p.paint(bold, name), sentence)
}

// step begins a numbered step.
func (p *page) step(format string, args ...any) {
	p.steps++
	fmt.Fprintf(p.w, "\n%s\n", p.paint(bold, fmt.Sprintf("%2d  %s", p.steps, fmt.Sprintf(format, args...))))
}

// line says what one of the parties does or is.
func (p *page) line(who, format string, args ...any) {
	fmt.Fprintf(p.w, "    %-10s%s\n", who, fmt.Sprintf(format, args...))
}

// answer shows a status and the JSON that came with it.
func (p *page) answer(status int, body []byte) {
	var text bytes.Buffer
	if json.Indent(&text, bytes.TrimSpace(body), "", "  ") != nil {
		text.Reset()
		text.Write(body)
	}
	p.line(strconv.Itoa(status), "%s", http.StatusText(status))
	p.block(text.String())
}

// block shows text as it could be typed or as it came, line by line.
func (p *page) block(text string) {
	for line := range strings.Lines(text) {
		fmt.Fprintf(p.w, "      %s\n", p.paint(faint, strings.TrimRight(line, "\n")))
	}
}

// verdicts are how an arrival is shown.
var verdicts = map[verdict]struct{ mark, color, answer string }{
	processed:  {"✓", green, "204, processed"},
	duplicate:  {"✓", green, "204, a duplicate: dropped"},
	refused:    {"!", yellow, "500, on purpose"},
	broken:     {"!", yellow, "processed, but the connection breaks before the answer"},
	unverified: {"✗", red, "400, NOT VERIFIED"},
}

// arrival shows one webhook.
func (p *page) arrival(a arrival) {
	v := verdicts[a.verdict]
	if a.verdict == unverified {
		p.line("webhook", "%s %v  → %s", p.paint(v.color, v.mark), a.err, v.answer)
		return
	}
	p.line("webhook", "%s %-10s signature verified   attempt %d   webhook-id %s   → %s",
		p.paint(v.color, v.mark), shortType(a.event.Type), a.event.Attempt, shortID(a.event.ID), v.answer)
}

// summary lists what was to be seen; clean says that nothing else went wrong.
func (p *page) summary(s *sightings, took time.Duration, clean bool) {
	fmt.Fprintf(p.w, "\n%s\n", p.paint(bold, "    Seen"))
	for _, name := range toBeSeen {
		mark, note := p.paint(green, "✓"), s[name]
		if note == "" {
			mark, note = p.paint(red, "✗"), "missing"
		}
		fmt.Fprintf(p.w, "    %s %-11s%s\n", mark, name.text(), note)
	}
	if s.missing() == "" && clean {
		fmt.Fprintf(p.w, "\n    All %d seen in %.1f s; nothing is left behind.\n", len(toBeSeen), took.Seconds())
	}
}

// shortType leaves out what all event types have in common.
func shortType(eventType string) string { return strings.TrimPrefix(eventType, "openid4vc.issuance.") }

// shortID shows an id's random end: its beginning is the time.
func shortID(id string) string {
	const most = 8
	if len(id) <= most {
		return id
	}
	return "…" + id[len(id)-most:]
}
