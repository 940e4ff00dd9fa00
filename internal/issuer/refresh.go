package issuer

import (
	"context"
	"encoding/binary"
	"errors"
	"net/url"

	"tidings"
)

// grantRefresh is the grant of RFC 6749, section 6.
const grantRefresh = "refresh_token"

// refreshToken is what a refresh token says. Only an issuance that may be
// deferred has one: its access token would be dead before the decision.
type refreshToken struct {
	access     // expires is the end of the deferral
	number int // counts from 1; rotated at each use
}

func (s *Issuer) sealRefresh(org tidings.Organisation, t refreshToken) string {
	body := binary.BigEndian.AppendUint32(nil, uint32(t.number))
	return s.mac.seal(forRefresh, append(body, t.access.bytes()...), org.Slug)
}

func (s *Issuer) openRefresh(org tidings.Organisation, text string) (t refreshToken, ok bool) {
	body, ok := s.mac.open(forRefresh, text, org.Slug)
	if !ok || len(body) < 4 {
		return t, false
	}
	t.number = int(binary.BigEndian.Uint32(body))
	t.access, ok = readAccess(body[4:])
	return t, ok
}

var errRefresh = refuse("invalid_grant", "The refresh token is wrong, has expired or was used already.")

// refresh exchanges a refresh token (RFC 6749, section 6) for a new access token
// and the next refresh token.
func (s *Issuer) refresh(ctx context.Context, r *request, form url.Values) (answer, error) {
	// 1. The token is ours, of this organisation, and has not expired.
	if form.Get("refresh_token") == "" {
		return answer{}, refuse("invalid_request", "The parameter refresh_token is required.")
	}
	t, ok := s.openRefresh(r.org, form.Get("refresh_token"))
	if !ok || !r.now.Before(t.expires) {
		return answer{}, errRefresh
	}

	// 2. It comes with a new proof of the key that it is bound to (RFC 9449, section
	// 5), where it is.
	sender, given, err := s.dpop(r, "")
	switch {
	case err != nil:
		return answer{}, err
	case t.bound() && sender.key != t.key:
		return answer{}, errDPoP("The refresh token is bound to a key and must come with a DPoP proof of it.")
	}
	if err := s.spendDPoP(ctx, sender, given); err != nil {
		return answer{}, err
	}
	t.key = sender.key

	// 3. Rotation. It is the issuance's newest, or the one before.
	i, err := s.store.Transition(ctx, r.org.Key, t.issuance, tidings.Refresh{Number: t.number})
	if _, refused := errors.AsType[tidings.Refusal](err); refused || err != nil && tidings.KindOf(err) == tidings.KindNotFound {
		return answer{}, errRefresh
	} else if err != nil {
		return answer{}, err
	}
	s.cfg.Log.InfoContext(ctx, "access refreshed", "organisation", r.org.Slug, "issuance", i.ID)

	// 4. The answer. No token lives longer than the deferral.
	a := t.access
	if end := r.now.Add(s.cfg.AccessLife); end.Before(a.expires) {
		a.expires = end
	}
	out := s.tokens(r, a, nil)
	t.number++
	out.Refresh = s.sealRefresh(r.org, t)
	return answer{body: out}, nil
}
