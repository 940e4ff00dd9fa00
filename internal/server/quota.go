package server

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tidings"
)

// Quota bounds what one organisation may ask for; 0 means no bound.
type Quota struct {
	RequestsPerSecond float64
	EventsPerSecond   float64 // published, not those that issuances write
	// Nodes tells how many servers share the requests: each lets its part of the
	// quota pass. Default: this one alone.
	Nodes func() int
}

func (q Quota) share(perSecond float64) float64 {
	if q.Nodes == nil {
		return perSecond
	}
	return perSecond / float64(max(q.Nodes(), 1))
}

// quotas keeps a bucket per organisation and sort. A second's worth may come at
// once; a whole batch of events always may.
type quotas struct {
	mu       sync.Mutex
	requests map[int64]*rate.Limiter
	events   map[int64]*rate.Limiter
}

func (q *quotas) request(org int64, quota Quota) error {
	return q.take(&q.requests, org, quota.share(quota.RequestsPerSecond), 1, 1, "requests")
}

func (q *quotas) publish(org int64, quota Quota, n int) error {
	return q.take(&q.events, org, quota.share(quota.EventsPerSecond), n, tidings.MaxPublishBatch, "events")
}

func (q *quotas) take(buckets *map[int64]*rate.Limiter, org int64, perSecond float64, n, least int, what string) error {
	if perSecond <= 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if *buckets == nil {
		*buckets = map[int64]*rate.Limiter{}
	}
	b := (*buckets)[org]
	if b == nil {
		b = rate.NewLimiter(rate.Limit(perSecond), max(int(perSecond), least))
		(*buckets)[org] = b
	}
	now := time.Now()
	if b.Limit() != rate.Limit(perSecond) { // a node came or went
		b.SetLimitAt(now, rate.Limit(perSecond))
		b.SetBurstAt(now, max(int(perSecond), least))
	}
	if b.AllowN(now, n) {
		return nil
	}
	missing := float64(n) - b.TokensAt(now)
	return &tidings.Error{Kind: tidings.KindLimited, Retry: time.Duration(missing / perSecond * float64(time.Second)),
		Message: "The organisation's quota of " + what + " per second is used up."}
}
