// Package auth gives out access tokens and checks them: OAuth 2.0 client
// credentials (RFC 6749, section 4.4) answered with signed JWTs (RFC 9068).
//
// A token says who asked and for what; whether the client still may is read
// from its row, at most [maxCached] ago. So a revocation takes effect within
// five seconds, whichever process wrote it.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"tidings"

	"github.com/go-jose/go-jose/v4"
)

// The routes that [Service] answers. They are those of the identity server of
// the API we stand in for, so that its clients change only the host.
const (
	realmPath = "/iam/realms/product-hub"
	TokenPath = realmPath + "/protocol/openid-connect/token" // see [Service.Token]
	CertsPath = realmPath + "/protocol/openid-connect/certs" // see [Service.Certs]

	// apiPath is the base of the API that the tokens are for, their audience.
	apiPath = "/me-creds/api"
)

// DefaultTokenLife is how long a token lives where the configuration does not
// say.
const DefaultTokenLife = 5 * time.Minute

// keyName names the signing key among the store's secrets.
const keyName = "token-signing-key"

// Store keeps the clients and the signing key.
type Store interface {
	// Client gives the client with this id, revoked ones too, or an error of
	// [tidings.KindNotFound].
	Client(ctx context.Context, id string) (tidings.Client, error)
	// Secret gives the bytes kept under name; where there are none, it keeps
	// and gives those of create. Every process gets the same ones.
	Secret(ctx context.Context, name string, create func() ([]byte, error)) ([]byte, error)
}

// Config says how tokens are made.
type Config struct {
	// PublicURL is the base of all links, without a slash at its end. It
	// makes the issuer and the audience of a token. Required.
	PublicURL string
	// TokenLife is how long a token lives; 0 means [DefaultTokenLife].
	TokenLife time.Duration
	// Now tells the time; nil means [time.Now].
	Now func() time.Time
	// Log gets one line per token request; nil means [slog.Default].
	Log *slog.Logger
}

// Service gives out tokens and checks them. Its methods may be called
// concurrently.
type Service struct {
	store    Store
	log      *slog.Logger
	now      func() time.Time
	life     time.Duration
	issuer   string
	audience string

	public *rsa.PublicKey
	keyID  string // RFC 7638 thumbprint
	signer jose.Signer
	jwks   []byte
	cache  cache
}

// New gives a service that signs with the store's key, which it makes on the
// first start.
func New(ctx context.Context, cfg Config, store Store) (*Service, error) {
	base := strings.TrimRight(cfg.PublicURL, "/")
	switch {
	case base == "":
		return nil, errors.New("auth: PublicURL is required")
	case cfg.TokenLife != 0 && cfg.TokenLife < time.Second:
		return nil, fmt.Errorf("auth: TokenLife must be at least 1s, got %v", cfg.TokenLife)
	}
	s := &Service{
		store:    store,
		log:      cfg.Log,
		now:      cfg.Now,
		life:     cfg.TokenLife,
		issuer:   base + realmPath,
		audience: base + apiPath,
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.life == 0 {
		s.life = DefaultTokenLife
	}
	text, err := store.Secret(ctx, keyName, newKey)
	if err != nil {
		return nil, fmt.Errorf("reading the token signing key: %w", err)
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("reading the token signing key: %w", err)
	}
	return s, s.use(key)
}

// use prepares the signer and the key set from key.
func (s *Service) use(key *rsa.PrivateKey) error {
	public := jose.JSONWebKey{Key: key.Public(), Algorithm: string(jose.RS256), Use: "sig"}
	id, err := thumbprint(public)
	if err != nil {
		return fmt.Errorf("naming the token signing key: %w", err)
	}
	public.KeyID = id
	if s.jwks, err = marshalKeySet(public); err != nil {
		return fmt.Errorf("publishing the token signing key: %w", err)
	}
	s.signer, err = jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: id}},
		(&jose.SignerOptions{}).WithType(tokenType))
	if err != nil {
		return fmt.Errorf("using the token signing key: %w", err)
	}
	s.public, s.keyID = &key.PublicKey, id
	return nil
}

const pemType = "PRIVATE KEY" // PKCS #8 (RFC 5958)

// newKey makes an RSA key of 2,048 bits, the least that RS256 allows
// (RFC 7518, section 3.3).
func newKey() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("making an RSA key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding an RSA key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
}

// parseKey reads what newKey made. Its errors hold nothing of the text.
func parseKey(text []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemType {
		return nil, errors.New("it is not PEM of a PKCS #8 private key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is not a PKCS #8 private key")
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok || private.N.BitLen() < 2048 {
		return nil, errors.New("it is not an RSA key of at least 2,048 bits")
	}
	return private, nil
}
