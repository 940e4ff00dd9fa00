package app

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus" // what everybody scrapes; kept by the Prometheus project
	"github.com/prometheus/client_golang/prometheus/collectors"

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
	requests   [6]prometheus.Counter  // by the first digit of the status
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
	out = append(out, "signature") // it could not be signed
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
	requests := counter("tidings_api_requests_total", "Requests of the API that were answered, by the class of the status.", "status")
	for class := 1; class < len(m.requests); class++ {
		m.requests[class] = requests.WithLabelValues(strconv.Itoa(class) + "xx")
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
	m.registry.MustRegister(requests, m.events, m.ended, m.attempts, m.failures, m.issuances, m.latency, m.commitRows, m.commitTime,
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

// onRequest counts a request of the API.
func (m *metrics) onRequest(_, _ string, status int, _ time.Duration) {
	if class := status / 100; class > 0 && class < len(m.requests) {
		m.requests[class].Inc()
	}
}
