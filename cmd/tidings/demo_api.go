package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	demoTokenPath = "/iam/realms/product-hub/protocol/openid-connect/token"
	demoAPIPath   = "/me-creds/api"
)

// demoAPI is a client of the HTTP API, as small as the demo needs it.
type demoAPI struct {
	url    string
	secret string // of the client
	http   *http.Client
	token  string
}

// object is a JSON object to send.
type object = map[string]any

// authenticate gets an access token by client credentials (RFC 6749, section 4.4).
func (a *demoAPI) authenticate(ctx context.Context) (life time.Duration, err error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {demoClientID}, "client_secret": {a.secret}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+demoTokenPath, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if _, err := a.do(req, http.StatusOK, &answer); err != nil {
		return 0, fmt.Errorf("getting an access token: %w", err)
	}
	a.token = answer.AccessToken
	return time.Duration(answer.ExpiresIn) * time.Second, nil
}

// call makes an API request that must be answered with status want, decodes
// the answer's data into out unless that is nil, and gives the whole answer.
func (a *demoAPI) call(ctx context.Context, method, path string, body any, want int, out any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, a.url+demoAPIPath+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if body == nil {
		req.Body, req.ContentLength = nil, 0
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	answer, err := a.do(req, want, &struct{ Data any }{out})
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return answer, nil
}

func (a *demoAPI) do(req *http.Request, want int, into any) ([]byte, error) {
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != want {
		return nil, fmt.Errorf("status %d instead of %d: %s", resp.StatusCode, want, answer)
	}
	return answer, json.Unmarshal(answer, into)
}
