package app

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus" // what everybody scrapes; kept by the Prometheus project
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tidings"
	"tidings/internal/delivery"
	"tidings/internal/egress"
	"tidings/internal/store"
)

// metrics count what happens. No label holds an id or anything that a stranger
// chose, and every value of a label exists from the start. docs/operating.md
// lists them.
type metrics struct {
	registry   *prometheus.Registry
	events     *prometheus.CounterVec // type
	ended      *prometheus.CounterVec // status, reason
	attempts   *prometheus.CounterVec // status
	failures   *prometheus.CounterVec // reason
	issuances  *prometheus.CounterVec // state
	latency    prometheus.Histogram
	commitRows prometheus.Histogram
	commitTime prometheus.Histogram
}

// attemptStatuses are the classes of answers; none: no answer came.
var attemptStatuses = []string{"2xx", "3xx", "4xx", "5xx", "other", "none"}

func attemptStatus(code int) string {
	switch {
	case code == 0:
		return "none"
	case code >= 200 && code <= 599:
		return strconv.Itoa(code/100) + "xx"
	}
	return "other"
}

// failureReasons are the values of an attempt's errorCode.
func failureReasons() (out []string) {
	for _, o := range []delivery.Outcome{delivery.OutcomeRedirect, delivery.OutcomeRejected, delivery.OutcomeGone, delivery.OutcomeLimited,
		delivery.OutcomeUnavailable, delivery.OutcomeServerError, delivery.OutcomeUnexpected} {
		out = append(out, string(o))
	}
	for _, c := range egress.Codes {
		if c != egress.CodeCanceled { // those are not attempts
			out = append(out, string(c))
		}
	}
	return out
}

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets ...float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour})
	}
	m := &metrics{
		registry:  prometheus.NewRegistry(),
		events:    counter("tidings_events_accepted_total", "Events accepted, published or of an issuance here, but for samples.", "type"),
		ended:     counter("tidings_deliveries_ended_total", "Deliveries that ended.", "status", "reason"),
		attempts:  counter("tidings_attempts_total", "Attempts on record, by the class of the answer's status.", "status"),
		failures:  counter("tidings_attempt_failures_total", "Attempts on record that were not answered with 2xx, by the reason.", "reason"),
		issuances: counter("tidings_issuance_transitions_total", "Issuances that entered a state.", "state"),
		latency: histogram("tidings_delivery_latency_seconds", "From the acceptance of an event to the end of the attempt that delivered it.",
			0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600, 6*3600, 24*3600),
		commitRows: histogram("tidings_commit_rows", "Rows written by a commit.", 1, 3, 10, 30, 100, 300, 1000, 3000),
		commitTime: histogram("tidings_commit_seconds", "From a commit's first statement until it was on disk.",
			0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
	}
	for _, t := range tidings.EventTypes() {
		m.events.WithLabelValues(string(t.Type))
	}
	for _, e := range []store.Ended{{Status: tidings.DeliveryDelivered}, {Status: tidings.DeliveryFailed, Reason: tidings.ReasonExhausted},
		{Status: tidings.DeliveryFailed, Reason: tidings.ReasonRetention}, {Status: tidings.DeliveryCanceled, Reason: tidings.ReasonEndpointDeleted}} {
		m.ended.WithLabelValues(string(e.Status), string(e.Reason))
	}
	for _, s := range attemptStatuses {
		m.attempts.WithLabelValues(s)
	}
	for _, r := range failureReasons() {
		m.failures.WithLabelValues(r)
	}
	for _, s := range []tidings.IssuanceState{tidings.StateOffered, tidings.StateRedeemed, tidings.StateDeferred, tidings.StateDelivered,
		tidings.StateCompleted, tidings.StateFailed, tidings.StateExpired} {
		m.issuances.WithLabelValues(string(s))
	}
	m.registry.MustRegister(m.events, m.ended, m.attempts, m.failures, m.issuances, m.latency, m.commitRows, m.commitTime,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// onCommit counts what the store made durable.
func (m *metrics) onCommit(c store.Commit) {
	m.commitRows.Observe(float64(c.Rows))
	m.commitTime.Observe(c.Took.Seconds())
	for _, t := range c.Events {
		m.events.WithLabelValues(string(t)).Inc()
	}
	for _, s := range c.States {
		m.issuances.WithLabelValues(string(s)).Inc()
	}
	for _, e := range c.Ended {
		m.ended.WithLabelValues(string(e.Status), string(e.Reason)).Inc()
	}
}

// onResult counts an attempt that is on record.
func (m *metrics) onResult(r tidings.AttemptResult) {
	m.attempts.WithLabelValues(attemptStatus(r.Attempt.StatusCode)).Inc()
	if r.Attempt.ErrorCode != "" {
		m.failures.WithLabelValues(r.Attempt.ErrorCode).Inc()
	}
	if r.Status == tidings.DeliveryDelivered {
		m.latency.Observe(r.Attempt.StartedAt.Add(r.Attempt.Duration).Sub(r.Delivery.CreatedAt).Seconds())
	}
}

// serve makes the page /metrics, with what is looked up at each scrape.
func (m *metrics) serve(a *App) http.Handler {
	m.registry.MustRegister(&gauges{app: a})
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// gauges are looked up at each scrape.
type gauges struct{ app *App }

// scrapeLimit bounds the look into the store at a scrape.
const scrapeLimit = 5 * time.Second

var (
	backlogGauge = prometheus.NewDesc("tidings_backlog_deliveries", "Deliveries that are pending.", nil, nil)
	ageGauge     = prometheus.NewDesc("tidings_backlog_age_seconds", "Age of the oldest delivery that is pending; 0: there is none.", nil, nil)
	lanesGauge   = prometheus.NewDesc("tidings_lanes", "Lanes in memory by state, as of some seconds ago.", []string{"state"}, nil)
	flightGauge  = prometheus.NewDesc("tidings_attempts_in_flight", "Attempts in flight, as of some seconds ago.", nil, nil)
	idleGauge    = prometheus.NewDesc("tidings_egress_idle_connections", "Connections to receivers that wait to be used again.", nil, nil)
)

// Describe names the gauges.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{backlogGauge, ageGauge, lanesGauge, flightGauge, idleGauge} {
		out <- d
	}
}

// Collect looks them up.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), scrapeLimit)
	defer cancel()
	if count, oldest, err := g.app.Store.Backlog(ctx); err != nil {
		out <- prometheus.NewInvalidMetric(backlogGauge, err)
	} else {
		age := 0.0
		if oldest != nil {
			age = max(0, g.app.cfg.Now().Sub(*oldest).Seconds())
		}
		gauge(backlogGauge, float64(count))
		gauge(ageGauge, age)
	}
	stats := g.app.engine.Stats()
	for _, s := range delivery.LaneStates {
		gauge(lanesGauge, float64(stats.Lanes[s]), string(s))
	}
	gauge(flightGauge, float64(stats.InFlight))
	gauge(idleGauge, float64(g.app.egress.Idle()))
}
