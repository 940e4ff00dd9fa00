package bench_test

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings/internal/apptest"
	"tidings/internal/bench"
	"tidings/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(apptest.Main(m)) }

// TestScenarios runs those that are quick with tiny sizes, and wants every
// figure that they promise.
func TestScenarios(t *testing.T) {
	scenarios(t, "sqlite", "", "latency", "fanout", "wallet", "idle", "backlog", "history")
}

func TestScenariosOnPostgreSQL(t *testing.T) {
	scenarios(t, "postgres", pgtest.Start(t, pgtest.Durable...), "latency", "history", "nodes")
}

// What would not be on disk is not measured.
func TestADatabaseThatDoesNotSyncIsRefused(t *testing.T) {
	_, err := bench.Run(t.Context(), bench.Config{Dir: t.TempDir(), Database: pgtest.Start(t)}, nil)
	if err == nil || !strings.Contains(err.Error(), "fsync=off") {
		t.Errorf("error %v", err)
	}
}

func scenarios(t *testing.T, store, database string, names ...string) {
	var shown []bench.Row
	rows, err := bench.Run(t.Context(), bench.Config{
		Binary: apptest.Binary(t, false), Dir: t.TempDir(), Database: database, Scenarios: names,
		Sizes: bench.Sizes{Window: 200 * time.Millisecond, Idle: 20, Pending: 20_000, History: 1000, Endpoints: 10},
	}, func(r bench.Row) { shown = append(shown, r) })
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bench.Row{}
	for _, r := range rows {
		got[r.Scenario] = r
	}
	if len(shown) != len(rows) || len(got) != len(rows) {
		t.Errorf("%d rows, %d of them shown, with %d names", len(rows), len(shown), len(got))
	}
	for name, figures := range map[string][]float64{
		"latency":        {got["latency"].P50Ms, got["latency"].P99Ms, got["latency"].RSSMiB},
		"fanout":         {got["fanout"].DeliveriesPerSecond, got["fanout"].LoopPerSecond, got["fanout"].Ratio, got["fanout"].CPUMicrosPerEvent},
		"wallet":         {got["wallet"].DeliveriesPerSecond, got["wallet"].P50Ms, got["wallet"].P99Ms},
		"idle":           {got["idle"].RSSMiB},
		"backlog-start":  {got["backlog-start"].P50Ms},
		"backlog-memory": {got["backlog-memory"].RSSMiB},
		"backlog-drain":  {got["backlog-drain"].DeliveriesPerSecond, got["backlog-drain"].Ratio},
		"nodes-1":        {got["nodes-1"].DeliveriesPerSecond, got["nodes-1"].CPUMicrosPerEvent},
		"nodes-3":        {got["nodes-3"].DeliveriesPerSecond, got["nodes-3"].Ratio},
		"history-1000":   {got["history-1000"].DeliveriesPerSecond, got["history-1000"].Ratio},
	} {
		if scenario, _, _ := strings.Cut(name, "-"); !slices.Contains(names, scenario) {
			continue
		}
		for i, f := range figures {
			if f <= 0 {
				t.Errorf("%s: figure %d is missing in %+v", name, i, got[name])
			}
		}
		if got[name].Store != store || got[name].Target == "" {
			t.Errorf("%s: store or target is missing in %+v", name, got[name])
		}
	}
}

func TestUnknownScenario(t *testing.T) {
	_, err := bench.Run(t.Context(), bench.Config{Scenarios: []string{"nonesuch"}}, nil)
	if err == nil || !strings.Contains(err.Error(), `"nonesuch"`) {
		t.Errorf("error %v", err)
	}
}

// TestPlots wants each curve drawn with its points in order and inside the
// drawing.
func TestPlots(t *testing.T) {
	rows := []bench.Row{{Scenario: "single-1", Store: "sqlite", CPUMicrosPerEvent: 150}}
	amounts := map[string][]int{"fanout": {1, 10, 100, 1000}, "endpoints": {1, 10}, "history": {0, 100, 1000}, "backlog": {50_306, 101_946, 1_007_089}}
	for what, all := range amounts {
		for i, n := range all {
			rows = append(rows, bench.Row{Scenario: fmt.Sprintf("%s=%d", what, n), Store: "sqlite", CPUMicrosPerEvent: 100 + float64(i), LoopCPUMicros: 40})
		}
	}
	dir := filepath.Join(t.TempDir(), "plots")
	if err := bench.Plots(rows, dir); err != nil {
		t.Fatal(err)
	}
	for what, all := range amounts {
		points := len(all)
		text, err := os.ReadFile(filepath.Join(dir, "cost-"+what+"-sqlite.svg"))
		if err != nil {
			t.Fatal(err)
		}
		var svg struct {
			ViewBox string `xml:"viewBox,attr"`
			Circles []struct {
				X float64 `xml:"cx,attr"`
				Y float64 `xml:"cy,attr"`
			} `xml:"circle"`
		}
		if err := xml.Unmarshal(text, &svg); err != nil {
			t.Fatalf("%s: %v\n%s", what, err, text)
		}
		var width, height float64
		if _, err := fmt.Sscanf(svg.ViewBox, "0 0 %f %f", &width, &height); err != nil {
			t.Fatal(err)
		}
		if len(svg.Circles) != 2*points {
			t.Fatalf("%s: %d points, want %d and as many of the loop", what, len(svg.Circles), points)
		}
		for i, c := range svg.Circles {
			if i%points > 0 && c.X <= svg.Circles[i-1].X || c.X <= 0 || c.X >= width || c.Y <= 0 || c.Y >= height {
				t.Errorf("%s: point %d is at %v", what, i, c)
			}
		}
	}
	if err := bench.Plots(rows[:1], dir); err == nil {
		t.Error("rows without a curve were drawn")
	}
}
