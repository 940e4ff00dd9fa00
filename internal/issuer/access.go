package issuer

import (
	"net/http"
	"strings"
	"time"

	"tidings"
)

// access is what an access token says. The token is opaque to wallets; sealed,
// it needs no row of its own.
type access struct {
	issuance    string
	expires     time.Time
	identifiers bool       // credentials are asked for by identifier (section 8.2)
	key         thumbprint // that it is bound to (RFC 9449); zero: to none
}

const (
	flagIdentifiers = 1
	flagBound       = 2
)

// bound tells whether the token needs a DPoP proof of its key.
func (a access) bound() bool { return a.key != thumbprint{} }

func (s *Issuer) sealAccess(org tidings.Organisation, a access) string {
	return s.mac.seal(forAccess, a.bytes(), org.Slug)
}

func (s *Issuer) openAccess(org tidings.Organisation, token string) (access, bool) {
	body, ok := s.mac.open(forAccess, token, org.Slug)
	if !ok {
		return access{}, false
	}
	return readAccess(body)
}

// bytes and readAccess write what a token says, with random bytes in it that
// make each another.
func (a access) bytes() []byte {
	var flags byte
	if a.identifiers {
		flags |= flagIdentifiers
	}
	if a.bound() {
		flags |= flagBound
	}
	body := appendTime([]byte{flags}, a.expires)
	if a.bound() {
		body = append(body, a.key[:]...)
	}
	return append(appendRandom(body), a.issuance...)
}

func readAccess(body []byte) (access, bool) {
	if len(body) == 0 {
		return access{}, false
	}
	expires, rest, ok := cutTime(body[1:])
	a := access{expires: expires, identifiers: body[0]&flagIdentifiers != 0}
	if body[0]&flagBound != 0 && len(rest) > len(a.key) {
		a.key, rest = thumbprint(rest[:len(a.key)]), rest[len(a.key):]
	}
	if !ok || len(rest) <= randomSize {
		return access{}, false
	}
	a.issuance = string(rest[randomSize:])
	return a, true
}

// authorize reads the access token of a request (RFC 6750, section 2.1; RFC 9449,
// section 7.1; a scheme's name has no case). It is valid up to, not at, its
// expiry; one that is bound to a key only with a new proof of it.
func (s *Issuer) authorize(r *request) (access, error) {
	header := r.Header.Values("Authorization")
	if len(header) == 0 {
		return access{}, errNoToken
	}
	scheme, token, _ := strings.Cut(header[0], " ")
	bound := strings.EqualFold(scheme, "DPoP")
	if len(header) > 1 || !bound && !strings.EqualFold(scheme, "Bearer") {
		return access{}, errToken
	}
	token = strings.TrimSpace(token)
	a, ok := s.openAccess(r.org, token)
	switch {
	case !ok || !r.now.Before(a.expires):
		return access{}, errToken
	case a.bound() != bound:
		return access{}, errBoundToken
	case !bound:
		return a, nil
	}
	p, given, err := s.dpop(r, token)
	switch {
	case err != nil:
		return access{}, atResource(err)
	case !given:
		return access{}, atResource(errDPoP("A DPoP proof is required."))
	case p.key != a.key:
		return access{}, atResource(errDPoP("The DPoP proof is of another key than the access token."))
	}
	return a, atResource(s.spendDPoP(r.Context(), p, given))
}

// refusedAccess is for a token whose issuance is no longer there.
func refusedAccess(err error) error {
	if p, _ := told(err); p.status == http.StatusNotFound {
		return errToken
	}
	return err
}
