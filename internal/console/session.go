package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tidings"
)

const (
	// sessionLife is how long a session lasts from the sign-in on.
	sessionLife = 12 * time.Hour
	// formLife is how long a sign-in form can be sent.
	formLife = time.Hour

	sessionCookie = "tidings_session"
	formCookie    = "tidings_form" // of those who are not signed in: it carries the form's CSRF token
)

// session is what a cookie says, signed with the store's key: every process on
// the store believes it, and none keeps it. The signature covers the hash of
// the client's secret as well, so that a session ends when the client is
// revoked or its secret is rotated.
type session struct {
	client string // its id; empty in the cookie of a sign-in form
	nonce  string // random: the sessions of a client have different CSRF tokens
	until  time.Time
}

// newSession starts a session.
func newSession(client string, until time.Time) session {
	raw := make([]byte, 16)
	rand.Read(raw)
	return session{client, base64.RawURLEncoding.EncodeToString(raw), until}
}

// text is what is signed. A client's id may hold any character.
func (s session) text() string {
	return base64.RawURLEncoding.EncodeToString([]byte(s.client)) + "." + s.nonce + "." + strconv.FormatInt(s.until.Unix(), 10)
}

func (c *Console) mac(purpose, text string, secretHash [32]byte) string {
	h := hmac.New(sha256.New, c.key)
	h.Write([]byte(purpose + "\n" + text + "\n"))
	h.Write(secretHash[:])
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// seal gives the value of a session's cookie.
func (c *Console) seal(s session, secretHash [32]byte) string {
	return s.text() + "." + c.mac("session", s.text(), secretHash)
}

// csrf gives the token that the forms of a session carry.
func (c *Console) csrf(s session) string { return c.mac("csrf", s.text(), [32]byte{}) }

// unseal reads a cookie; its signature is still to be checked.
func unseal(value string) (s session, signature string, ok bool) {
	parts := strings.Split(value, ".")
	if len(parts) != 4 {
		return s, "", false
	}
	client, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return s, "", false
	}
	until, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return s, "", false
	}
	return session{string(client), parts[1], time.Unix(until, 0)}, parts[3], true
}

// signedIn gives the caller of a request, read from the client's row each time:
// organisation and scopes are as they are now. ok is false where nobody is
// signed in.
func (c *Console) signedIn(ctx context.Context, r *http.Request) (caller tidings.Caller, s session, ok bool, err error) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return caller, s, false, nil // there is none
	}
	s, signature, ok := unseal(cookie.Value)
	if !ok || s.client == "" || !c.cfg.Now().Before(s.until) {
		return caller, s, false, nil
	}
	client, err := c.cfg.Clients.Client(ctx, s.client)
	switch {
	case err != nil && tidings.KindOf(err) == tidings.KindNotFound:
		return caller, s, false, nil
	case err != nil:
		return caller, s, false, err
	}
	want := c.mac("session", s.text(), client.SecretHash)
	if client.RevokedAt != nil || subtle.ConstantTimeCompare([]byte(signature), []byte(want)) != 1 {
		return caller, s, false, nil
	}
	return tidings.Caller{Organisation: client.Organisation, ClientID: client.ID, Scopes: client.Scopes}, s, true, nil
}

// formSession gives the session of a visitor's form, a new one where the
// request brings none, with the cookie that keeps it.
func (c *Console) formSession(r *http.Request) (session, *http.Cookie) {
	now := c.cfg.Now()
	if cookie, err := r.Cookie(formCookie); err == nil {
		s, signature, ok := unseal(cookie.Value)
		want := c.mac("session", s.text(), [32]byte{})
		if ok && s.client == "" && now.Before(s.until) && subtle.ConstantTimeCompare([]byte(signature), []byte(want)) == 1 {
			return s, nil
		}
	}
	s := newSession("", now.Add(formLife))
	return s, c.cookie(formCookie, c.seal(s, [32]byte{}), s.until)
}

// cookie makes a cookie of the console.
func (c *Console) cookie(name, value string, until time.Time) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: Prefix, Expires: until,
		Secure: c.cfg.Secure, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// signInForm is what the sign-in page shows.
type signInForm struct {
	ClientID, Next, Problem string
}

func (c *Console) showSignIn(_ context.Context, r *request) (answer, error) {
	return answer{page: "sign-in", title: "Sign in", body: signInForm{Next: next(r.query.Get("next"))}}, nil
}

func (c *Console) signIn(ctx context.Context, r *request) (answer, error) {
	id := strings.TrimSpace(r.form.Get("client_id"))
	client, ok, err := c.authenticate(ctx, id, strings.TrimSpace(r.form.Get("client_secret")))
	if err != nil {
		return answer{}, err
	}
	if !ok {
		c.cfg.Log.WarnContext(ctx, "console sign-in refused", "request", r.id)
		return answer{page: "sign-in", title: "Sign in", status: http.StatusUnauthorized, body: signInForm{
			ClientID: id, Next: next(r.form.Get("next")),
			Problem: "This client id and secret do not belong together, or the client was revoked. tidings client list shows the ids; the secret was shown once, when the client was made.",
		}}, nil
	}
	s := newSession(client.ID, c.cfg.Now().Add(sessionLife))
	return answer{redirect: next(r.form.Get("next")), cookies: []*http.Cookie{
		c.cookie(sessionCookie, c.seal(s, client.SecretHash), s.until),
		c.cookie(formCookie, "", time.Unix(1, 0)),
	}}, nil
}

// authenticate tells whether a client exists, with this secret, and may sign in.
func (c *Console) authenticate(ctx context.Context, id, secret string) (client tidings.Client, ok bool, err error) {
	if !plausible(id) || secret == "" {
		return client, false, nil
	}
	client, err = c.cfg.Clients.Client(ctx, id)
	if err != nil && tidings.KindOf(err) == tidings.KindNotFound {
		return client, false, nil
	}
	return client, err == nil && client.RevokedAt == nil && client.HasSecret(secret), err
}

func (c *Console) signOut(context.Context, *request) (answer, error) {
	return answer{redirect: Prefix + "/sign-in", cookies: []*http.Cookie{c.cookie(sessionCookie, "", time.Unix(1, 0))}}, nil
}

// next gives the path to go to after the sign-in: one of the console's own,
// whatever the request says.
func next(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.Path != Prefix && !strings.HasPrefix(u.Path, Prefix+"/") ||
		strings.Contains(u.Path, "\\") || strings.HasPrefix(u.Path, Prefix+"/sign-") {
		return Prefix
	}
	return u.String()
}
