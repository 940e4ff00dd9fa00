// Command prometheus reads alert rules and a dashboard with Prometheus' own
// parsers, and prints what they ask for as one JSON object: the alerts, each with
// its annotations, and the series that they name.
package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

type alert struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// series is a metric with the values of labels that it is asked for by.
type series struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
}

// found is what the files hold.
type found struct {
	Alerts []alert  `json:"alerts"`
	Panels int      `json:"panels"` // of the dashboard, those that ask for something
	Series []series `json:"series"`
}

// reader collects series.
type reader struct {
	parser parser.Parser
	series []series
}

// expression parses one, and keeps the series that it names.
func (r *reader) expression(text string) error {
	e, err := r.parser.ParseExpr(text)
	if err != nil {
		return fmt.Errorf("%s: %w", text, err)
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			asked := series{v.Name, map[string]string{}}
			for _, m := range v.LabelMatchers {
				if m.Type == labels.MatchEqual && m.Name != model.MetricNameLabel {
					asked.Labels[m.Name] = m.Value
				}
			}
			r.series = append(r.series, asked)
		}
		return nil
	})
	return nil
}

func (r *reader) rules(file string) (out []alert, err error) {
	groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, r.parser, slog.Default())
	if len(errs) > 0 {
		return nil, fmt.Errorf("%s: %v", file, errs)
	}
	for _, g := range groups.Groups {
		for _, rule := range g.Rules {
			out = append(out, alert{rule.Alert, rule.Labels, rule.Annotations})
			if err := r.expression(rule.Expr); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// variables stands for what Grafana puts in before it asks Prometheus.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$job", "tidings")

// panel is what is read of a dashboard's panel; those of a row stand in it.
type panel struct {
	Title   string
	Targets []struct{ Expr string }
	Panels  []panel
}

func (r *reader) panels(all []panel) (count int, err error) {
	for _, p := range all {
		inner, err := r.panels(p.Panels)
		if err != nil {
			return 0, err
		}
		count += inner
		for _, t := range p.Targets {
			if err := r.expression(variables.Replace(t.Expr)); err != nil {
				return 0, fmt.Errorf("panel %q: %w", p.Title, err)
			}
		}
		if len(p.Targets) > 0 {
			count++
		}
	}
	return count, nil
}

func read(rules, dashboard string) (out found, err error) {
	r := &reader{parser: parser.NewParser(parser.Options{})}
	if out.Alerts, err = r.rules(rules); err != nil {
		return out, err
	}
	text, err := os.ReadFile(dashboard)
	if err != nil {
		return out, err
	}
	var d panel
	if err := json.Unmarshal(text, &d); err != nil {
		return out, fmt.Errorf("%s: %w", dashboard, err)
	}
	if out.Panels, err = r.panels(d.Panels); err != nil {
		return out, err
	}
	out.Series = r.series
	return out, nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: prometheus RULES DASHBOARD")
		os.Exit(2)
	}
	out, err := read(os.Args[1], os.Args[2])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
