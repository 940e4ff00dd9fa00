package webhook

import (
	"context"
	"errors"
	"time"
)

// Inbox keeps the events of a [Handler]. Several Handlers, in one or several
// processes, may share what one Inbox keeps: an event is then processed by one
// of them. [MemoryInbox] forgets at a restart; package
// tidings/webhook/sqlinbox keeps events in a SQL database.
//
// An Inbox keeps the id of a processed event for a retention time of its own,
// by which duplicates are told, and forgets it afterwards. That time is longer
// than the sender goes on retrying; [DefaultRetention] is. Events that failed
// are kept until somebody removes them.
//
// A context that ends ends a call with its error, and what the call would
// have changed is then either changed in full or not at all.
type Inbox interface {
	// Put keeps an event that has arrived, pending and due at once. When it
	// returns without an error the event outlives a crash. Put tells whether
	// the event is fresh: one with the same ID, in whatever state, stays as it
	// is. Of several calls at the same time with one ID, one is fresh.
	Put(ctx context.Context, event Event) (fresh bool, err error)

	// Claim hands out the pending event that has been due for longest at time
	// now, and nobody else gets it before now+lease. It counts the attempt. If
	// nobody settles the claim by then, the event is due again: its processor
	// has died.
	//
	// Of the events with one IssuanceID, unless that is empty, Claim hands out
	// only the one that was put first of those that are pending, claimed ones
	// included; so they are processed one at a time and in order of arrival.
	//
	// Where it has nothing to hand out, the claim is nil, and next is when the
	// next pending event will be due, zero where there is none.
	Claim(ctx context.Context, now time.Time, lease time.Duration) (claim *Claim, next time.Time, err error)

	// Settle ends a claim with a verdict. The error is [ErrClaimLost] where
	// the claim is not this one any more, because it ran out and somebody else
	// has claimed the event, or has settled it; then nothing is changed.
	Settle(ctx context.Context, claim Claim, verdict Verdict) error
}

// Claim is the sole right to process an event for some time.
type Claim struct {
	Event Event
	// Attempt counts the attempts at processing the event, this one included.
	Attempt int
	// Token tells this claim from earlier and later ones of the same event.
	Token string
}

// Verdict is what became of an attempt at processing an event.
type Verdict struct {
	State State
	// At is when the attempt ended.
	At time.Time
	// Due is when a pending event is due again.
	Due time.Time
	// Attempts is how many attempts count from now on.
	Attempts int
	// Reason is the text of the error, empty where there was none.
	Reason string
}

// State is where an event stands in an [Inbox]. Its text is what an Inbox
// stores.
type State string

// The states of an event.
const (
	// Pending: it is to be processed, now or later.
	Pending State = "pending"
	// Processed: Process returned nil. Only its ID is of use now.
	Processed State = "processed"
	// Failed: it is parked. Nothing happens to it by itself.
	Failed State = "failed"
)

// DefaultRetention is how long an Inbox keeps the id of a processed event
// where it is not told otherwise. A sender retries for about four days by
// default and sends again what is younger than 30 days when it is asked to.
const DefaultRetention = 30 * 24 * time.Hour

// Errors of an Inbox.
var (
	// ErrInboxFull comes from Put where there is no room for another event.
	// The sender is told to send it again.
	ErrInboxFull = errors.New("the inbox is full")
	// ErrClaimLost comes from Settle where the claim ran out before.
	ErrClaimLost = errors.New("the claim on the event was lost")
)
