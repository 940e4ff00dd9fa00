package bench

import (
	"fmt"
	"io"
	"strings"
)

var columns = []string{"scenario", "store", "per second", "loop", "ratio", "p50 ms", "p99 ms", "CPU µs", "loop's", "RSS MiB", "met", "target"}

const layout = "%-18s %-8s %10s %8s %6s %8s %8s %7s %7s %8s %-4s %s\n"

// Header writes the head of the table.
func Header(w io.Writer) error {
	names := make([]any, len(columns))
	for i, c := range columns {
		names[i] = c
	}
	_, err := fmt.Fprintf(w, layout, names...)
	return err
}

// Print writes the row as a line of the table.
func (r Row) Print(w io.Writer) error {
	met := ""
	if r.Target != "" {
		met = map[bool]string{true: "yes", false: "no"}[r.Met]
	}
	_, err := fmt.Fprintf(w, layout, r.Scenario, r.Store, number(r.DeliveriesPerSecond, 0), number(r.LoopPerSecond, 0), number(r.Ratio, 2),
		number(r.P50Ms, 2), number(r.P99Ms, 2), number(r.CPUMicrosPerEvent, 1), number(r.LoopCPUMicros, 1), number(r.RSSMiB, 1), met, r.Target)
	return err
}

// number leaves out what was not measured.
func number(v float64, digits int) string {
	if v == 0 {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%.*f", digits, v))
}
