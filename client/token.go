package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// authority gets access tokens (OAuth 2.0 client credentials, RFC 6749
// section 4.4) and keeps the last one.
type authority struct {
	http     *http.Client
	url      string
	id       string
	secret   string
	turn     chan struct{} // holds one element: who takes it may read and change what follows
	current  string
	useUntil time.Time
}

func newAuthority(h *http.Client, tokenURL, id, secret string) *authority {
	a := &authority{http: h, url: tokenURL, id: id, secret: secret, turn: make(chan struct{}, 1)}
	a.turn <- struct{}{}
	return a
}

// tokenError marks a call that was not sent, as there was no token for it.
type tokenError struct{ err error }

// Error gives the reason.
func (e *tokenError) Error() string { return "getting an access token: " + e.err.Error() }

// Unwrap gives the cause, such as an [*Error].
func (e *tokenError) Unwrap() error { return e.err }

// token gives a token that can be used. Where there is none, one caller asks
// for it while the others wait; each waits only as long as its own ctx lets it.
func (a *authority) token(ctx context.Context) (string, error) {
	select {
	case <-a.turn:
	case <-ctx.Done():
		return "", &tokenError{ctx.Err()}
	}
	defer func() { a.turn <- struct{}{} }()
	if a.current != "" && time.Now().Before(a.useUntil) {
		return a.current, nil
	}
	asked := time.Now()
	token, life, err := a.ask(ctx)
	if err != nil {
		return "", &tokenError{err}
	}
	a.current, a.useUntil = token, asked.Add(life-min(life/5, 30*time.Second))
	return token, nil
}

// forget drops a token that the server does not take, unless there is a newer
// one already.
func (a *authority) forget(ctx context.Context, token string) {
	select {
	case <-a.turn:
	case <-ctx.Done():
		return
	}
	defer func() { a.turn <- struct{}{} }()
	if a.current == token {
		a.current = ""
	}
}

// ask makes the token request.
func (a *authority) ask(ctx context.Context) (token string, life time.Duration, err error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {a.id}, "client_secret": {a.secret}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", userAgent)
	answer, err := a.http.Do(r)
	if err != nil {
		return "", 0, err
	}
	defer answer.Body.Close()
	text, err := readAll(answer.Body, 64<<10)
	if err != nil {
		return "", 0, err
	}
	if answer.StatusCode != http.StatusOK {
		return "", 0, readError(answer, text)
	}
	var given struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.Unmarshal(text, &given); err != nil || given.AccessToken == "" {
		return "", 0, fmt.Errorf("%w: it holds no access token", errAnswer)
	}
	return given.AccessToken, time.Duration(given.ExpiresIn) * time.Second, nil
}
