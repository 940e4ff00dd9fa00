package delivery

import (
	"errors"
	"time"

	"tidings"
)

// recording is what came of recording some results.
type recording struct {
	results  []tidings.AttemptResult
	errs     []error // not nil: the row stays as it was
	troubled bool    // the store does not take results: start nothing new
}

// record is the recorder: it makes results durable, all that wait in one call,
// until stop is closed and nothing waits. While the store takes none it keeps
// them and tries again: the engine starts nothing meanwhile, so that they stay
// bounded.
func (e *Engine) record(stop <-chan struct{}) {
	var waiting []tidings.AttemptResult
	tries := 0
	for {
		if results := e.results.take(); len(waiting) == 0 {
			waiting = results
		} else {
			waiting = append(waiting, results...)
		}
		if len(waiting) == 0 {
			select {
			case <-e.results.signal:
				continue
			case <-stop:
				if waiting = e.results.take(); len(waiting) == 0 {
					return
				}
			}
		}
		waiting = e.recordOnce(waiting)
		if len(waiting) == 0 {
			tries = 0
			continue
		}
		tries++
		select {
		case <-time.After(min(recordRetry<<min(tries, 3), 2*time.Second)):
		case <-stop:
			return // the rows are pending still: they will be sent again
		}
	}
}

// recordOnce gives back what the store did not take. What it took is the
// engine's from then on.
func (e *Engine) recordOnce(waiting []tidings.AttemptResult) (left []tidings.AttemptResult) {
	errs := e.store.Record(waiting)
	out := recording{results: waiting[:0], errs: errs[:0]}
	for i, err := range errs {
		switch {
		case err == nil:
		case tidings.KindOf(err) == tidings.KindUnavailable:
			left = append(left, waiting[i])
			continue
		case errors.Is(err, tidings.ErrLaneTaken):
			e.cfg.Log.Warn("an attempt is not recorded: another node has taken the lane over, and sends again", "event", waiting[i].Delivery.EventID, "endpoint_key", waiting[i].Delivery.EndpointKey)
		default:
			e.cfg.Log.Error("recording an attempt", "event", waiting[i].Delivery.EventID, "endpoint_key", waiting[i].Delivery.EndpointKey, "error", err)
		}
		out.results = append(out.results, waiting[i])
		out.errs = append(out.errs, err)
	}
	out.troubled = len(left) > 0
	e.recorded.put(out)
	return left
}
