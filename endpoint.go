package tidings

import (
	"crypto/rand"
	"regexp"
	"strconv"
	"time"
)

// EndpointStatus tells whether an endpoint's deliveries are sent.
type EndpointStatus string

// The states of an endpoint. A disabled one keeps collecting deliveries.
const (
	EndpointEnabled  EndpointStatus = "enabled"
	EndpointDisabled EndpointStatus = "disabled"
)

// DisabledReason is why an endpoint is disabled.
type DisabledReason string

// The reasons.
const (
	DisabledManual  DisabledReason = "manual"  // the organisation asked for it
	DisabledGone    DisabledReason = "gone"    // the receiver answered 410
	DisabledFailing DisabledReason = "failing" // every attempt failed for too long
)

// Endpoint is where an organisation receives its webhooks.
type Endpoint struct {
	Key            int64  // internal key: a deleted and re-created id is another endpoint
	ID             string // public; unique in its organisation
	OrganisationID int64
	URL            string // https, at most 2,048 characters
	FilterTypes    []EventType
	Status         EndpointStatus
	DisabledReason DisabledReason // empty while enabled
	DisabledAt     *time.Time
	Backlog        int        // pending deliveries
	FirstFailureAt *time.Time // set while every attempt since then has failed
	CreatedAt      time.Time  // milliseconds, UTC
	UpdatedAt      time.Time
	DeletedAt      *time.Time
}

// NewEndpoint is what a caller asks for.
type NewEndpoint struct {
	ID          string // optional: chosen by the caller
	URL         string
	FilterTypes []EventType
}

// MaxEndpoints is how many endpoints an organisation may have by default.
const MaxEndpoints = 100

var endpointIDPattern = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Check tells whether the endpoint may be registered, but for its URL: the
// egress guard judges that.
func (e NewEndpoint) Check() error {
	if e.ID != "" && !endpointIDPattern.MatchString(e.ID) {
		return Invalid("/id", "An endpoint's id is 1 to 64 characters of a-z, A-Z, 0-9, _ and -.")
	}
	if e.URL == "" {
		return Invalid("/url", "url is required: the https address that receives the webhooks.")
	}
	if len(e.FilterTypes) > 64 {
		return Invalid("/filterTypes", "filterTypes holds at most 64 event types.")
	}
	return CheckFilterTypes(e.FilterTypes)
}

// NewEndpointID gives a random id of 10 lower-case letters and digits.
func NewEndpointID() string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	return randomText(alphabet, 10)
}

// randomText draws n characters of alphabet, each equally likely.
func randomText(alphabet string, n int) string {
	out := make([]byte, 0, n)
	buf := make([]byte, 2*n)
	limit := byte(256 - 256%len(alphabet))
	for len(out) < n {
		rand.Read(buf)
		for _, b := range buf {
			if b < limit && len(out) < n {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out)
}

func pointer(base string, index int) string { return base + "/" + strconv.Itoa(index) }

// SigningSecret signs an endpoint's webhooks.
type SigningSecret struct {
	Secret    string     // whsec_…
	ExpiresAt *time.Time // set on an older secret that signs along until then
}
