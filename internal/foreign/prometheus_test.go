package foreign

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"tidings/internal/apptest"
)

const (
	alertsFile    = "../../deploy/prometheus/alerts.yml"
	dashboardFile = "../../deploy/grafana/tidings.json"
	operatingPage = "docs/operating.md"
)

// asked is what the alert rules and the dashboard ask a Prometheus for, as its
// own parsers read them.
type asked struct {
	Alerts []askedAlert
	Panels int
	Series []struct {
		Name   string
		Labels map[string]string
	}
}

type askedAlert struct {
	Name                string
	Labels, Annotations map[string]string
}

// builtPrometheus builds the program of prometheus/.
var builtPrometheus = sync.OnceValues(func() (string, error) { return buildModule("prometheus") })

func askedFor(t *testing.T) (out asked) {
	t.Helper()
	path, err := builtPrometheus()
	if err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command(path, alertsFile, dashboardFile).Output()
	if err != nil {
		failed, _ := errors.AsType[*exec.ExitError](err)
		t.Fatalf("%v: %s", err, failed.Stderr)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// scraped gives the labels of each series of a running server, by metric.
func scraped(t *testing.T) map[string][]map[string]string {
	t.Helper()
	a := apptest.New(t)
	request, err := http.NewRequest("GET", a.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	format := expfmt.NewFormat(expfmt.TypeProtoDelim) // with native histograms
	request.Header.Set("Accept", string(format))
	answer, err := a.HTTP.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	out := map[string][]map[string]string{}
	for d := expfmt.NewDecoder(answer.Body, format); ; {
		var family dto.MetricFamily
		if err := d.Decode(&family); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		for _, m := range family.Metric {
			labels := map[string]string{}
			for _, l := range m.Label {
				labels[l.GetName()] = l.GetValue()
			}
			out[family.GetName()] = append(out[family.GetName()], labels)
		}
	}
}

// ofPrometheus are labels and metrics that a Prometheus adds to what it scrapes.
var ofPrometheus = map[string]bool{"up": true, "job": true, "instance": true}

// Every series that an alert or the dashboard names is there from the start, with
// the values of labels that are asked for: no rule waits for what never comes.
func TestAlertsAndDashboardNameRealMetrics(t *testing.T) {
	t.Parallel()
	files, real := askedFor(t), scraped(t)
	for _, s := range files.Series {
		if ofPrometheus[s.Name] {
			continue
		}
		maps.DeleteFunc(s.Labels, func(name, _ string) bool { return ofPrometheus[name] })
		if !slices.ContainsFunc(real[s.Name], func(labels map[string]string) bool {
			for name, value := range s.Labels {
				if labels[name] != value {
					return false
				}
			}
			return true
		}) {
			t.Errorf("%s with %v is not in /metrics", s.Name, s.Labels)
		}
	}
	if files.Panels < 20 || len(files.Series) < 40 {
		t.Errorf("only %d panels and %d series were found", files.Panels, len(files.Series))
	}
	for _, file := range []string{alertsFile, dashboardFile} { // also where no parser looks: variables and texts
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\btidings_\w+`).FindAllString(string(text), -1) {
			if len(real[name]) == 0 {
				t.Errorf("%s names %s, which is not in /metrics", file, name)
			}
		}
	}
}

// What each server of a PostgreSQL says of the whole store alerts once, not once a
// server.
func TestAlertsOfTheWholeStoreComeOnce(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(alertsFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(text)) {
		if !regexp.MustCompile(`tidings_(backlog_|issuance_transitions_|deliveries_ended_)`).MatchString(line) {
			continue
		}
		if lines++; !regexp.MustCompile(`(max|sum) by \(job\b`).MatchString(line) {
			t.Errorf("this is asked for of each server: %s", line)
		}
	}
	if lines < 5 {
		t.Errorf("only %d lines were found", lines)
	}
}

// Each alert says what is wrong, how much it matters, and where it stands what to
// do: under a heading of its own on the page for operators.
func TestEachAlertHasARunbook(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../" + operatingPage)
	if err != nil {
		t.Fatal(err)
	}
	alerts := askedFor(t).Alerts
	if len(alerts) < 10 {
		t.Errorf("only %d alerts were found", len(alerts))
	}
	for _, a := range alerts {
		if want := operatingPage + "#" + strings.ToLower(a.Name); a.Annotations["runbook"] != want {
			t.Errorf("the runbook of %s is %q, not %q", a.Name, a.Annotations["runbook"], want)
		}
		if !strings.Contains(string(page), "\n### "+a.Name+"\n\n") {
			t.Errorf("%s has no heading ### %s", operatingPage, a.Name)
		}
		if s := a.Labels["severity"]; s != "page" && s != "ticket" || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s has the severity %q, or says too little", a.Name, s)
		}
	}
	for _, heading := range regexp.MustCompile(`(?m)^### (Tidings\w+)$`).FindAllStringSubmatch(string(page), -1) {
		if !slices.ContainsFunc(alerts, func(a askedAlert) bool { return a.Name == heading[1] }) {
			t.Errorf("%s tells of %s, which is no alert", operatingPage, heading[1])
		}
	}
}
