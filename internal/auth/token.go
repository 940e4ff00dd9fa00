package auth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"

	"github.com/go-jose/go-jose/v4/jwt"
)

// maxForm bounds the body of a token request.
const maxForm = 16 << 10

// tokenAnswer is a successful answer (RFC 6749, section 5.1), with the further
// members that clients of the documented API find there.
type tokenAnswer struct {
	AccessToken      string `json:"access_token"`
	ExpiresIn        int    `json:"expires_in"`
	RefreshExpiresIn int    `json:"refresh_expires_in"` // 0: there is no refresh token
	TokenType        string `json:"token_type"`
	NotBeforePolicy  int    `json:"not-before-policy"`
	Scope            string `json:"scope"`
}

// refusal is an error answer (RFC 6749, section 5.2).
type refusal struct {
	status      int
	code        string
	description string
	retry       bool  // try again in a second
	cause       error // for the log
}

// Token answers POST [TokenPath]: the client credentials grant (RFC 6749,
// section 4.4).
func (s *Service) Token(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store") // RFC 6749, section 5.1
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	client, answer, no := s.token(w, r)
	if no != nil {
		s.refuse(w, r, no)
		return
	}
	s.log.LogAttrs(r.Context(), slog.LevelInfo, "token given out",
		slog.String("client", client.ID), slog.String("organisation", client.Organisation.Slug),
		slog.String("scope", answer.Scope))
	writeJSON(w, http.StatusOK, answer)
}

func (s *Service) refuse(w http.ResponseWriter, r *http.Request, no *refusal) {
	level := slog.LevelInfo
	attrs := []slog.Attr{slog.Int("status", no.status), slog.String("error", no.code)}
	if no.cause != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.String("cause", no.cause.Error()))
	}
	s.log.LogAttrs(r.Context(), level, "token refused", attrs...)
	switch {
	case no.status == http.StatusUnauthorized:
		// RFC 6749, section 5.2 asks for it where Basic was used, RFC 9110,
		// section 15.5.2 for every 401.
		w.Header().Set("WWW-Authenticate", `Basic realm="product-hub", charset="UTF-8"`)
	case no.status == http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case no.retry:
		w.Header().Set("Retry-After", "1")
	}
	writeOAuthError(w, no.status, no.code, no.description)
}

// token takes the five steps that no request can skip: read the form, look at
// the grant, authenticate the client, settle the scope, sign.
func (s *Service) token(w http.ResponseWriter, r *http.Request) (tidings.Client, tokenAnswer, *refusal) {
	var client tidings.Client
	form, no := readForm(w, r)
	if no != nil {
		return client, tokenAnswer{}, no
	}
	switch grant := form.Get("grant_type"); {
	case grant == "":
		return client, tokenAnswer{}, invalidRequest("grant_type is required: client_credentials.")
	case grant != "client_credentials":
		return client, tokenAnswer{}, &refusal{status: http.StatusBadRequest, code: "unsupported_grant_type",
			description: "The only grant_type here is client_credentials."}
	}
	id, secret, no := credentials(r, form)
	if no != nil {
		return client, tokenAnswer{}, no
	}
	client, no = s.authenticate(r.Context(), id, secret)
	if no != nil {
		return client, tokenAnswer{}, no
	}
	scopes, no := grantedScopes(client.Scopes, form.Get("scope"))
	if no != nil {
		return client, tokenAnswer{}, no
	}
	answer, err := s.sign(client, scopes)
	if err != nil {
		return client, tokenAnswer{}, &refusal{status: http.StatusInternalServerError, code: "server_error",
			description: "The server failed.", cause: err}
	}
	return client, answer, nil
}

// readForm reads the parameters of the body. None may be there twice (RFC
// 6749, section 3.2), and those of the URL do not count (section 2.3.1).
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, *refusal) {
	if r.Method != http.MethodPost {
		return nil, &refusal{status: http.StatusMethodNotAllowed, code: "invalid_request",
			description: "A token is asked for with POST."}
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, invalidRequest("The content type must be application/x-www-form-urlencoded.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return nil, &refusal{status: http.StatusRequestEntityTooLarge, code: "invalid_request",
			description: "The body is over 16 KiB."}
	}
	if err != nil {
		return nil, invalidRequest("The body could not be read to its end.")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, invalidRequest("The body is not a well-formed form.")
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, invalidRequest("A parameter is there more than once: " + printable(name) + ".")
		}
	}
	return form, nil
}

// credentials reads client_id and client_secret from the Authorization header
// or from the form, but not from both (RFC 6749, section 2.3).
func credentials(r *http.Request, form url.Values) (id, secret string, no *refusal) {
	if len(r.Header.Values("Authorization")) == 0 {
		id, secret = form.Get("client_id"), form.Get("client_secret")
		if id == "" || secret == "" {
			return "", "", invalidClient("client_id and client_secret are required, in the form or by HTTP Basic.")
		}
		return id, secret, nil
	}
	user, password, ok := r.BasicAuth()
	if !ok {
		return "", "", invalidClient("The Authorization header does not hold HTTP Basic credentials.")
	}
	// Both parts are form-urlencoded before they are joined (section 2.3.1).
	id, err1 := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	switch {
	case err1 != nil || err2 != nil:
		return "", "", invalidClient("The HTTP Basic credentials are not form-urlencoded (RFC 6749, section 2.3.1).")
	case form.Has("client_secret"), form.Has("client_id") && form.Get("client_id") != id:
		return "", "", invalidRequest("The client authenticates twice: by HTTP Basic and in the form.")
	case id == "" || secret == "":
		return "", "", invalidClient("client_id and client_secret are required, in the form or by HTTP Basic.")
	}
	return id, secret, nil
}

// authenticate gives the client that the credentials belong to. Whether the
// client is unknown, revoked or the secret wrong cannot be told from the
// answer, and hardly from the time it takes: the row is looked up and a hash
// compared in each case.
func (s *Service) authenticate(ctx context.Context, id, secret string) (tidings.Client, *refusal) {
	client, err := s.client(ctx, id)
	if err != nil && tidings.KindOf(err) != tidings.KindNotFound {
		return tidings.Client{}, &refusal{status: http.StatusServiceUnavailable, code: "temporarily_unavailable",
			description: "The clients cannot be read at the moment; try again.", retry: true, cause: err}
	}
	known := err == nil && client.RevokedAt == nil
	if same := client.HasSecret(secret); !known || !same {
		return tidings.Client{}, invalidClient("There is no such client, or the secret is wrong.")
	}
	return client, nil
}

// client looks the client up. An id that none can have is not given to the
// store, which may not be able to hold such text.
func (s *Service) client(ctx context.Context, id string) (tidings.Client, error) {
	if len(id) > 255 || printable(id) != id {
		return tidings.Client{}, tidings.NotFound("client", "")
	}
	return s.store.Client(ctx, id)
}

// ignoredScopes are asked for by clients of OpenID Connect servers out of
// habit. They mean nothing here, and RFC 6749, section 3.3 lets us ignore them.
var ignoredScopes = []string{"openid", "profile", "email", "offline_access"}

// grantedScopes narrows what the client may do to what it asks for.
func grantedScopes(have tidings.Scopes, asked string) (tidings.Scopes, *refusal) {
	var granted tidings.Scopes
	for _, name := range strings.Fields(asked) {
		scope := tidings.Scope(name)
		switch {
		case slices.Contains(ignoredScopes, name), granted.Has(scope):
		case !tidings.AllScopes.Has(scope):
			return nil, &refusal{status: http.StatusBadRequest, code: "invalid_scope",
				description: "The scopes are " + tidings.AllScopes.String() + "."}
		case !allows(have, scope):
			return nil, &refusal{status: http.StatusBadRequest, code: "invalid_scope",
				description: "This client may only have: " + have.String() + "."}
		default:
			granted = append(granted, scope)
		}
	}
	if len(granted) == 0 {
		return have, nil
	}
	return granted, nil
}

func (s *Service) sign(client tidings.Client, scopes tidings.Scopes) (tokenAnswer, error) {
	now := s.now()
	// A token counts whole seconds. Rounded up, it lives no shorter than
	// expires_in promises.
	expires := now.Add(s.life + time.Second - 1).Truncate(time.Second)
	id := make([]byte, 16)
	rand.Read(id)
	token, err := jwt.Signed(s.signer).Claims(claims{
		Issuer:       s.issuer,
		Subject:      client.ID, // RFC 9068, section 2.2: the client itself, as there is no user
		Authorized:   client.ID,
		ClientID:     client.ID,
		Audience:     jwt.Audience{s.audience},
		IssuedAt:     jwt.NewNumericDate(now),
		Expires:      jwt.NewNumericDate(expires),
		ID:           base64.RawURLEncoding.EncodeToString(id),
		Scope:        scopes.String(),
		Organisation: client.Organisation.Slug,
	}).Serialize()
	return tokenAnswer{
		AccessToken: token,
		ExpiresIn:   int(s.life / time.Second),
		TokenType:   "Bearer",
		Scope:       scopes.String(),
	}, err
}

func invalidRequest(description string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: "invalid_request", description: description}
}

func invalidClient(description string) *refusal {
	return &refusal{status: http.StatusUnauthorized, code: "invalid_client", description: description}
}

// writeOAuthError writes a flat error (RFC 6749, section 5.2).
func writeOAuthError(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // the types above have nothing that cannot be written
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// printable drops what error_description may not hold (RFC 6749, section 5.2)
// and what no id of ours has.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x21 || r > 0x7e || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, text)
}
