package store

import (
	"sync/atomic"
	"time"
)

// clock is a process's own, set by the database's where several nodes share one:
// what one of them makes due another sends, and a key must not lie in the future
// because one node's clock does.
type clock struct {
	own   func() time.Time
	ahead atomic.Int64 // of the own clock, in nanoseconds
}

// clockSlack is by how much the two may differ before the own one is corrected:
// small steps to and fro would cost more than they are worth.
const clockSlack = 10 * time.Millisecond

func (c *clock) now() time.Time { return c.own().Add(time.Duration(c.ahead.Load())) }

// compare corrects the clock by a time that the database told between two times
// of the own clock.
func (c *clock) compare(sent time.Time, told time.Time, got time.Time) {
	least, most := told.Sub(got), told.Sub(sent)
	if most < least { // the own clock was set meanwhile
		return
	}
	if ahead := time.Duration(c.ahead.Load()); ahead < least-clockSlack || ahead > most+clockSlack {
		c.ahead.Store(int64(least + (most-least)/2))
	}
}
