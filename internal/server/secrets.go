package server

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"tidings"
)

// EndpointSecret is what an endpoint's webhooks are signed with.
type EndpointSecret struct {
	Secret   string           `json:"secret"`
	Previous []PreviousSecret `json:"previous"`
}

// PreviousSecret signs along until it expires.
type PreviousSecret struct {
	Secret    string `json:"secret"`
	ExpiresAt *Time  `json:"expiresAt"`
}

// Rotation says how a secret is replaced.
type Rotation struct {
	GracePeriodSeconds *int64 `json:"gracePeriodSeconds,omitempty"` // how long the old secret signs along; default a day
}

const (
	defaultRotationGrace = 24 * time.Hour
	maxRotationGrace     = 7 * 24 * time.Hour
)

func showSecrets(secrets []tidings.SigningSecret) (EndpointSecret, error) {
	if len(secrets) == 0 {
		return EndpointSecret{}, errors.New("an endpoint has no signing secret")
	}
	out := EndpointSecret{Secret: secrets[0].Secret}
	for _, old := range secrets[1:] {
		out.Previous = append(out.Previous, PreviousSecret{old.Secret, optionalTime(old.ExpiresAt)})
	}
	return out, nil
}

func (s *Server) readSecret(ctx context.Context, c *call, _ none) (EndpointSecret, error) {
	secrets, err := s.cfg.Secrets.EndpointSecrets(ctx, c.Organisation.Key, c.id, c.origin())
	if err != nil {
		return EndpointSecret{}, err
	}
	return showSecrets(secrets)
}

func (s *Server) rotateSecret(ctx context.Context, c *call, in Rotation) (EndpointSecret, error) {
	grace := defaultRotationGrace
	if in.GracePeriodSeconds != nil {
		if *in.GracePeriodSeconds < 0 || *in.GracePeriodSeconds > int64(maxRotationGrace/time.Second) {
			return EndpointSecret{}, tidings.Invalid("/gracePeriodSeconds", "gracePeriodSeconds is 0 to %d.", int64(maxRotationGrace/time.Second))
		}
		grace = time.Duration(*in.GracePeriodSeconds) * time.Second
	}
	secrets, err := s.cfg.Secrets.RotateSecret(ctx, c.Organisation.Key, c.id, grace, c.origin())
	if err != nil {
		return EndpointSecret{}, err
	}
	return showSecrets(secrets)
}

// jwk is an Ed25519 public key (RFC 8037, section 2).
type jwk struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	KeyID     string `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
}

// webhookKeys publishes the key that signs an endpoint's v1a signatures, as a
// JWK set (RFC 7517, section 5).
func (s *Server) webhookKeys(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	var key ed25519.PublicKey
	err := error(&tidings.Error{Kind: tidings.KindNotFound, Message: "There is nothing with this id."})
	if plausibleID(id) {
		key, err = s.cfg.Secrets.WebhookKey(r.Context(), id)
	}
	if err != nil {
		s.refuse("/.well-known/webhook-keys/{id}", err)(w, r)
		return
	}
	var body bytes.Buffer
	err = encode(&body, map[string][]jwk{"keys": {{"OKP", "Ed25519", base64.RawURLEncoding.EncodeToString(key), id, "sig", "EdDSA"}}})
	if err != nil {
		s.refuse("/.well-known/webhook-keys/{id}", err)(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("Access-Control-Allow-Origin", "*")
	w.Write(body.Bytes())
}

// AuditEntry is one line of the audit log.
type AuditEntry struct {
	ID     string `json:"id"`
	At     Time   `json:"at"`
	By     string `json:"by"`
	Action string `json:"action"`
	Object string `json:"object"`
	Detail string `json:"detail"`
}

func (e AuditEntry) cursor() string { return e.ID }

func (s *Server) listAudit(ctx context.Context, c *call) (page[AuditEntry], error) {
	l, err := s.cfg.Secrets.Audit(ctx, c.Organisation.Key, c.query.page)
	return pageOf(l, func(e tidings.AuditEntry) AuditEntry {
		return AuditEntry{e.ID, Time(e.At), e.By, e.Action, e.Object, e.Detail}
	}), err
}
