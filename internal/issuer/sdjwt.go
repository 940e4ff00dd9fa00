package issuer

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"tidings"
)

// templateOf gives the template of a credential that is to be signed.
func (s *Issuer) templateOf(ctx context.Context, r *request, c tidings.Credential) (tidings.Template, error) {
	if c.ClaimsDeleted {
		return tidings.Template{}, errClaimsDeleted
	}
	t, err := s.fixedTemplate(ctx, r.org.Key, c.TemplateID)
	if err != nil && tidings.KindOf(err) == tidings.KindNotFound {
		// %v, not %w: a template gone missing is our trouble, no wallet's 404.
		err = fmt.Errorf("the template of credential %s: %v", c.ID, err)
	}
	return t, err
}

// sign makes the SD-JWT VC of a credential, bound to the holder's key. It
// gives its places in status lists too, which the delivery has to keep.
func (s *Issuer) sign(ctx context.Context, r *request, t tidings.Template, c tidings.Credential, holder crypto.PublicKey) (string, []tidings.StatusIndex, error) {
	ring, err := s.keyring(ctx, r.org)
	if err != nil {
		return "", nil, err
	}
	payload, disclosures, err := payload(t, c.Claims)
	if err != nil {
		return "", nil, fmt.Errorf("the claims of credential %s: %w", c.ID, err)
	}
	payload["iss"] = s.IssuerURL(r.org.Slug)
	payload["vct"] = s.VCT(r.org.Slug, t.Code)
	payload["iat"] = issuedAt(r.now)
	if t.ValidFor > 0 {
		payload["exp"] = expiresAt(r.now, t.ValidFor)
	}
	payload["cnf"] = map[string]any{"jwk": jose.JSONWebKey{Key: holder}} // RFC 7800, section 3.2
	status, places, err := s.status(ctx, r.org, t)
	if err != nil {
		return "", nil, err
	}
	if status != nil {
		payload["status"] = status
	}
	text, err := ring.current.signSDJWT(payload, disclosures)
	return text, places, err
}

// errClaimsDeleted is final: what was certified is not kept for ever, so a wallet
// that comes back late must get a new offer.
var errClaimsDeleted = refuse(codeDenied, "The issuance has ended, and what it certified was deleted.")

// issuedAt rounds down to the day. The second of issuance would tell holders of
// the same type apart and link a holder's credentials (section 15.4.1; RFC 9901,
// section 10.1); and no verifier, whatever its clock, sees it in the future. The
// certificates are valid from a day before they are made, hence at iat already.
func issuedAt(now time.Time) int64 { return now.UTC().Truncate(24 * time.Hour).Unix() }

// expiresAt rounds up, for the same reasons and so that no credential lives
// shorter than its template says: to the day, or to the minute where it lives
// less than a day.
func expiresAt(now time.Time, life time.Duration) int64 {
	unit := 24 * time.Hour
	if life < unit {
		unit = time.Minute
	}
	return now.Add(life).UTC().Add(unit - 1).Truncate(unit).Unix()
}

// payload splits claims into those in the clear and the disclosures of the rest
// (RFC 9901, section 4.2). The digests are sorted, which hides the order of the
// claims (section 4.2.4.1). A claim that the template does not know (any more)
// can be withheld.
func payload(t tidings.Template, claims map[string]any) (payload map[string]any, disclosures []string, err error) {
	payload = map[string]any{}
	var digests []string
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		if t.Attributes[name].AlwaysDisclosed {
			payload[name] = claims[name]
			continue
		}
		d, err := disclosure(name, claims[name])
		if err != nil {
			return nil, nil, err
		}
		sum := sha256.Sum256([]byte(d))
		disclosures = append(disclosures, d)
		digests = append(digests, base64.RawURLEncoding.EncodeToString(sum[:]))
	}
	if len(digests) > 0 {
		slices.Sort(digests)
		payload["_sd"], payload["_sd_alg"] = digests, "sha-256"
	}
	return payload, disclosures, nil
}

// disclosure writes one claim with a salt of 128 bits (RFC 9901, section 4.2.1).
func disclosure(name string, value any) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	text, err := json.Marshal([]any{base64.RawURLEncoding.EncodeToString(salt), name, value})
	if err != nil {
		return "", errors.New("a claim cannot be written as JSON") // err could quote it
	}
	return base64.RawURLEncoding.EncodeToString(text), nil
}
