package webhook

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

const (
	firstPause   = time.Second
	longestPause = time.Hour
	spread       = 0.2 // of a pause, up and down

	// leaseMargin is what a claim outlasts Timeout by, for settling it.
	leaseMargin = time.Minute
	// pollEvery bounds how late Run sees what other processes put into the
	// inbox; what this one puts there it sees at once.
	pollEvery = 5 * time.Second
)

// Reasons of an attempt's end that are not Process's own.
var (
	errStopped = errors.New("the program stopped during the attempt")
	errDied    = errors.New("the program died in every attempt")
)

// Run processes the events in the Inbox, those of earlier runs first, until
// ctx ends. It waits for what it started and returns nil; before that it
// returns [ErrNotSetUp] if a field is missing. Trouble with the Inbox does not
// end it: it is logged, and Run goes on when the Inbox does. It is called once
// per Handler.
func (h *Handler) Run(ctx context.Context) error {
	if h.Inbox == nil || h.Process == nil {
		return fmt.Errorf("%w: Inbox or Process is nil", ErrNotSetUp)
	}
	var working sync.WaitGroup
	defer working.Wait()
	slots := make(chan struct{}, orDefault(h.Concurrency, DefaultConcurrency))
	for ctx.Err() == nil {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		claim, pause := h.claim(ctx)
		if claim == nil {
			<-slots
			h.wait(ctx, pause)
			continue
		}
		working.Go(func() {
			defer h.rouse() // the next event of the issuance may be due now
			defer func() { <-slots }()
			h.attempt(ctx, *claim)
		})
	}
	return nil
}

// claim takes the next event that is due. If there is none, it tells how long
// to wait.
func (h *Handler) claim(ctx context.Context) (*Claim, time.Duration) {
	// Were the call to end with ctx, an event could stay claimed by nobody.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), inboxTimeout)
	defer cancel()
	pause := jitter(pollEvery, rand.Float64())
	claim, next, err := h.Inbox.Claim(ctx, time.Now(), h.timeout()+leaseMargin)
	if err != nil {
		h.log().ErrorContext(ctx, "webhook inbox out of reach", "error", err)
		return nil, pause
	}
	if !next.IsZero() {
		pause = min(pause, time.Until(next))
	}
	return claim, pause
}

// wait returns after pause, or sooner when there may be something to do.
func (h *Handler) wait(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-h.woken():
	case <-ctx.Done():
	}
}

// attempt processes a claimed event and settles the claim.
func (h *Handler) attempt(ctx context.Context, claim Claim) {
	most := orDefault(h.MaxAttempts, DefaultMaxAttempts)
	started := time.Now()
	err := errDied
	if claim.Attempt <= most {
		err = h.process(ctx, claim.Event)
	}
	verdict := decide(claim.Attempt, most, err, time.Now(), rand.Float64())

	ctx = context.WithoutCancel(ctx) // the verdict is to be kept when ctx has ended, too
	settling, cancel := context.WithTimeout(ctx, inboxTimeout)
	defer cancel()
	if problem := h.Inbox.Settle(settling, claim, verdict); problem != nil {
		h.log().ErrorContext(ctx, "webhook not settled: it is processed again when its claim runs out",
			"event", claim.Event.ID, "state", verdict.State, "attempt", claim.Attempt, "error", problem, "processError", err)
		return
	}
	h.report(ctx, claim, verdict, err, time.Since(started))
}

// process calls Process and turns its panics into errors.
func (h *Handler) process(ctx context.Context, event Event) (err error) {
	if ctx.Err() != nil {
		return errStopped
	}
	bounded, cancel := context.WithTimeout(ctx, h.timeout())
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
		if err != nil && ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", errStopped, err)
		}
	}()
	return h.Process(bounded, event)
}

// decide tells what becomes of an event after an attempt that ended with err;
// dice is a random number from 0 to 1.
func decide(attempt, most int, err error, now time.Time, dice float64) Verdict {
	if err == nil {
		return Verdict{State: Processed, At: now, Attempts: attempt}
	}
	verdict := Verdict{State: Pending, At: now, Attempts: attempt, Reason: err.Error()}
	switch {
	case errors.Is(err, errStopped):
		verdict.Attempts, verdict.Due = attempt-1, now
	case attempt >= most, errors.Is(err, ErrPermanent):
		verdict.State = Failed
	default:
		verdict.Due = now.Add(pauseAfter(attempt, dice))
	}
	return verdict
}

// pauseAfter gives the time between an attempt and the next one.
func pauseAfter(attempt int, dice float64) time.Duration {
	pause := longestPause
	if doublings := max(attempt, 1) - 1; doublings < 12 { // 2¹² s is more than an hour
		pause = firstPause << doublings
	}
	return jitter(pause, dice)
}

// jitter keeps many from doing something at the same moment.
func jitter(pause time.Duration, dice float64) time.Duration {
	return time.Duration(float64(pause) * (1 - spread + 2*spread*dice))
}

// report logs how an attempt ended and calls Failed.
func (h *Handler) report(ctx context.Context, claim Claim, verdict Verdict, err error, took time.Duration) {
	event := claim.Event
	log := h.log().With("event", event.ID, "type", event.Type, "issuance", event.IssuanceID, "attempt", claim.Attempt, "took", took)
	switch {
	case verdict.State == Processed:
		log.DebugContext(ctx, "webhook processed")
	case verdict.State == Failed:
		log.ErrorContext(ctx, "webhook parked: it is not processed again by itself", "error", err)
		h.tellFailed(ctx, event, err)
	case errors.Is(err, errStopped):
		log.InfoContext(ctx, "webhook given back", "error", err)
	default:
		log.WarnContext(ctx, "webhook to be processed again", "due", verdict.Due, "error", err)
	}
}

func (h *Handler) tellFailed(ctx context.Context, event Event, err error) {
	if h.Failed == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			h.log().ErrorContext(ctx, "panic in Failed", "event", event.ID, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, h.timeout())
	defer cancel()
	h.Failed(ctx, event, err)
}

func (h *Handler) timeout() time.Duration { return orDefault(h.Timeout, DefaultTimeout) }

// orDefault gives value, or what holds where it is not set.
func orDefault[T int | time.Duration](value, fallback T) T {
	if value > 0 {
		return value
	}
	return fallback
}
