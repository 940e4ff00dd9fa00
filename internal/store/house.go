package store

import (
	"slices"
	"time"
)

// House-keeping is done in steps that a crash may interrupt. Those who publish
// meanwhile must not feel it, so a step goes along with a batch of others, at
// most every few milliseconds, and takes a small share of the time that such a
// batch takes; what touches many rows costs them no commit of its own.

const (
	// shareBeside is the part of a batch's time that house-keeping may add.
	shareBeside = 4
	// leastShare lets a step do something also where batches take no time.
	leastShare = 100 * time.Microsecond
	// aloneShare is for a step by itself, about what a commit takes.
	aloneShare = time.Millisecond
	// quietShare is for a step when there is nobody else.
	quietShare = 5 * time.Millisecond
)

// houseShare is how long a step of house-keeping may take: as long as a batch
// of others where it has its own, so that whoever comes meanwhile waits for one
// batch more.
func (w *writer) houseShare(alone bool) time.Duration {
	switch {
	case !alone:
		return max(w.pace/shareBeside, leastShare)
	case w.quiet():
		return quietShare
	}
	return min(max(w.pace, aloneShare), quietShare)
}

// quiet tells whether nothing but house-keeping was written for a while.
func (w *writer) quiet() bool { return time.Since(time.Unix(0, w.traffic.Load())) > quietAfter }

// over tells whether a step of house-keeping has to end with what it has done:
// at least one row, so that it gets on.
func (t *tx) over() bool { return !time.Now().Before(t.until) }

// houseOnly tells whether nobody but house-keeping is in a batch.
func houseOnly(items []*item) bool {
	return !slices.ContainsFunc(items, func(it *item) bool { return it.class != classHouse })
}
