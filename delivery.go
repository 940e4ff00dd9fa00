package tidings

import "time"

// DeliveryStatus is the state of a delivery. In flight is a lease, not a
// state; retrying is pending with a later due time.
type DeliveryStatus string

// The states. All but pending are final.
const (
	DeliveryPending   DeliveryStatus = "pending"
	DeliveryDelivered DeliveryStatus = "delivered"
	DeliveryFailed    DeliveryStatus = "failed"
	DeliveryCanceled  DeliveryStatus = "canceled"
)

// DeliveryStatuses lists them.
var DeliveryStatuses = []DeliveryStatus{DeliveryPending, DeliveryDelivered, DeliveryFailed, DeliveryCanceled}

// DeliveryReason is why a delivery ended without having been delivered.
type DeliveryReason string

// The reasons.
const (
	ReasonExhausted       DeliveryReason = "exhausted"        // the last retry failed
	ReasonRetention       DeliveryReason = "retention"        // pending for longer than the retention time
	ReasonEndpointDeleted DeliveryReason = "endpoint_deleted" // its endpoint was deleted
)

// Delivery is one event on its way to one endpoint.
type Delivery struct {
	ID            string
	EventID       string
	EndpointID    string
	EventType     EventType
	IssuanceID    string
	Status        DeliveryStatus
	Reason        DeliveryReason // why it failed or was canceled, else empty
	AttemptCount  int
	NextAttemptAt *time.Time // while pending
	RetryOf       string     // the ended delivery that this one repeats, if it does
	CreatedAt     time.Time  // milliseconds, UTC
	EndedAt       *time.Time
	Attempts      []Attempt // only where one delivery is asked for
}

// Attempt is one HTTP request of a delivery.
type Attempt struct {
	Number          int // from 1
	StartedAt       time.Time
	Duration        time.Duration
	Timing          Timing
	StatusCode      int    // 0 where no answer came
	ErrorCode       string // empty on success; a closed set
	Error           string // one sentence
	ResponseExcerpt []byte // the first 4 KiB of the answer
}

// Timing says where the time of an attempt went. A step that did not happen is
// 0: on a connection that was open already there is only Wait.
type Timing struct {
	DNS     time.Duration // resolving the host's name
	Connect time.Duration // making the TCP connection
	TLS     time.Duration // the handshake
	Wait    time.Duration // from the sent request to the first byte of the answer
}

// DeliveryFilter narrows a list of deliveries; empty members do not.
type DeliveryFilter struct {
	EndpointID string
	EventID    string
	EventType  EventType
	Status     DeliveryStatus
	IssuanceID string
}

// HeldRetries is for how many retries of an event the later events of its
// issuance wait at the same endpoint. After that they may overtake it.
const HeldRetries = 2

// Recovery sends again what an endpoint did not get in a period: every delivery
// that failed, and every one that was never made.
type Recovery struct {
	ID         string
	EndpointID string
	Since      time.Time
	Until      time.Time
	Status     RecoveryStatus
	Examined   int     // events looked at so far
	Recovered  int     // deliveries made so far
	Progress   float64 // how much of the period has been looked at, 0 to 1
	CreatedAt  time.Time
	EndedAt    *time.Time
}

// RecoveryStatus tells whether a recovery has ended.
type RecoveryStatus string

// The states of a recovery.
const (
	RecoveryRunning   RecoveryStatus = "running"
	RecoveryCompleted RecoveryStatus = "completed"
)

// NewRecovery is what a caller asks for.
type NewRecovery struct {
	Since time.Time
	Until time.Time // zero: until now
	Origin
}
