package delivery

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// Answer is what came of one HTTP request.
type Answer struct {
	StatusCode int    // 0 where no answer came
	RetryAfter string // the header as received
	Excerpt    []byte // the first 4 KiB of the answer's body
	ErrorCode  string // why no answer came: a closed set of the sender's, such as "dns", "timeout"; or ErrorCanceled
	Error      string // the same as a sentence, free of secrets
	Duration   time.Duration
	Timing     tidings.Timing // where the duration went
}

// Error codes that the engine itself knows; the sender's others are passed on.
const (
	ErrorCanceled = "canceled" // we gave up ourselves: it does not count as an attempt
	ErrorTimeout  = "timeout"
)

// Outcome names what an answer means. It labels attempts and metrics.
type Outcome string

// The outcomes.
const (
	OutcomeDelivered   Outcome = "delivered"    // 2xx
	OutcomeRedirect    Outcome = "redirect"     // 3xx: not followed
	OutcomeRejected    Outcome = "rejected"     // 4xx, but for the two below
	OutcomeGone        Outcome = "gone"         // 410: nobody wants webhooks there any more
	OutcomeLimited     Outcome = "rate_limited" // 429
	OutcomeUnavailable Outcome = "unavailable"  // 503
	OutcomeServerError Outcome = "server_error" // other 5xx
	OutcomeUnexpected  Outcome = "unexpected"   // a status outside of 200 to 599
	OutcomeTimeout     Outcome = "timeout"      // no answer within the attempt's time
	OutcomeUnreachable Outcome = "unreachable"  // no connection, or it broke
)

// Classify names what an answer means.
func Classify(a Answer) Outcome {
	switch s := a.StatusCode; {
	case s >= 200 && s <= 299:
		return OutcomeDelivered // also where the body then did not end: the receiver has said that it has the event
	case a.ErrorCode == ErrorTimeout:
		return OutcomeTimeout
	case a.ErrorCode != "":
		return OutcomeUnreachable
	case s >= 300 && s <= 399:
		return OutcomeRedirect
	case s == http.StatusGone:
		return OutcomeGone
	case s == http.StatusTooManyRequests:
		return OutcomeLimited
	case s == http.StatusServiceUnavailable:
		return OutcomeUnavailable
	case s >= 400 && s <= 499:
		return OutcomeRejected
	case s >= 500 && s <= 599:
		return OutcomeServerError
	}
	return OutcomeUnexpected
}

// Policy says how failures are dealt with.
type Policy struct {
	RetrySchedule []time.Duration // the delay after the first failure, the second, …; then the delivery has failed
	DisableAfter  time.Duration   // an endpoint that has only failed for so long is disabled
}

// DefaultPolicy is the schedule of surface and documentation.
var DefaultPolicy = Policy{
	RetrySchedule: []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour},
	DisableAfter: 120 * time.Hour,
}

const (
	// jitter spreads retries by this part of their delay to either side.
	jitter = 0.2
	// maxRetryAfter is the longest pause that a receiver can ask for.
	maxRetryAfter = 24 * time.Hour
	// spacedFailuresToDisable failures, each DisableAfter/10 apart, must lie in
	// the time after which an endpoint is disabled: one long outage of ours, or
	// an endpoint that is rarely sent to, is no proof that it is dead.
	spacedFailuresToDisable = 3
)

// Decision is what follows from one attempt.
type Decision struct {
	Outcome    Outcome
	Status     tidings.DeliveryStatus // delivered, failed, or pending for another attempt
	Reason     tidings.DeliveryReason // with failed
	Due        time.Time              // with pending
	Hold       bool                   // with pending: later events of the issuance wait
	PauseUntil time.Time              // not zero: the receiver wants nothing before then
	Disable    tidings.DisabledReason // not empty: the endpoint is disabled
	Health     tidings.Health
}

// Decide says what follows from attempt number n (from 1) that ended at now
// with answer a, at an endpoint whose failure clock stood at h. luck, from -1
// to 1, is the draw for the jitter.
func (p Policy) Decide(n int, a Answer, h tidings.Health, now time.Time, luck float64) Decision {
	d := Decision{Outcome: Classify(a)}
	if d.Outcome == OutcomeDelivered {
		d.Status = tidings.DeliveryDelivered
		if now.Before(h.PausedUntil) { // asked for by another answer: a success in flight does not end it
			d.Health.PausedUntil = h.PausedUntil
		}
		return d
	}
	d.Health = p.failed(h, now)
	pause, asked := time.Duration(0), false
	if d.Outcome == OutcomeLimited || d.Outcome == OutcomeUnavailable {
		if pause, asked = parseRetryAfter(a.RetryAfter, now); asked {
			d.PauseUntil = now.Add(pause)
			if d.PauseUntil.After(h.PausedUntil) {
				d.Health.PausedUntil = d.PauseUntil
			}
		}
	}
	switch {
	case d.Outcome == OutcomeGone:
		d.Disable, d.Status, d.Due, d.Hold = tidings.DisabledGone, tidings.DeliveryPending, now, true
		return d
	case p.dead(d.Health, now):
		d.Disable = tidings.DisabledFailing
	}
	if n > len(p.RetrySchedule) {
		d.Status, d.Reason = tidings.DeliveryFailed, tidings.ReasonExhausted
		return d
	}
	delay := p.RetrySchedule[n-1]
	delay += time.Duration(float64(delay) * jitter * luck)
	// A pause never shortens the schedule: a receiver that asks for a second's
	// patience ten times must not use up all attempts in ten seconds.
	d.Status, d.Due, d.Hold = tidings.DeliveryPending, now.Add(max(delay, pause)), n <= tidings.HeldRetries
	return d
}

// failed moves an endpoint's failure clock on by one failed attempt.
func (p Policy) failed(h tidings.Health, now time.Time) tidings.Health {
	h.Failures++
	h.LastFailureAt = now
	if h.FirstFailureAt.IsZero() {
		h.FirstFailureAt = now
	}
	if h.SpacedAt.IsZero() || now.Sub(h.SpacedAt) >= p.DisableAfter/10 {
		h.SpacedFailures++
		h.SpacedAt = now
	}
	return h
}

// dead tells whether an endpoint has failed for so long that it is disabled.
func (p Policy) dead(h tidings.Health, now time.Time) bool {
	return p.DisableAfter > 0 && now.Sub(h.FirstFailureAt) >= p.DisableAfter && h.SpacedFailures >= spacedFailuresToDisable
}

// parseRetryAfter reads the header Retry-After (RFC 9110, section 10.2.3):
// seconds or a date. What cannot be read counts as absent.
func parseRetryAfter(value string, now time.Time) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil {
		if seconds > uint64(maxRetryAfter/time.Second) {
			return maxRetryAfter, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), maxRetryAfter), true
}
