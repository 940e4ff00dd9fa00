package tidings

import "time"

// Lane is one endpoint's queue of deliveries as the delivery engine sees it:
// where to send, how to sign, and how the endpoint has been doing.
type Lane struct {
	EndpointKey    int64
	OrganisationID int64
	Settings
	Enabled    bool
	Secrets    []SigningSecret // newest first; every one signs until it expires
	SigningKey []byte          // seed of the Ed25519 key, where the settings ask for v1a
	Health     Health
	Finishing  bool // a node that gave the lane up still has attempts in flight: nothing may start
}

// Health is an endpoint's failure clock. It is a row of the store, so that it
// survives restarts, and a value, so that decisions about it are pure.
type Health struct {
	Failures       int       // failed attempts in a row
	FirstFailureAt time.Time // of this row of failures; zero while healthy
	LastFailureAt  time.Time
	SpacedFailures int       // how many of them were far enough apart to count towards disabling
	SpacedAt       time.Time // when the last of those was
	PausedUntil    time.Time // the receiver asked for a pause (Retry-After)
}

// PendingDelivery is an unfinished delivery, ready to be sent.
type PendingDelivery struct {
	Key             int64 // of the delivery
	EndpointKey     int64
	OrganisationKey int64
	EventKey        int64
	IssuanceKey     int64 // the same for all events of an issuance: they keep their order
	EventID         string
	EventType       EventType
	Body            []byte
	AttemptCount    int // attempts made so far
	Due             time.Time
	CreatedAt       time.Time
	RetryOf         int64 // key of the delivery that this one repeats, or 0
	Test            bool  // a sample event
	// Trace is the place in a trace where the event was accepted (traceparent of
	// W3C Trace Context); empty: its attempts are not traced.
	Trace string
}

// QueuePosition is a place in a lane: deliveries are ordered by due time, then key.
type QueuePosition struct {
	Due time.Time
	Key int64
}

// Before tells whether p stands before q.
func (p QueuePosition) Before(q QueuePosition) bool {
	return p.Due.Before(q.Due) || p.Due.Equal(q.Due) && p.Key < q.Key
}

// Position gives the delivery's place in its lane.
func (d PendingDelivery) Position() QueuePosition { return QueuePosition{d.Due, d.Key} }

// Wake tells the engine, after a commit, that a lane has something to do.
type Wake struct {
	EndpointKey int64
	Due         time.Time         // the smallest due time that the commit put into the lane
	Deliveries  []PendingDelivery // what the commit put there, in order, if it is at hand
	Changed     bool              // the endpoint itself changed: read it again
	Urgent      int64             // the key of a delivery, due at Due, that somebody wants tried now, even if the lane is failing
}

// AttemptResult is what one attempt came to, to be recorded.
type AttemptResult struct {
	Delivery PendingDelivery
	Epoch    int64 // of the lane's shard when the attempt began; see [Epochs]
	Attempt  Attempt
	Status   DeliveryStatus // pending: to be tried again
	Reason   DeliveryReason // with failed
	Due      time.Time      // with pending
	Hold     bool           // with pending: later events of the issuance wait for this one
	Disable  DisabledReason // not empty: the endpoint is disabled from now on
	Failing  bool           // with this failure the endpoint counts as failing
	Health   *Health        // not nil: the endpoint's failure clock changed to this
}
