package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The paths below [Config.URL].
const (
	apiPath   = "/me-creds/api"
	tokenPath = "/iam/realms/product-hub/protocol/openid-connect/token"
)

// Bounds of a call.
const (
	maxTries  = 4                // of one call
	maxWait   = 30 * time.Second // between two tries; who is told to wait longer gets the error
	maxAnswer = 32 << 20
	tryLimit  = time.Minute // for one try, where Config.HTTP does not say
)

// Config says which server to call, and as whom.
type Config struct {
	// URL is the server's public URL, such as https://tidings.example.
	// Required.
	URL string
	// ClientID and ClientSecret are those of a client of the organisation.
	// Required.
	ClientID, ClientSecret string
	// TokenURL is where access tokens are asked for; empty means the server
	// itself.
	TokenURL string
	// HTTP makes the requests; nil means one with a limit of a minute per
	// request. Redirects are never followed, so that no credentials go astray.
	HTTP *http.Client
}

// Client calls the API. Its methods may be called concurrently.
type Client struct {
	api  string
	http *http.Client
	auth *authority
}

// New gives a client, or says what is wrong with cfg. It makes no request.
func New(cfg Config) (*Client, error) {
	var errs []error
	base := strings.TrimRight(cfg.URL, "/")
	if u, err := url.Parse(base); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, errors.New("client: Config.URL must be the server's URL, such as https://tidings.example"))
	}
	if cfg.ClientID == "" {
		errs = append(errs, errors.New("client: Config.ClientID is required"))
	}
	if cfg.ClientSecret == "" {
		errs = append(errs, errors.New("client: Config.ClientSecret is required"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	h := &http.Client{Timeout: tryLimit}
	if cfg.HTTP != nil {
		own := *cfg.HTTP
		h = &own
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	tokenURL := cfg.TokenURL
	if tokenURL == "" {
		tokenURL = base + tokenPath
	}
	return &Client{api: base + apiPath, http: h, auth: newAuthority(h, tokenURL, cfg.ClientID, cfg.ClientSecret)}, nil
}

// Option changes one call.
type Option func(*request)

// IdempotencyKey has a call done once: for 24 hours, the same key and the same
// request again give the first result, and another request with the key is a
// conflict. It is 1 to 255 visible ASCII characters. Without this option a key
// is made for each call, so that it can be repeated where its answer is lost;
// one of your own also covers a restart of your program.
func IdempotencyKey(key string) Option { return func(r *request) { r.key = key } }

// request is one call of the API.
type request struct {
	method, path string // below apiPath
	query        url.Values
	body         any    // nil where there is none
	key          string // the header Idempotency-Key
	after        string // the header Last-Event-ID
	repeatable   bool   // making it twice is as making it once
}

// envelope is around every successful answer.
type envelope[T any] struct {
	Data  T `json:"data"`
	Links struct {
		Next string `json:"next"`
	} `json:"links"`
	Meta struct {
		Page struct {
			HasNext bool `json:"hasNext"`
		} `json:"page"`
	} `json:"meta"`
}

// call makes a request and reads the envelope of its answer.
func call[T any](ctx context.Context, c *Client, r request, options ...Option) (envelope[T], error) {
	for _, o := range options {
		o(&r)
	}
	var out envelope[T]
	text, err := c.do(ctx, r)
	if err != nil || len(text) == 0 {
		return out, err
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return out, fmt.Errorf("reading the answer to %s %s: %w", r.method, r.path, err)
	}
	return out, nil
}

// one makes a request and gives the data of its answer.
func one[T any](ctx context.Context, c *Client, r request, options ...Option) (T, error) {
	answer, err := call[T](ctx, c, r, options...)
	return answer.Data, err
}

// do makes a request, again where that can help and does no harm.
func (c *Client) do(ctx context.Context, r request) ([]byte, error) {
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return nil, fmt.Errorf("writing the body of %s %s: %w", r.method, r.path, err)
		}
	}
	for try := 1; ; try++ {
		answer, err := c.try(ctx, r, body)
		wait, again := whetherAgain(err, r.repeatable, try)
		if !again || ctx.Err() != nil {
			return answer, err
		}
		if pause(ctx, wait) != nil {
			return nil, err
		}
	}
}

// whetherAgain decides whether to try again, and after how long.
func whetherAgain(err error, repeatable bool, try int) (time.Duration, bool) {
	if err == nil || try == maxTries {
		return 0, false
	}
	wait := 250 * time.Millisecond << try // 0.5, 1, 2 s
	wait += rand.N(wait / 2)
	no, answered := errors.AsType[*Error](err)
	if _, unsent := errors.AsType[*tokenError](err); !unsent && !repeatable {
		return 0, false
	}
	switch {
	case !answered:
		_, stranger := errors.AsType[*tls.CertificateVerificationError](err)
		return wait, !stranger && !errors.Is(err, errAnswer)
	case no.Status != http.StatusServiceUnavailable && no.Status != http.StatusTooManyRequests:
		return 0, false
	}
	wait = max(wait, no.RetryAfter)
	return wait, wait <= maxWait
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try makes the request and reads the answer.
func (c *Client) try(ctx context.Context, r request, body []byte) (text []byte, err error) {
	err = c.authorized(ctx, func(token string) error {
		answer, err := c.open(ctx, c.http, r, body, token)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if text, err = readAll(answer.Body, maxAnswer); err != nil {
			return fmt.Errorf("reading the answer to %s %s: %w", r.method, r.path, err)
		}
		return nil
	})
	return text, err
}

// authorized does something with a token, once more with a new one where the
// server does not take the one at hand: it can have been revoked with its key.
func (c *Client) authorized(ctx context.Context, do func(token string) error) error {
	for fresh := false; ; fresh = true {
		token, err := c.auth.token(ctx)
		if err != nil {
			return err
		}
		err = do(token)
		no, ok := errors.AsType[*Error](err)
		if !ok || no.Status != http.StatusUnauthorized || fresh {
			return err
		}
		c.auth.forget(ctx, token)
	}
}

// open sends the request and gives an answer of success, whose body is to be
// closed.
func (c *Client) open(ctx context.Context, with *http.Client, r request, body []byte, token string) (*http.Response, error) {
	h, err := c.request(ctx, r, body, token)
	if err != nil {
		return nil, err
	}
	answer, err := with.Do(h)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	if answer.StatusCode >= 200 && answer.StatusCode <= 299 {
		return answer, nil
	}
	defer answer.Body.Close()
	text, err := readAll(answer.Body, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("reading the answer to %s %s: %w", r.method, r.path, err)
	}
	return nil, readError(answer, text)
}

func (c *Client) request(ctx context.Context, r request, body []byte, token string) (*http.Request, error) {
	target := c.api + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	h, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	h.Header.Set("Authorization", "Bearer "+token)
	h.Header.Set("Accept", "application/json")
	h.Header.Set("User-Agent", userAgent)
	if body != nil {
		h.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		h.Header.Set("Idempotency-Key", r.key)
	}
	if r.after != "" {
		h.Header.Set("Last-Event-ID", r.after)
	}
	return h, nil
}

const userAgent = "Tidings-Go-Client/1"

// errAnswer comes where an answer cannot be used. Asking again does not help.
var errAnswer = errors.New("the answer is too large")

// readAll reads to the end, but no more than limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = errAnswer
	}
	return text, err
}

// path joins parts of a path below apiPath, each escaped.
func path(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteString("/" + url.PathEscape(part))
	}
	return b.String()
}
