package auth

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"tidings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// tokenType is the typ of our tokens' header (RFC 9068, section 2.1). It
	// keeps every other sort of JWT from passing as an access token.
	tokenType = "at+jwt"
	// maxToken is the length over which a token is refused unread; ours have
	// some 900 characters.
	maxToken = 4096
	// skew is how far the clock of the process that gave out a token may be
	// ahead of ours. A token that has run out gets no such grace.
	skew = 10 * time.Second
)

// claims are what a token says (RFC 9068, section 2.2).
type claims struct {
	Issuer       string           `json:"iss"`
	Subject      string           `json:"sub"`
	Authorized   string           `json:"azp"`
	ClientID     string           `json:"client_id"`
	Audience     jwt.Audience     `json:"aud"`
	IssuedAt     *jwt.NumericDate `json:"iat"`
	Expires      *jwt.NumericDate `json:"exp"`
	ID           string           `json:"jti"`
	Scope        string           `json:"scope"`
	Organisation string           `json:"organisation"`
}

// Check gives the caller that token stands for. A token that is not ours, has
// run out or whose client is gone or revoked is an error of
// [tidings.KindUnauthorized]; trouble with the store is another.
func (s *Service) Check(ctx context.Context, token string) (tidings.Caller, error) {
	switch {
	case token == "":
		return tidings.Caller{}, unauthorized("An access token is required: send the header \"Authorization: Bearer <access_token>\".")
	case len(token) > maxToken:
		return tidings.Caller{}, unauthorized("The access token is malformed: it is longer than any that this server gives out.")
	}
	now := s.now()
	var room [1024]byte // of the stack: our tokens fit
	key := sha256.Sum256(append(room[:0], token...))
	if caller, ok := s.cache.get(key, now); ok {
		return caller, nil
	}
	c, err := s.verify(token, now)
	if err != nil {
		return tidings.Caller{}, err
	}
	caller, err := s.caller(ctx, c)
	if err != nil {
		return tidings.Caller{}, err
	}
	until := now.Add(maxCached) // counted from before the row was read
	if exp := c.Expires.Time(); exp.Before(until) {
		until = exp
	}
	s.cache.put(key, caller, now, until)
	return caller, nil
}

// verify checks everything that the token itself can tell, in the order of
// RFC 9068, section 4. Which algorithm is right is ours to say, never the
// token's (RFC 8725, section 3.1).
func (s *Service) verify(token string, now time.Time) (claims, error) {
	var c claims
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(parsed.Headers) != 1 {
		return c, unauthorized("The access token is malformed: it is not a JWT signed with RS256.")
	}
	header := parsed.Headers[0]
	if typ, _ := header.ExtraHeaders[jose.HeaderType].(string); typ != tokenType || header.KeyID != s.keyID {
		return c, unauthorized("The access token was not given out by this server.")
	}
	if err := parsed.Claims(s.public, &c); err != nil {
		return c, unauthorized("The access token was not given out by this server: its signature does not verify.")
	}
	switch {
	case c.Issuer != s.issuer:
		return c, unauthorized("The access token comes from another issuer; this server's is %s.", s.issuer)
	case !c.Audience.Contains(s.audience):
		return c, unauthorized("The access token is meant for another service, not for %s.", s.audience)
	case c.Expires == nil || c.IssuedAt == nil || c.ClientID == "":
		return c, unauthorized("The access token is malformed: exp, iat or client_id is missing.")
	case !now.Before(c.Expires.Time()):
		return c, unauthorized("The access token has expired; ask for a new one at %s.", TokenPath)
	case c.IssuedAt.Time().After(now.Add(skew)):
		return c, unauthorized("The access token is not valid yet: it was given out in the future.")
	}
	return c, nil
}

// caller reads the client's row: the organisation and what the client may do
// are as they are now, not as they were when the token was given out.
func (s *Service) caller(ctx context.Context, c claims) (tidings.Caller, error) {
	client, err := s.store.Client(ctx, c.ClientID)
	switch {
	case err != nil && tidings.KindOf(err) == tidings.KindNotFound,
		err == nil && client.RevokedAt != nil:
		return tidings.Caller{}, unauthorized("The access token's client has been revoked or no longer exists.")
	case err != nil:
		return tidings.Caller{}, fmt.Errorf("reading the client of an access token: %w", err)
	}
	granted, err := tidings.ParseScopes(c.Scope)
	if err != nil || c.Scope == "" {
		return tidings.Caller{}, unauthorized("The access token is malformed: its scope is unknown.")
	}
	caller := tidings.Caller{Organisation: client.Organisation, ClientID: client.ID}
	for _, scope := range granted {
		if allows(client.Scopes, scope) {
			caller.Scopes = append(caller.Scopes, scope)
		}
	}
	return caller, nil
}

// allows tells whether a client with these scopes may have scope. Admin
// implies every other.
func allows(have tidings.Scopes, scope tidings.Scope) bool {
	return have.Has(scope) || have.Has(tidings.ScopeAdmin)
}

func unauthorized(format string, args ...any) *tidings.Error {
	return &tidings.Error{Kind: tidings.KindUnauthorized, Message: fmt.Sprintf(format, args...)}
}
