package tidings

import (
	"crypto/rand"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
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
	Settings
	Status         EndpointStatus
	DisabledReason DisabledReason // empty while enabled
	DisabledAt     *time.Time
	Backlog        Backlog
	FirstFailureAt *time.Time // set while every attempt since then has failed
	CreatedAt      time.Time  // milliseconds, UTC
	UpdatedAt      time.Time
	DeletedAt      *time.Time
}

// Settings are what an organisation says about an endpoint.
type Settings struct {
	URL           string // https, at most 2,048 characters
	Description   string
	FilterTypes   []EventType
	Headers       map[string]string // sent with each webhook; write-only
	RateLimit     float64           // attempts per second; 0: no limit
	MaxInFlight   int               // attempts at the same time, 1 to 64
	RetrySchedule []time.Duration   // delays after each failure; nil: the installation's
	Signatures    []string          // SignatureV1, and SignatureV1a where it is asked for
}

// The signature schemes (Standard Webhooks 1.0, "Signature scheme").
const (
	SignatureV1  = "v1"  // HMAC-SHA256 with a secret of the endpoint's
	SignatureV1a = "v1a" // Ed25519 with a key of the endpoint's
)

// DefaultMaxInFlight is how many attempts an endpoint gets at the same time
// where it does not say.
const DefaultMaxInFlight = 8

// Backlog is what waits to be delivered to an endpoint.
type Backlog struct {
	Count    int
	OldestAt *time.Time // when the oldest of it was accepted; nil where nothing waits
}

// NewEndpoint is what a caller asks for.
type NewEndpoint struct {
	ID string // optional: chosen by the caller
	Settings
	Origin
}

// EndpointPatch changes an endpoint; nil members leave it as it is.
type EndpointPatch struct {
	URL           *string
	Description   *string
	FilterTypes   *[]EventType
	Headers       *map[string]string
	RateLimit     *float64
	MaxInFlight   *int
	RetrySchedule *[]time.Duration
	Signatures    *[]string
	Status        *EndpointStatus
	RecoverSince  *time.Time // with enabling: what failed or was never made since then is sent again
	Origin
}

// Apply gives the settings after the patch. Headers are dropped when the URL's
// host changes, unless the patch sets them anew: they may hold credentials for
// the old one.
func (p EndpointPatch) Apply(s Settings) Settings {
	if p.URL != nil {
		if hostOf(*p.URL) != hostOf(s.URL) {
			s.Headers = nil
		}
		s.URL = *p.URL
	}
	set(&s.Description, p.Description)
	set(&s.FilterTypes, p.FilterTypes)
	if p.Headers != nil {
		s.Headers = keepHidden(*p.Headers, s.Headers)
	}
	set(&s.RateLimit, p.RateLimit)
	set(&s.MaxInFlight, p.MaxInFlight)
	set(&s.RetrySchedule, p.RetrySchedule)
	set(&s.Signatures, p.Signatures)
	return s
}

// HiddenValue stands in answers for the value of a header. Sent back, it keeps
// the value that there is.
const HiddenValue = "***"

func keepHidden(headers, before map[string]string) map[string]string {
	out := maps.Clone(headers)
	for name, value := range out {
		if old, ok := before[name]; ok && value == HiddenValue {
			out[name] = old
		}
	}
	return out
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	return strings.ToLower(u.Host)
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
	return e.Settings.Check()
}

// Limits of an endpoint's settings.
const (
	MaxEndpointInFlight = 64
	MaxRetries          = 20
	MaxHeaders          = 20
	maxHeaderValue      = 4096
	maxRetryDelay       = 7 * 24 * time.Hour
)

// Check tells whether the settings may stand, but for the URL's host and form.
func (s Settings) Check() error {
	switch {
	case s.URL == "":
		return Invalid("/url", "url is required: the https address that receives the webhooks.")
	case utf8.RuneCountInString(s.Description) > 500:
		return Invalid("/description", "description holds at most 500 characters.")
	case len(s.FilterTypes) > 64:
		return Invalid("/filterTypes", "filterTypes holds at most 64 event types.")
	case s.RateLimit < 0 || s.RateLimit > 10_000 || s.RateLimit > 0 && s.RateLimit < 0.01:
		return Invalid("/rateLimit", "rateLimit is 0.01 to 10,000 attempts per second, or 0 for none.")
	case s.MaxInFlight < 0 || s.MaxInFlight > MaxEndpointInFlight:
		return Invalid("/maxInFlight", "maxInFlight is 1 to %d.", MaxEndpointInFlight)
	case len(s.RetrySchedule) > MaxRetries:
		return Invalid("/retrySchedule", "retrySchedule holds at most %d delays.", MaxRetries)
	}
	for i, d := range s.RetrySchedule {
		if d < time.Second || d > maxRetryDelay {
			return Invalid(pointer("/retrySchedule", i), "A delay is 1 to 604,800 seconds.")
		}
	}
	if s.Signatures != nil && !slices.Equal(s.Signatures, []string{SignatureV1}) && !slices.Equal(s.Signatures, []string{SignatureV1, SignatureV1a}) {
		return Invalid("/signatures", "signatures is [\"v1\"] or [\"v1\",\"v1a\"].")
	}
	if err := checkHeaders(s.Headers); err != nil {
		return err
	}
	return CheckFilterTypes(s.FilterTypes)
}

// fixedHeaders are set by the sender, or belong to the connection (RFC 9110,
// section 7.6.1).
var fixedHeaders = []string{"host", "content-type", "content-length", "content-encoding", "user-agent", "connection", "keep-alive",
	"proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect",
	"traceparent", "tracestate", "idempotency-key"}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")

func checkHeaders(headers map[string]string) error {
	if len(headers) > MaxHeaders {
		return Invalid("/headers", "headers holds at most %d members.", MaxHeaders)
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		at, lower, value := "/headers/"+escapePointer(name), strings.ToLower(name), headers[name]
		switch {
		case !headerName.MatchString(name):
			return Invalid(at, "This is no name of a header.")
		case slices.Contains(fixedHeaders, lower) || strings.HasPrefix(lower, "webhook-"):
			return Invalid(at, "The header %q is set by the sender.", lower)
		case value == HiddenValue:
			return Invalid(at, "%q stands for a value that is not shown, and there is none: send the value itself.", HiddenValue)
		case seen[lower]:
			return Invalid(at, "The header %q stands there twice.", lower)
		case len(value) > maxHeaderValue || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return Invalid(at, "A header's value has at most %d bytes and no control characters.", maxHeaderValue)
		}
		seen[lower] = true
	}
	return nil
}

// Check tells whether the patch may be applied to an endpoint with these
// settings.
func (p EndpointPatch) Check(s Settings) error {
	if p.Status != nil && *p.Status != EndpointEnabled && *p.Status != EndpointDisabled {
		return Invalid("/status", "status is enabled or disabled.")
	}
	if p.RecoverSince != nil && (p.Status == nil || *p.Status != EndpointEnabled) {
		return Invalid("/recoverSince", "recoverSince goes with \"status\": \"enabled\".")
	}
	if p.MaxInFlight != nil && *p.MaxInFlight < 1 {
		return Invalid("/maxInFlight", "maxInFlight is 1 to %d.", MaxEndpointInFlight)
	}
	return p.Apply(s).Check()
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
