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
	identifiers bool // credentials are asked for by identifier (section 8.2)
}

const flagIdentifiers = 1

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
	return append(appendRandom(appendTime([]byte{flags}, a.expires)), a.issuance...)
}

func readAccess(body []byte) (access, bool) {
	if len(body) == 0 {
		return access{}, false
	}
	expires, rest, ok := cutTime(body[1:])
	if !ok || len(rest) <= randomSize {
		return access{}, false
	}
	return access{issuance: string(rest[randomSize:]), expires: expires, identifiers: body[0]&flagIdentifiers != 0}, true
}

// authorize reads the bearer token of a request (RFC 6750, section 2.1; the
// scheme's name has no case). It is valid up to, not at, its expiry.
func (s *Issuer) authorize(r *request) (access, error) {
	header := r.Header.Values("Authorization")
	if len(header) == 0 {
		return access{}, errNoToken
	}
	scheme, token, _ := strings.Cut(header[0], " ")
	if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return access{}, errToken
	}
	a, ok := s.openAccess(r.org, strings.TrimSpace(token))
	if !ok || !r.now.Before(a.expires) {
		return access{}, errToken
	}
	return a, nil
}

// refusedAccess is for a token whose issuance is no longer there.
func refusedAccess(err error) error {
	if p, _ := told(err); p.status == http.StatusNotFound {
		return errToken
	}
	return err
}
