package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// The page shows what the program prints.
func TestThePageShowsTheModelsAnswer(t *testing.T) {
	page, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	var answer strings.Builder
	if err := plan(example, measured).print(&answer); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(answer.String()) {
		if squeeze(line) != "" && !strings.Contains(squeeze(string(page)), squeeze(line)) {
			t.Errorf("docs/scaling.md lacks the line %s", line)
		}
	}
}

// squeeze leaves one blank between words: the page is set in columns of its own.
func squeeze(text string) string { return strings.Join(strings.Fields(text), " ") }

// What is worked out by hand for round figures.
func TestPlan(t *testing.T) {
	f := figures{NodeMicros: 100, DatabaseMicros: 50, TurnMicros: 20, SendPart: 0.5, HistoryBytes: 1000, PendingBytes: 500, EndpointBytes: 1000, LogBytes: 2000, ConnectMicros: 500}
	d := demand{Endpoints: 3000, EventsPerSecond: 10_000, Deliveries: 3, Retention: time.Hour, Outage: 100 * time.Second, Down: 0.5, Load: 0.5}
	got := plan(d, f)
	// Three deliveries cost 1 + 2 × 0.5 of one: 20,000 a second.
	want := need{
		Databases:     1,               // 20,000 × 20 µs = 0.4 s of turns, at half load
		DatabaseCores: 2,               // 20,000 × 50 µs = 1 core
		NodeCores:     4,               // 20,000 × 100 µs = 2 cores; every endpoint has a connection
		Nodes:         2,               // two for each database; 5 probes a second of 15 s take 75 places
		HistoryBytes:  72e9,            // 20,000 × 3,600 × 1,000
		EndpointBytes: 3e6,             //
		LogPerSecond:  40e6,            //
		Probes:        5,               // 1,500 endpoints, each every 300 s
		Backlog:       1_500_000,       // 30,000 deliveries × 0.5 × 100 s
		BacklogBytes:  750e6,           //
		Drain:         1 * time.Minute, // 25 s by turns (15 of the 0.6 left), 37.5 s by cores (37.5 of 1, 75 of 2)
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// A hundred times the endpoints hear of something ten times a second in all, so
	// that nearly no connection lasts: 30,000 × 500 µs = 15 cores, at half load.
	d.Endpoints = 3e9
	if got := plan(d, f); got.ConnectCores != 30 || got.NodeCores != want.NodeCores+30 {
		t.Errorf("%v cores are for new connections, want 30", got.ConnectCores)
	}
}
