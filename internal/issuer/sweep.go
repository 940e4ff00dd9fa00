package issuer

import (
	"context"
	"time"
)

const (
	sweepChunk   = 200 // issuances in one transaction
	minSweepWait = 5 * time.Millisecond
	maxSweepWait = 250 * time.Millisecond // a deadline set meanwhile waits no longer
	maxSweepBack = 5 * time.Second        // between attempts while the store is in trouble
)

// Run applies the deadlines of issuances (offers that expire, graces that end)
// until ctx is done. Any number of nodes may run it: each deadline is applied
// once. It fires expired and completed without anybody's request.
func (s *Issuer) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		changed, next, err := s.store.SweepDeadlines(ctx, sweepChunk)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if failures++; failures == 1 { // one outage, one line
				s.cfg.Log.ErrorContext(ctx, "deadlines of issuances are not applied", "error", err)
			}
		case failures > 0:
			s.cfg.Log.InfoContext(ctx, "deadlines of issuances are applied again", "failures", failures)
			failures = 0
		}
		timer.Reset(sweepWait(changed, next, s.cfg.Now(), failures))
	}
}

// sweepWait is how long to wait before the next sweep: not at all while there
// was something to do, else until the next deadline, within bounds; longer and
// longer while the store fails.
func sweepWait(changed int, next, now time.Time, failures int) time.Duration {
	switch {
	case failures > 0:
		return min(maxSweepWait<<min(failures-1, 8), maxSweepBack)
	case changed > 0:
		return 0
	case next.IsZero():
		return maxSweepWait
	}
	return min(max(next.Sub(now), minSweepWait), maxSweepWait)
}
