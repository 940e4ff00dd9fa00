package webhook

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"time"
)

// DefaultMemoryMax is how many events a [MemoryInbox] holds where it does not
// say otherwise.
const DefaultMemoryMax = 10_000

// MemoryInbox is an [Inbox] for tests and prototypes. It is not durable: what
// is in it is lost when the program ends, and the sender, who was told that
// the event has arrived, does not send it again. The zero MemoryInbox is ready
// to use. It must not be copied after its first use.
type MemoryInbox struct {
	// Max is how many events it holds; 0 means DefaultMemoryMax. In a full one
	// a fresh event takes the place of the oldest processed one, whose
	// duplicates then count as fresh; if none is processed, Put refuses it
	// with ErrInboxFull.
	Max int
	// Retention is how long processed events are kept; 0 means
	// DefaultRetention.
	Retention time.Duration

	mu      sync.Mutex
	entries []*memoryEntry // in order of arrival
	byID    map[string]*memoryEntry
}

type memoryEntry struct {
	event    Event
	state    State
	attempts int
	due      time.Time // of a claimed event: when the claim ends
	token    string    // of the claim, empty where there is none
	settled  time.Time
}

// Put is described at [Inbox].
func (m *MemoryInbox) Put(ctx context.Context, event Event) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byID[event.ID] != nil {
		return false, nil
	}
	limit := m.Max
	if limit <= 0 {
		limit = DefaultMemoryMax
	}
	if len(m.entries) >= limit {
		oldest := slices.IndexFunc(m.entries, func(e *memoryEntry) bool { return e.state == Processed })
		if oldest < 0 {
			return false, ErrInboxFull
		}
		delete(m.byID, m.entries[oldest].event.ID)
		m.entries = slices.Delete(m.entries, oldest, oldest+1)
	}
	if m.byID == nil {
		m.byID = map[string]*memoryEntry{}
	}
	entry := &memoryEntry{event: event, state: Pending, due: event.Received}
	m.byID[event.ID] = entry
	m.entries = append(m.entries, entry)
	return true, nil
}

// Claim is described at [Inbox].
func (m *MemoryInbox) Claim(ctx context.Context, now time.Time, lease time.Duration) (*Claim, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prune(now)
	var best *memoryEntry
	var next time.Time
	taken := map[string]bool{} // issuances with an earlier pending event
	for _, e := range m.entries {
		if e.state != Pending {
			continue
		}
		first := !taken[e.event.IssuanceID]
		taken[e.event.IssuanceID] = e.event.IssuanceID != ""
		switch {
		case e.due.After(now):
			if next.IsZero() || e.due.Before(next) {
				next = e.due
			}
		case first && (best == nil || e.due.Before(best.due)):
			best = e
		}
	}
	if best == nil {
		return nil, next, nil
	}
	best.attempts++
	best.due = now.Add(lease)
	best.token = rand.Text()
	return &Claim{Event: best.event, Attempt: best.attempts, Token: best.token}, time.Time{}, nil
}

// Settle is described at [Inbox].
func (m *MemoryInbox) Settle(ctx context.Context, claim Claim, verdict Verdict) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byID[claim.Event.ID]
	if e == nil || e.token == "" || e.token != claim.Token {
		return ErrClaimLost
	}
	e.state, e.attempts, e.due, e.settled, e.token = verdict.State, verdict.Attempts, verdict.Due, verdict.At, ""
	return nil
}

// Failed gives the events that are parked, in order of arrival.
func (m *MemoryInbox) Failed() []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var failed []Event
	for _, e := range m.entries {
		if e.state == Failed {
			failed = append(failed, e.event)
		}
	}
	return failed
}

// prune forgets what was processed before the retention time.
func (m *MemoryInbox) prune(now time.Time) {
	retention := m.Retention
	if retention <= 0 {
		retention = DefaultRetention
	}
	m.entries = slices.DeleteFunc(m.entries, func(e *memoryEntry) bool {
		old := e.state == Processed && e.settled.Before(now.Add(-retention))
		if old {
			delete(m.byID, e.event.ID)
		}
		return old
	})
}
