// Package issuer issues credentials over OpenID for Verifiable Credential
// Issuance 1.0 (OID4VCI): credential offer, metadata, token, nonce, credential
// and notification, with the pre-authorized code flow. Each file follows one
// chapter of the specification; section numbers without a name are its own.
//
// What a wallet holds (offer link, code, access token, nonce, notification id)
// is never stored: each is authenticated with one key, bound to its purpose and
// its organisation. Everything that happens to an issuance is one step of
// [tidings.Issuance], taken by the store in one transaction with its events.
package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"tidings"
)

// Issuances is what the issuer needs of the store's issuances. Every write is
// one transaction with its events and deliveries.
type Issuances interface {
	CreateIssuance(ctx context.Context, org tidings.Organisation, n tidings.NewIssuance) (tidings.Issuance, error)
	Issuance(ctx context.Context, org int64, id string) (tidings.Issuance, error)
	Transition(ctx context.Context, org int64, id string, step tidings.Step) (tidings.Issuance, error)
	// Spend remembers what may come once, and tells whether this was the first time.
	Spend(ctx context.Context, n tidings.UsedNonce) (bool, error)
	SweepDeadlines(ctx context.Context, limit int) (changed int, next time.Time, err error)
}

// Catalogue is what the issuer reads besides: whose it is, what can be issued,
// and the keys that all nodes share.
type Catalogue interface {
	OrganisationBySlug(ctx context.Context, slug string) (tidings.Organisation, error)
	Template(ctx context.Context, org int64, id string) (tidings.Template, error)
	Templates(ctx context.Context, org int64, f tidings.TemplateFilter, p tidings.Page) (tidings.List[tidings.Template], error)
	Secret(ctx context.Context, name string, make func() ([]byte, error)) ([]byte, error)
}

// Store is all of them.
type Store interface {
	Issuances
	Catalogue
	Statuses
	Keys
}

// Config is what the issuer can be told.
type Config struct {
	// PublicURL is the base of all links, such as https://tidings.example:
	// scheme and host, no path, no trailing slash. Required.
	PublicURL string

	// AccessLife is how long an access token works. Default 5 minutes, which is
	// also the most that the product promises.
	AccessLife time.Duration

	// DeferralLife is how long a deferred issuance may wait for its decision and
	// its wallet, from the redemption of its offer. Default 14 days.
	DeferralLife time.Duration

	// Grace is how long a wallet may still refuse a delivered credential before
	// the issuance completes by itself. 0 is a choice, not the default: it
	// completes at delivery. Say [DefaultGrace] for the product's default.
	Grace time.Duration

	// Now is the clock. Default [time.Now].
	Now func() time.Time

	// Log gets one line for each thing that happened, never a code, a token, a
	// nonce or a claim. Default [slog.Default].
	Log *slog.Logger
}

// The default of [Config.Grace], and the bound and default of [Config.AccessLife].
const (
	DefaultGrace        = 10 * time.Second
	DefaultDeferralLife = 14 * 24 * time.Hour
	MaxAccessLife       = 5 * time.Minute
)

// Issuer serves the protocol for every organisation.
type Issuer struct {
	cfg   Config
	store Store
	mac   macKey
	lists publisher

	organisations sync.Map // slug → tidings.Organisation
	templates     templates

	ringsMu sync.Mutex
	rings   map[int64]checkedRing // by organisation
}

// New checks the configuration (all mistakes at once) and gets or makes the key
// under which links, codes and tokens are authenticated.
func New(ctx context.Context, cfg Config, store Store) (*Issuer, error) {
	if cfg.AccessLife == 0 {
		cfg.AccessLife = MaxAccessLife
	}
	if cfg.DeferralLife == 0 {
		cfg.DeferralLife = DefaultDeferralLife
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	key, err := store.Secret(ctx, "issuer-mac-key", func() ([]byte, error) {
		key := make([]byte, macKeySize)
		rand.Read(key)
		return key, nil
	})
	if err != nil {
		return nil, fmt.Errorf("issuer: getting the key for codes and tokens: %w", err)
	}
	if len(key) != macKeySize {
		return nil, fmt.Errorf("issuer: the key for codes and tokens has %d bytes, not %d", len(key), macKeySize)
	}
	return &Issuer{cfg: cfg, store: store, mac: key, rings: map[int64]checkedRing{}}, nil
}

func (c Config) check() error {
	var mistakes []error
	u, err := url.Parse(c.PublicURL)
	switch {
	case err != nil:
		mistakes = append(mistakes, errors.New("issuer: the public URL cannot be read as a URL"))
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		mistakes = append(mistakes, errors.New("issuer: the public URL must start with https:// (or http:// on loopback) and name a host"))
	case u.Path != "" || u.User != nil || strings.ContainsAny(c.PublicURL, "?#"):
		// The well-known documents stand between host and path (section 12.2.2),
		// so a path of the product's own would move them where it is not asked.
		mistakes = append(mistakes, errors.New("issuer: the public URL must have no path, query, fragment or user"))
	}
	if c.AccessLife < time.Second || c.AccessLife > MaxAccessLife {
		mistakes = append(mistakes, fmt.Errorf("issuer: the access token's life must be 1 s to %v, not %v", MaxAccessLife, c.AccessLife))
	}
	if c.Grace < 0 {
		mistakes = append(mistakes, fmt.Errorf("issuer: the acceptance grace must not be negative, but is %v", c.Grace))
	}
	return errors.Join(mistakes...)
}

// IssuerURL is the credential issuer identifier of an organisation (section
// 12.2.1). It is the same from the first day on, since wallets keep it.
func (s *Issuer) IssuerURL(slug string) string { return s.cfg.PublicURL + "/o/" + slug }

// VCT is the type of credentials of an organisation's template, by its code. It
// stands below the organisation so that equal codes of two never meet; the type
// metadata is served there.
func (s *Issuer) VCT(slug, code string) string { return s.IssuerURL(slug) + "/vct/" + code }
