package tidings

import (
	"crypto/sha256"
	"crypto/subtle"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Organisation is a tenant. Everything belongs to exactly one, and no request
// ever sees another's.
type Organisation struct {
	Key       int64     // internal key
	Slug      string    // its name in URLs: [a-z0-9-]{1,40}
	CreatedAt time.Time // milliseconds, UTC
}

var slugPattern = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// CheckSlug tells whether s can name an organisation.
func CheckSlug(s string) error {
	if !slugPattern.MatchString(s) {
		return Invalid("/organisation", "An organisation's name is 1 to 40 characters of a-z, 0-9 and -; got %q.", s)
	}
	return nil
}

// Scope is what a client may do (OAuth 2.0 scope, RFC 6749 section 3.3).
type Scope string

// The scopes.
const (
	ScopeRead    Scope = "read"    // every GET that shows no secret
	ScopePublish Scope = "publish" // publish events, issue credentials
	ScopeAdmin   Scope = "admin"   // endpoints, secrets, templates, revocation
)

// AllScopes is what a client gets when nothing else is asked for.
var AllScopes = Scopes{ScopePublish, ScopeRead, ScopeAdmin}

// Scopes is a set of scopes.
type Scopes []Scope

// Has tells whether s is in the set.
func (ss Scopes) Has(s Scope) bool { return slices.Contains(ss, s) }

// String joins the scopes by spaces, as tokens carry them.
func (ss Scopes) String() string {
	parts := make([]string, len(ss))
	for i, s := range ss {
		parts[i] = string(s)
	}
	return strings.Join(parts, " ")
}

// ParseScopes reads scopes separated by spaces or commas. Empty text gives
// [AllScopes]; an unknown name is an error.
func ParseScopes(text string) (Scopes, error) {
	names := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' })
	if len(names) == 0 {
		return AllScopes, nil
	}
	var out Scopes
	for _, name := range names {
		s := Scope(name)
		if !AllScopes.Has(s) {
			return nil, Invalid("/scope", "There is no scope %q; the scopes are publish, read and admin.", name)
		}
		if !out.Has(s) {
			out = append(out, s)
		}
	}
	return out, nil
}

// Client is a program of an organisation that may ask for access tokens
// (OAuth 2.0 client credentials, RFC 6749 section 4.4).
type Client struct {
	ID           string       // the client_id
	Organisation Organisation // whose it is
	Scopes       Scopes
	SecretHash   [32]byte   // SHA-256 of the client_secret, which is 256 random bits
	CreatedAt    time.Time  // milliseconds, UTC
	RotatedAt    *time.Time // when the secret was last changed
	RevokedAt    *time.Time // set: every token request is refused
}

// HasSecret tells whether secret is the client's. A plain hash is enough: the
// secret is random, so there is nothing to guess that a slow hash would protect.
func (c Client) HasSecret(secret string) bool {
	given := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(given[:], c.SecretHash[:]) == 1
}

// Caller is who makes a request: what a verified access token says.
type Caller struct {
	Organisation Organisation
	ClientID     string
	Scopes       Scopes
}

// Origin says where a change comes from: it stands in the audit log, and lets a
// request that is repeated find what it made the first time.
type Origin struct {
	By          string       // the client's id, or what else made the change
	Idempotency *Idempotency // nil: the request may be carried out again
}

// AuditEntry is one line of an organisation's audit log.
type AuditEntry struct {
	ID     string
	At     time.Time // milliseconds, UTC
	By     string    // the client's id, or what else made the change
	Action string    // such as "endpoint.created"
	Object string    // the id of what it was done to
	Detail string    // what changed: names of members, never a secret
}
