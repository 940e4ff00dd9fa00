package console

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"

	"tidings"
)

// A plot is drawn on the server as SVG that stretches to the width there is; the
// words around it are HTML, so that they keep their size on every screen.
type plot struct {
	Title  string
	Words  string        // what it shows, for those who do not see it
	SVG    template.HTML // made here of numbers only
	Top    string        // the label of its upper edge
	Middle string
	From   time.Time
	To     time.Time
	Legend []legend
	Empty  bool // nothing happened
}

// Begin says when it begins, with the day where the clock alone would not do.
func (p plot) Begin() string {
	if p.To.Sub(p.From) > 12*time.Hour {
		return p.From.UTC().Format("2 Jan, 15:04")
	}
	return p.From.UTC().Format("15:04")
}

// legend says what a colour means, with a number that sums it up.
type legend struct{ Class, Word, Value string }

const (
	plotWidth  = 600
	plotHeight = 140
)

// svgStart opens a drawing. Everything else about it is class names.
func svgStart(words string) string {
	return fmt.Sprintf(`<svg viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-label="%s">`+
		`<path class="grid" d="M0 .5h%[1]dM0 %[4]dh%[1]dM0 %.1[5]fh%[1]d"/>`,
		plotWidth, plotHeight, template.HTMLEscapeString(words), plotHeight/2, plotHeight-0.5)
}

// niceTop gives a round number that is not below v.
func niceTop(v float64) float64 {
	if v <= 1 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, step := range []float64{1, 2, 4, 5, 10} {
		if v <= step*unit {
			return step * unit
		}
	}
	return 10 * unit
}

// barPlot stacks what was delivered and what failed, per step.
func barPlot(title string, tallies []tidings.Tally, step time.Duration) plot {
	most, delivered, failed := 0, 0, 0
	for _, t := range tallies {
		most = max(most, t.Delivered+t.FailedAttempts)
		delivered += t.Delivered
		failed += t.FailedAttempts
	}
	top := niceTop(float64(most))
	p := newPlot(title, tallies, step)
	p.Empty = most == 0
	p.Words = fmt.Sprintf("%s: %s delivered and %s failed attempts; at most %s per %s", title, count(delivered), count(failed), count(most), duration(step))
	p.Top, p.Middle = count(int(top)), trimZero(top/2)
	p.Legend = []legend{{"good", "delivered", count(delivered)}, {"bad", "failed attempts", count(failed)}}
	var b strings.Builder
	b.WriteString(svgStart(p.Words))
	width := float64(plotWidth) / float64(len(tallies))
	for i, t := range tallies {
		if t.Delivered+t.FailedAttempts == 0 {
			continue
		}
		x, base := float64(i)*width, float64(plotHeight)
		fmt.Fprintf(&b, `<g><title>%s: %s delivered, %s failed attempts</title>`, t.At.Format("15:04"), count(t.Delivered), count(t.FailedAttempts))
		for _, part := range []struct {
			n     int
			class string
		}{{t.Delivered, "good"}, {t.FailedAttempts, "bad"}} {
			if part.n == 0 {
				continue
			}
			h := max(float64(part.n)/top*plotHeight, 1.5) // what is there is seen
			base -= h
			fmt.Fprintf(&b, `<rect class="%s" x="%.2f" y="%.2f" width="%.2f" height="%.2f"/>`, part.class, x+width*0.1, max(base, 0), width*0.8, h)
		}
		b.WriteString(`</g>`)
	}
	p.SVG = template.HTML(b.String() + `</svg>`)
	return p
}

// ratePlot draws the part of the attempts that succeeded, per step.
func ratePlot(title string, tallies []tidings.Tally, step time.Duration) plot {
	p := newPlot(title, tallies, step)
	var all tidings.Tally
	values := make([]float64, len(tallies))
	for i, t := range tallies {
		all.Add(t)
		values[i] = -1
		if rate, ok := t.SuccessRate(); ok {
			values[i] = rate
		}
	}
	rate, ok := all.SuccessRate()
	p.Empty = !ok
	p.Words = title + ": " + percent(rate) + " in all"
	p.Top, p.Middle = "100 %", "50 %"
	p.Legend = []legend{{"good", "of all attempts", percent(rate)}}
	p.SVG = template.HTML(svgStart(p.Words) + line("good", values, 1) + `</svg>`)
	return p
}

// latencyPlot draws percentiles of the time from event to 2xx, per step.
func latencyPlot(title string, tallies []tidings.Tally, step time.Duration) plot {
	p := newPlot(title, tallies, step)
	percentiles := []struct {
		p           float64
		class, word string
	}{{0.5, "one", "half within"}, {0.95, "two", "95 % within"}, {0.99, "three", "99 % within"}}
	var all tidings.Tally
	lines := make([][]float64, len(percentiles))
	most := 0.0
	for _, t := range tallies {
		all.Add(t)
		for k, of := range percentiles {
			value := -1.0
			if d, ok := t.Latency.Percentile(of.p); ok {
				value = d.Seconds()
			}
			lines[k] = append(lines[k], value)
			most = max(most, value)
		}
	}
	p.Empty = most == 0
	top := niceTop(max(most*1000, 10)) / 1000
	p.Top, p.Middle = duration(seconds(top)), duration(seconds(top/2))
	var svg strings.Builder
	for k, of := range percentiles {
		if d, ok := all.Latency.Percentile(of.p); ok {
			p.Legend = append(p.Legend, legend{of.class, of.word, duration(d)})
		}
		svg.WriteString(line(of.class, lines[k], top))
	}
	p.Words = title
	for _, l := range p.Legend {
		p.Words += "; " + l.Word + " " + l.Value
	}
	p.SVG = template.HTML(svgStart(p.Words) + svg.String() + `</svg>`)
	return p
}

func newPlot(title string, tallies []tidings.Tally, step time.Duration) plot {
	return plot{Title: title, From: tallies[0].At, To: tallies[len(tallies)-1].At.Add(step)}
}

// line draws values as steps with lines between them; below 0 there is none, and
// the line has a gap. A value alone is a short stroke.
func line(class string, values []float64, top float64) string {
	width := float64(plotWidth) / float64(len(values))
	var d strings.Builder
	drawn := false
	for i, v := range values {
		if v < 0 {
			drawn = false
			continue
		}
		y := max(plotHeight-v/top*plotHeight, 1)
		command := "L"
		if !drawn {
			command = "M"
		}
		fmt.Fprintf(&d, "%s%.1f %.1fH%.1f", command, float64(i)*width, y, float64(i+1)*width)
		drawn = true
	}
	return `<path class="line ` + class + `" d="` + d.String() + `"/>`
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func trimZero(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") }

// part is a piece of a bar that shows how a whole is divided.
type part struct {
	Class, Word, Value string
}

// dividedBar draws where the time of an attempt went.
func dividedBar(a tidings.Attempt) (svg template.HTML, parts []part) {
	steps := []struct {
		class, word string
		d           time.Duration
	}{
		{"one", "DNS", a.Timing.DNS}, {"two", "Connect", a.Timing.Connect}, {"three", "TLS", a.Timing.TLS}, {"four", "Wait", a.Timing.Wait},
	}
	var b strings.Builder
	b.WriteString(`<svg class="divided" viewBox="0 0 600 10" preserveAspectRatio="none" aria-hidden="true"><rect class="rest" width="600" height="10"/>`)
	x := 0.0
	for _, s := range steps {
		value := "–"
		if s.d > 0 {
			value = duration(s.d)
			if a.Duration > 0 {
				width := min(float64(s.d)/float64(a.Duration)*600, 600-x)
				fmt.Fprintf(&b, `<rect class="%s" x="%.2f" width="%.2f" height="10"/>`, s.class, x, max(width, 0))
				x += width
			}
		}
		parts = append(parts, part{s.class, s.word, value})
	}
	parts = append(parts, part{"rest", "In all", duration(a.Duration)})
	return template.HTML(b.String() + `</svg>`), parts
}

// share draws a part of a whole as a bar.
func share(part float64, class string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg class="divided" viewBox="0 0 600 10" preserveAspectRatio="none" aria-hidden="true">`+
		`<rect class="rest" width="600" height="10"/><rect class="%s" width="%.1f" height="10"/></svg>`, class, min(max(part, 0), 1)*600))
}
