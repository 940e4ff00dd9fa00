package delivery

import (
	"container/list"
	"context"
	"net/http"
	"strconv"
	"time"

	"tidings"
)

// attempt is one request on its way.
type attempt struct {
	delivery tidings.PendingDelivery
	lane     *lane
	target   *target
	started  time.Time

	place *list.Element // in the order of flight; nil once it counts as slow
}

// attempted is what an attempt came to.
type attempted struct {
	attempt *attempt
	answer  Answer
}

// work is a worker: it makes one attempt, then waits for the next.
func (e *Engine) work(ctx context.Context, a *attempt) {
	for a != nil {
		e.finished.put(e.try(ctx, a))
		a = <-e.attempts
	}
}

// try makes one attempt, in a span where its event is traced.
func (e *Engine) try(ctx context.Context, a *attempt) attempted {
	if e.cfg.Trace == nil || a.delivery.Trace == "" {
		return attempted{a, e.send(ctx, a, "")}
	}
	traceparent, end := e.cfg.Trace(&a.delivery, a.target.URL)
	answer := e.send(ctx, a, traceparent)
	end(answer)
	return attempted{a, answer}
}

// jsonType is what every webhook is; header values are only read.
var jsonType = []string{"application/json"}

// send signs and sends; with a traceparent where that is not empty.
func (e *Engine) send(ctx context.Context, a *attempt, traceparent string) Answer {
	deadline := time.Now().Add(e.cfg.AttemptTimeout)
	d := &a.delivery
	header := http.Header{
		"Content-Type":    jsonType,
		"User-Agent":      e.userAgent,
		"Webhook-Attempt": {strconv.Itoa(d.AttemptCount + 1)},
	}
	for name, value := range a.target.Headers {
		header.Set(name, value)
	}
	if d.Test {
		header.Set("Webhook-Test", "true")
	}
	if traceparent != "" {
		header.Set("Traceparent", traceparent)
	}
	if err := a.target.signer.SetHeaders(header, d.EventID, e.cfg.Now(), d.Body); err != nil {
		e.cfg.Log.Error("signing a webhook", "event", d.EventID, "error", err)
		return Answer{ErrorCode: "signature", Error: "The webhook could not be signed."}
	}
	return e.sender.Post(ctx, deadline, a.target.URL, header, d.Body)
}

// result is what is recorded. before is the lane's failure clock before the
// decision.
func (f attempted) result(d Decision, before tidings.Health) tidings.AttemptResult {
	r := tidings.AttemptResult{
		Delivery: f.attempt.delivery,
		Epoch:    f.attempt.lane.epoch,
		Attempt: tidings.Attempt{
			Number: f.attempt.delivery.AttemptCount + 1, StartedAt: f.attempt.started,
			Duration: f.answer.Duration, Timing: f.answer.Timing,
			StatusCode: f.answer.StatusCode, ErrorCode: errorCode(f.answer, d.Outcome), Error: errorText(f.answer, d.Outcome), ResponseExcerpt: f.answer.Excerpt,
		},
		Status: d.Status, Reason: d.Reason, Due: d.Due, Hold: d.Hold, Disable: d.Disable,
		Failing: before.Failures < probeFrom && d.Health.Failures >= probeFrom,
	}
	if health := d.Health; before != health {
		r.Health = &health
	}
	return r
}

// errorCode is the sender's code where no answer came, else what the answer
// means; empty on success.
func errorCode(a Answer, o Outcome) string {
	switch {
	case o == OutcomeDelivered:
		return ""
	case a.ErrorCode != "":
		return a.ErrorCode
	}
	return string(o)
}

func errorText(a Answer, o Outcome) string {
	switch o {
	case OutcomeDelivered:
		return ""
	case OutcomeRedirect:
		return "The endpoint answered with a redirect, which is never followed: register the final URL."
	case OutcomeGone:
		return "The endpoint answered 410 Gone: it is disabled."
	}
	if a.Error != "" {
		return a.Error
	}
	return "The endpoint answered " + strconv.Itoa(a.StatusCode) + "; only 2xx counts as received."
}
