package apptest_test

import (
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"tidings/internal/app"
	"tidings/internal/apptest"
)

// scrape gives the samples of /metrics by their names with labels.
func scrape(t testing.TB, a *apptest.API) map[string]string {
	t.Helper()
	answer, err := a.HTTP.Get(a.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%d %s, %v", answer.StatusCode, text, err)
	}
	samples := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			samples[name] = value
		}
	}
	return samples
}

func TestMetricsCountWhatHappens(t *testing.T) {
	a := apptest.New(t, func(c *app.Config) { c.RetrySchedule = []time.Duration{100 * time.Millisecond} })
	receiver := apptest.NewReceiver(t, a.CA, func(w http.ResponseWriter, _ *http.Request, got apptest.Received) {
		switch {
		case contains(got.Body, "failed"):
			w.WriteHeader(http.StatusNotFound)
		case contains(got.Body, "offered") && got.Header.Get("webhook-attempt") == "1":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	endpoint := a.Register(receiver.URL)
	a.Publish("openid4vc.issuance.offered", "one")
	a.Publish("openid4vc.issuance.failed", "two")
	a.Call("POST", "/endpoints/"+endpoint+"/test", apptest.Object{"eventType": "openid4vc.issuance.expired"}, http.StatusAccepted, nil)

	want := map[string]string{
		`tidings_events_accepted_total{type="openid4vc.issuance.offered"}`:            "1",
		`tidings_events_accepted_total{type="openid4vc.issuance.failed"}`:             "1",
		`tidings_events_accepted_total{type="openid4vc.issuance.expired"}`:            "0", // a sample
		`tidings_deliveries_ended_total{reason="",status="delivered"}`:                "2",
		`tidings_deliveries_ended_total{reason="exhausted",status="failed"}`:          "1",
		`tidings_deliveries_ended_total{reason="retention",status="failed"}`:          "0",
		`tidings_deliveries_ended_total{reason="endpoint_deleted",status="canceled"}`: "0",
		`tidings_attempts_total{status="2xx"}`:                                        "2",
		`tidings_attempts_total{status="4xx"}`:                                        "2",
		`tidings_attempts_total{status="5xx"}`:                                        "1",
		`tidings_attempts_total{status="none"}`:                                       "0",
		`tidings_attempt_failures_total{reason="rejected"}`:                           "2",
		`tidings_attempt_failures_total{reason="unavailable"}`:                        "1",
		`tidings_attempt_failures_total{reason="dns"}`:                                "0",
		`tidings_issuance_transitions_total{state="completed"}`:                       "0",
		`tidings_delivery_latency_seconds_count`:                                      "2",
		`tidings_backlog_deliveries`:                                                  "0",
		`tidings_backlog_age_seconds`:                                                 "0",
	}
	var differ []string
	apptest.Await(t, "everything is counted", func() bool {
		samples := scrape(t, a.API)
		differ = nil
		for name, value := range want {
			if samples[name] != value {
				differ = append(differ, name+" is "+samples[name]+", not "+value)
			}
		}
		return len(differ) == 0
	})
	t.Cleanup(func() { // Await ends the test where they differ to the end
		if t.Failed() {
			t.Log(differ)
		}
	})
}

// histograms gives the histograms of /metrics by name, as a Prometheus gets them
// that takes native ones: only protobuf carries those.
func histograms(t *testing.T, a *apptest.App) map[string]*dto.Histogram {
	t.Helper()
	request, err := http.NewRequest("GET", a.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	format := expfmt.NewFormat(expfmt.TypeProtoDelim)
	request.Header.Set("Accept", string(format))
	answer, err := a.HTTP.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	out := map[string]*dto.Histogram{}
	for d := expfmt.NewDecoder(answer.Body, format); ; {
		var family dto.MetricFamily
		if err := d.Decode(&family); err == io.EOF {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if family.GetType() == dto.MetricType_HISTOGRAM {
			out[family.GetName()] = family.Metric[0].Histogram
		}
	}
}

// The latency runs from the acceptance of an event to the end of the attempt
// that delivered it, over all retries.
func TestMetricsShowLatencyAsANativeHistogram(t *testing.T) {
	const delay = 500 * time.Millisecond
	a := apptest.New(t, func(c *app.Config) { c.RetrySchedule = []time.Duration{delay} })
	receiver := apptest.NewReceiver(t, a.CA, func(w http.ResponseWriter, _ *http.Request, got apptest.Received) {
		if got.Header.Get("webhook-attempt") == "1" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	a.Register(receiver.URL)
	a.Publish("openid4vc.issuance.offered", "one")
	var found map[string]*dto.Histogram
	apptest.Await(t, "the delivery is counted", func() bool {
		found = histograms(t, a)
		return found["tidings_delivery_latency_seconds"].GetSampleCount() == 1
	})
	if sum := found["tidings_delivery_latency_seconds"].GetSampleSum(); sum < 0.8*delay.Seconds() || sum > 60 { // the schedule's jitter is 20 %
		t.Errorf("the delivery took %v s, and the retry alone came after %v", sum, delay)
	}
	for _, name := range []string{"tidings_delivery_latency_seconds", "tidings_commit_seconds", "tidings_commit_rows"} {
		h := found[name]
		if h.GetSchema() < 3 || len(h.GetPositiveSpan()) == 0 || h.GetSampleSum() <= 0 || len(h.GetBucket()) == 0 {
			t.Errorf("%s: schema %d, %d spans, sum %v, %d classic buckets", name, h.GetSchema(), len(h.GetPositiveSpan()), h.GetSampleSum(), len(h.GetBucket()))
		}
	}
}

func TestMetricsCountIssuancesConnectionsAndRequests(t *testing.T) {
	a := apptest.New(t, func(c *app.Config) { c.Sandbox = true })
	receiver := apptest.NewReceiver(t, a.CA, nil)
	a.Register(receiver.URL)
	var offered struct{ ID string }
	a.Call("POST", "/credentials/issuance", apptest.Object{"credentialTemplateId": template(a.API), "attributes": apptest.Object{"name": "x"}}, http.StatusCreated, &offered)
	receiver.Wait(1)
	before := scrape(t, a.API)
	a.Call("POST", "/credentials/"+offered.ID+"/simulate", apptest.Object{"outcome": "completed"}, http.StatusOK, nil)
	receiver.Wait(2)
	a.Call("GET", "/endpoints/nobody", nil, http.StatusNotFound, nil)
	want := map[string]string{
		`tidings_ready`: "1",
		`tidings_issuance_transitions_total{state="offered"}`:   "1",
		`tidings_issuance_transitions_total{state="completed"}`: "1",
		`tidings_issuance_transitions_total{state="failed"}`:    "0",
		`tidings_egress_connections_total`:                      "1", // the second delivery used it again
		`tidings_egress_open_connections`:                       "1",
		`tidings_egress_idle_connections`:                       "1",
		`tidings_api_requests_total{status="2xx"}`:              "4",
		`tidings_api_requests_total{status="4xx"}`:              "1",
		`tidings_api_requests_total{status="5xx"}`:              "0",
		`tidings_backlog_overdue_seconds`:                       "0",
	}
	var got map[string]string
	apptest.Await(t, "everything is counted", func() bool {
		got = scrape(t, a.API)
		return got[`tidings_deliveries_ended_total{reason="",status="delivered"}`] == "2"
	})
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %s, want %s", name, got[name], value)
		}
	}
	if before["tidings_commit_seconds_count"] >= got["tidings_commit_seconds_count"] && len(before["tidings_commit_seconds_count"]) == len(got["tidings_commit_seconds_count"]) {
		t.Errorf("commits were %s before an issuance ended and %s after", before["tidings_commit_seconds_count"], got["tidings_commit_seconds_count"])
	}
}

// What waits at a receiver that is down shows as backlog.
func TestMetricsShowTheBacklog(t *testing.T) {
	a := apptest.New(t)
	receiver := apptest.NewReceiver(t, a.CA, func(w http.ResponseWriter, _ *http.Request, _ apptest.Received) {
		w.WriteHeader(http.StatusInternalServerError)
	})
	a.Register(receiver.URL)
	a.Publish("openid4vc.issuance.offered", "one")
	a.Publish("openid4vc.issuance.offered", "two")
	apptest.Await(t, "two deliveries wait, and age", func() bool {
		samples := scrape(t, a.API)
		return samples["tidings_backlog_deliveries"] == "2" && samples["tidings_backlog_age_seconds"] != "0" && samples[`tidings_lanes{state="waiting"}`] == "1"
	})
}

// The page for operators lists each metric, and none that there is not.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	documented, real := map[string]bool{}, map[string]bool{}
	for _, name := range regexp.MustCompile("`(tidings_[a-z0-9_]+)").FindAllStringSubmatch(string(page), -1) {
		documented[name[1]] = true
	}
	for name := range scrape(t, apptest.New(t).API) {
		name, _, _ = strings.Cut(name, "{")
		for _, suffix := range []string{"_bucket", "_count", "_sum"} {
			name = strings.TrimSuffix(name, suffix)
		}
		if strings.HasPrefix(name, "tidings_") {
			real[name] = true
		}
	}
	if got, want := slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(real)); !slices.Equal(got, want) {
		t.Errorf("documented are\n%v\nthere are\n%v", got, want)
	}
}
