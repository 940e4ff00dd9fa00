package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tidings"

	"github.com/coreos/go-oidc/v3/oidc" // claims of a token: issuer, audience, times
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/time/rate"
)

const (
	// DefaultOrganisationClaim is where a token names its organisation.
	DefaultOrganisationClaim = "organisation"
	// DefaultScopeClaim is where a token names its scopes (RFC 9068, section 2.2.3).
	DefaultScopeClaim = "scope"

	// maxOutsideToken is the length over which an outside issuer's token is
	// refused unread: such tokens carry roles and groups.
	maxOutsideToken = 16 << 10
	// ringEvery is how often the issuer's keys are fetched, and so how late
	// a withdrawn key is noticed.
	ringEvery = 5 * time.Minute
	// ringLife is for how long keys count that could not be fetched again.
	// While the issuer is down nobody gets a token, so more would help no one.
	ringLife = time.Hour
	// askEvery and askBurst bound how often strangers can have the keys
	// fetched, with tokens of keys that are unknown.
	askEvery = 10 * time.Second
	askBurst = 3
	// maxBackoff is the longest wait before the next try while fetching fails.
	maxBackoff = 30 * time.Second
)

// OutsideStore knows the organisations.
type OutsideStore interface {
	// OrganisationBySlug gives the organisation of that name, or an error of
	// [tidings.KindNotFound].
	OrganisationBySlug(ctx context.Context, slug string) (tidings.Organisation, error)
}

// OutsideConfig says whose tokens count, and what to read in them.
type OutsideConfig struct {
	// Issuer is the issuer's URL, exactly as in the iss of its tokens. https,
	// or http on loopback. Required.
	Issuer string
	// Audience is what a token's aud must hold. Required.
	Audience string
	// OrganisationClaim and ScopeClaim are where a token names them: a member
	// or, with dots, one within others. Empty means the defaults.
	OrganisationClaim, ScopeClaim string
	// ScopePrefix stands before each scope that is meant for this server;
	// those without it are not.
	ScopePrefix string
	// Roots is whose certificates the issuer may have; nil means the system's.
	Roots *x509.CertPool
	// Now tells the time; nil means [time.Now].
	Now func() time.Time
	// Log is told of the issuer's keys; nil means [slog.Default].
	Log *slog.Logger
}

// Check lists every mistake.
func (c OutsideConfig) Check() error {
	var errs []error
	if err := checkURL(c.Issuer); err != nil {
		errs = append(errs, fmt.Errorf("auth-issuer %w", err))
	}
	if c.Audience == "" {
		errs = append(errs, errors.New("auth-audience is required"))
	}
	for name, path := range map[string]string{"auth-organisation-claim": c.OrganisationClaim, "auth-scope-claim": c.ScopeClaim} {
		if strings.HasPrefix(path, ".") || strings.HasSuffix(path, ".") || len(path) > 256 {
			errs = append(errs, fmt.Errorf("%s is a member of the token, or several with dots between them, not %q", name, path))
		}
	}
	if strings.ContainsAny(c.ScopePrefix, " \t\r\n") {
		errs = append(errs, errors.New("auth-scope-prefix has no spaces"))
	}
	return errors.Join(errs...)
}

// checkURL judges the URL of an issuer or of something of its own.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || len(text) > 1024 || printable(text) != text:
		return errors.New("is not a URL such as https://login.example/realms/main")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("must have no user, query or fragment")
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return nil
	}
	return errors.New("must be https; http is for loopback only")
}

// Outside checks the tokens of an outside issuer (OAuth 2.0, OpenID Connect),
// such as a realm of an identity server. It stands in for [Service] and gives
// out no tokens itself. Its methods may be called concurrently; [Outside.Run]
// must run for it to learn the issuer's keys.
type Outside struct {
	cfg    OutsideConfig
	store  OutsideStore
	http   *http.Client
	cache  cache
	asking *rate.Limiter
	ring   atomic.Pointer[ring] // nil until the issuer was reached; written by Run

	mu      sync.Mutex
	round   chan struct{} // closed once Run has fetched what was asked for; nil: nobody asks
	ask     chan struct{} // wakes Run
	stopped chan struct{} // closed when Run ends
}

// NewOutside gives a checker of the tokens of cfg's issuer, which need not be
// reachable yet.
func NewOutside(cfg OutsideConfig, store OutsideStore) (*Outside, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg.OrganisationClaim = cmp.Or(cfg.OrganisationClaim, DefaultOrganisationClaim)
	cfg.ScopeClaim = cmp.Or(cfg.ScopeClaim, DefaultScopeClaim)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Outside{
		cfg:     cfg,
		store:   store,
		http:    newClient(cfg.Roots),
		asking:  rate.NewLimiter(rate.Every(askEvery), askBurst),
		ask:     make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}, nil
}

// Check gives the caller that token stands for. A token that does not count is
// an error of [tidings.KindUnauthorized]; one that does, but not for an
// organisation of this server, of [tidings.KindForbidden]; while the issuer's
// keys are unknown every token gives [tidings.KindUnavailable].
func (o *Outside) Check(ctx context.Context, token string) (tidings.Caller, error) {
	switch {
	case token == "":
		return tidings.Caller{}, unauthorized("An access token is required: send the header \"Authorization: Bearer <access_token>\".")
	case len(token) > maxOutsideToken:
		return tidings.Caller{}, unauthorized("The access token is longer than the 16 KiB that are read.")
	}
	now := o.cfg.Now()
	hash := sha256.Sum256([]byte(token))
	if caller, ok := o.cache.get(hash, now); ok {
		return caller, nil
	}
	c, expires, err := o.verify(ctx, token, now)
	if err != nil {
		return tidings.Caller{}, err
	}
	caller, err := o.caller(ctx, c)
	if err != nil {
		return tidings.Caller{}, err
	}
	until := now.Add(maxCached)
	if expires.Before(until) {
		until = expires
	}
	o.cache.put(hash, caller, now, until)
	return caller, nil
}

// verify checks all that a token can tell by itself (RFC 9068, section 4).
func (o *Outside) verify(ctx context.Context, token string, now time.Time) (claimSet, time.Time, error) {
	parsed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil || len(parsed.Signatures) != 1 {
		return nil, time.Time{}, unauthorized("The access token is malformed: it is not a JWT signed with %s.", algorithmNames)
	}
	header := parsed.Signatures[0].Header
	if !accessTokenType(header) {
		return nil, time.Time{}, unauthorized("The token is not an access token: its typ says so.")
	}
	keys, err := o.keys(ctx, parsed, header, now)
	if err != nil {
		return nil, time.Time{}, err
	}
	verified, err := oidc.NewVerifier(o.cfg.Issuer, keys, &oidc.Config{
		SkipClientIDCheck:    true, // the audience is that of an API, judged below
		SupportedSigningAlgs: strings.Split(algorithmNames, ", "),
		Now:                  func() time.Time { return now },
	}).Verify(ctx, token)
	if _, expired := errors.AsType[*oidc.TokenExpiredError](err); expired || err == nil && !now.Before(verified.Expiry) {
		return nil, time.Time{}, unauthorized("The access token has expired or has no exp; ask %s for a new one.", o.tokenEndpoint())
	}
	if err != nil { // its text repeats what the token says
		return nil, time.Time{}, unauthorized("The access token does not count: another issuer than %s gave it out, or it is not valid yet.", o.cfg.Issuer)
	}
	var c claimSet
	if err := verified.Claims(&c); err != nil {
		return nil, time.Time{}, unauthorized("The access token is malformed: its claims are not a JSON object.")
	}
	return c, verified.Expiry, o.judge(c, verified, now)
}

// judge looks at what go-oidc does not: it is made for ID tokens.
func (o *Outside) judge(c claimSet, verified *oidc.IDToken, now time.Time) error {
	audience := false
	for _, aud := range verified.Audience {
		audience = audience || aud == o.cfg.Audience
	}
	latest := now.Add(time.Minute) // clocks of two machines
	nbf, dated := c["nbf"].(float64)
	switch {
	case !audience:
		return unauthorized("The access token is meant for another service: its aud does not hold %s.", o.cfg.Audience)
	case dated && nbf > float64(latest.Unix()), verified.IssuedAt.After(latest):
		return unauthorized("The access token is not valid yet: its nbf or iat is in the future.")
	case c["cnf"] != nil:
		// RFC 9449 and RFC 8705: whoever takes it must check that key.
		return unauthorized("The access token is bound to a key of its client (cnf), which this server does not check: ask for a bearer token.")
	}
	if kind, ok := c["typ"].(string); ok && !strings.EqualFold(kind, "Bearer") { // Keycloak's: ID, Refresh, Offline, …
		return unauthorized("The token is not an access token: its claim typ says so.")
	}
	return nil
}

// accessTokenType tells whether a header's typ is that of an access token. Many
// issuers write plain JWT, or nothing.
func accessTokenType(header jose.Header) bool {
	typ, present := header.ExtraHeaders[jose.HeaderType]
	text, _ := typ.(string)
	switch strings.ToLower(strings.TrimPrefix(strings.ToLower(text), "application/")) {
	case tokenType, "jwt":
		return true
	}
	return !present
}

// caller finds the organisation and the scopes that the claims name.
func (o *Outside) caller(ctx context.Context, c claimSet) (tidings.Caller, error) {
	slug, ok := c.one(o.cfg.OrganisationClaim)
	if !ok {
		return tidings.Caller{}, forbidden("The access token does not say for which organisation it is: its claim %s must name one.", o.cfg.OrganisationClaim)
	}
	if tidings.CheckSlug(slug) != nil {
		return tidings.Caller{}, forbidden("The access token's claim %s names no organisation: a name is 1 to 40 characters of a-z, 0-9 and -.", o.cfg.OrganisationClaim)
	}
	org, err := o.store.OrganisationBySlug(ctx, slug)
	if err != nil && tidings.KindOf(err) == tidings.KindNotFound {
		return tidings.Caller{}, forbidden("The access token is for the organisation %q, which this server does not have; its operator can make it.", slug)
	}
	if err != nil {
		return tidings.Caller{}, fmt.Errorf("reading the organisation of an access token: %w", err)
	}
	return tidings.Caller{Organisation: org, ClientID: c.client(), Scopes: c.scopes(o.cfg.ScopeClaim, o.cfg.ScopePrefix)}, nil
}

// Token answers [TokenPath], where this server gives out no tokens.
func (o *Outside) Token(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	elsewhere(w, "This server gives out no tokens; ask "+o.tokenEndpoint()+" for one.")
}

// Certs answers [CertsPath], where this server has no keys.
func (o *Outside) Certs(w http.ResponseWriter, _ *http.Request) {
	elsewhere(w, "This server signs no tokens; the keys are those of the issuer "+o.cfg.Issuer+".")
}

func elsewhere(w http.ResponseWriter, description string) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	writeOAuthError(w, http.StatusNotFound, "invalid_request", description)
}

// tokenEndpoint names where tokens are given out, as far as that is known.
func (o *Outside) tokenEndpoint() string {
	if r := o.ring.Load(); r != nil && r.tokenEndpoint != "" {
		return r.tokenEndpoint
	}
	return "the issuer " + o.cfg.Issuer
}

func forbidden(format string, args ...any) *tidings.Error {
	return &tidings.Error{Kind: tidings.KindForbidden, Message: fmt.Sprintf(format, args...)}
}
