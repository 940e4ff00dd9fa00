package issuer

import (
	"context"
	"crypto/sha256"
	"time"

	"tidings"
)

// nonceLife is how long a nonce may be used; longer than a wallet needs to ask
// its user for a fingerprint, as short as the access token.
const nonceLife = 5 * time.Minute

// nonce hands out a nonce (section 7). Nothing is stored here: only a nonce that
// was used is, until it would expire anyway. So nobody can fill the disk.
func (s *Issuer) nonce(_ context.Context, r *request) (answer, error) {
	return answer{body: struct {
		Nonce string `json:"c_nonce"`
	}{s.newNonce(r.org, r.now)}}, nil
}

func (s *Issuer) newNonce(org tidings.Organisation, now time.Time) string {
	return s.mac.seal(forNonce, appendRandom(appendTime(nil, now.Add(nonceLife))), org.Slug)
}

// openNonce gives what the store keeps of a nonce once a proof has spent it; ok
// is false where it is not ours or too old.
func (s *Issuer) openNonce(org tidings.Organisation, text string, now time.Time) (tidings.UsedNonce, bool) {
	body, ok := s.mac.open(forNonce, text, org.Slug)
	if !ok {
		return tidings.UsedNonce{}, false
	}
	expires, _, ok := cutTime(body)
	if !ok || !now.Before(expires) {
		return tidings.UsedNonce{}, false
	}
	sum := sha256.Sum256(body)
	return tidings.UsedNonce{Hash: [16]byte(sum[:16]), ExpiresAt: expires}, true
}
