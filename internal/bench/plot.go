package bench

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A curve's rows are named by what grows and how much there is of it.
const curveMark = "="

// What the plots say of what grows.
var curveTitles = map[string]string{
	curveFanout:    "endpoints that get each event",
	curveEndpoints: "endpoints, each of an organisation of its own; an event goes to one",
	curveHistory:   "delivered rows of history; an event goes to 10 endpoints",
	curveBacklog:   "pending deliveries at 100 endpoints, while they drain",
}

// Plots draws each curve of the rows as an SVG file in dir: the server's
// processor time for a delivery against how much there is of what grows.
func Plots(rows []Row, dir string) error {
	curves := map[string][]Row{}
	for _, r := range rows {
		if what, _, ok := strings.Cut(r.Scenario, curveMark); ok {
			curves[what] = append(curves[what], r)
		}
	}
	if len(curves) == 0 {
		return fmt.Errorf("there is no curve to plot: measure the scenario curves")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for what, points := range curves {
		svg, err := drawCurve(curveTitles[what], points)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("cost-%s-%s.svg", what, points[0].Store)), []byte(svg), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Measures of a drawing: its size, and the part in which the lines are.
const (
	drawingWidth, drawingHeight = 560, 260
	left, right, top, bottom    = 50, 540, 36, 208
)

// drawCurve draws one curve, what grows on a scale of powers of ten, with the
// cost of the bare loop beside each point below it.
func drawCurve(title string, points []Row) (string, error) {
	var amounts, cost, loop []float64
	for _, p := range points {
		_, text, _ := strings.Cut(p.Scenario, curveMark)
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return "", fmt.Errorf("the row %q names no amount: %w", p.Scenario, err)
		}
		amounts, cost, loop = append(amounts, n), append(cost, p.CPUMicrosPerEvent), append(loop, p.LoopCPUMicros)
	}
	high := roundUp(cost, loop)
	x, y := place(amounts), func(v float64) float64 { return bottom - v/high*(bottom-top) }

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11" fill="#333">`+"\n", drawingWidth, drawingHeight)
	fmt.Fprintf(&b, `<title>Cost against %s</title><rect width="100%%" height="100%%" fill="#fff"/>`+"\n", title)
	fmt.Fprintf(&b, `<text x="8" y="18">processor time, µs: <tspan fill="#1f5fbf">the server's for a delivery</tspan>, <tspan fill="#8a8a8a">a request of the bare loop at the same time</tspan></text>`+"\n")
	for _, v := range []float64{0, high / 2, high} {
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>`+"\n", left, y(v), right, left-6, y(v)+4, v)
	}
	for i, n := range amounts {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x[i], bottom+18, grouped(n))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (left+right)/2, bottom+40, title)
	drawLine(&b, "#8a8a8a", x, loop, y, 15)
	drawLine(&b, "#1f5fbf", x, cost, y, -7)
	return b.String() + "</svg>\n", nil
}

// drawLine draws points with their values, which stand so far below them, and
// the line that joins them.
func drawLine(b *strings.Builder, colour string, x, values []float64, y func(float64) float64, below float64) {
	var path strings.Builder
	for i, v := range values {
		fmt.Fprintf(&path, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[i == 0], x[i], y(v))
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/><text x="%.1f" y="%.1f" text-anchor="middle" fill="%s">%.0f</text>`+"\n", x[i], y(v), colour, x[i], y(v)+below, colour, v)
	}
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"/>`+"\n", path.String(), colour)
}

// place puts amounts on a scale of powers of ten; nothing stands a step before
// the smallest.
func place(amounts []float64) []float64 {
	least, most := math.Inf(1), 0.0
	for _, n := range amounts {
		if n > 0 {
			least, most = min(least, math.Log10(n)), max(most, math.Log10(n))
		}
	}
	steps := make([]float64, len(amounts))
	for i, n := range amounts {
		if steps[i] = least - 1; n > 0 {
			steps[i] = math.Log10(n)
		}
		least = min(least, steps[i])
	}
	span := most - least
	if span == 0 {
		span = 1
	}
	x := make([]float64, len(amounts))
	for i, s := range steps {
		x[i] = left + 30 + (s-least)/span*(right-left-60)
	}
	return x
}

// roundUp gives a round number that no value reaches.
func roundUp(all ...[]float64) float64 {
	high := 1.0
	for _, values := range all {
		for _, v := range values {
			high = max(high, v*1.1)
		}
	}
	unit := math.Pow(10, math.Floor(math.Log10(high)))
	return math.Ceil(high/unit*2) / 2 * unit
}

// grouped writes a number with its thousands apart.
func grouped(n float64) string {
	text := strconv.FormatFloat(n, 'f', 0, 64)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
