package issuer

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"tidings"
)

const maxBody = 64 << 10

// request is one protocol request after the steps that every route shares.
type request struct {
	*http.Request
	org  tidings.Organisation
	body []byte    // the whole body, within its limit
	now  time.Time // one clock reading for the whole request
}

// mediaType gives the media type of the body without its parameters.
func (r *request) mediaType() string {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t
}

// answer is what a protocol route says when all went well.
type answer struct {
	status int // 0 means 200
	body   any // JSON; nil for none
}

type handler func(ctx context.Context, r *request) (answer, error)

// Handler serves all routes of the protocol, the well-known documents and the
// invitation page. Paths are those below the public URL.
func (s *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	route := func(method, path string, h handler) {
		mux.Handle(method+" "+path, s.serve(h))
		mux.Handle(path, preflight(method)) // every other method
	}
	// Section 12.2.2 inserts the well-known part between host and path; many
	// wallets append it after the path.
	wellKnown := func(name string, h handler) {
		route("GET", "/.well-known/"+name+"/o/{organisation}", h)
		route("GET", "/o/{organisation}/.well-known/"+name, h)
	}
	route("GET", "/o/{organisation}/offers/{token}", s.offer)              // section 4.1.3
	route("POST", "/o/{organisation}/token", s.token)                      // section 6
	route("POST", "/o/{organisation}/nonce", s.nonce)                      // section 7
	route("POST", "/o/{organisation}/credential", s.credential)            // section 8
	route("POST", "/o/{organisation}/deferred_credential", s.deferred)     // section 9
	route("POST", "/o/{organisation}/notification", s.notification)        // section 11
	wellKnown("openid-credential-issuer", s.issuerMetadata)                // section 12.2
	wellKnown("oauth-authorization-server", s.authorizationServerMetadata) // section 12.3
	wellKnown("jwt-vc-issuer", s.vcIssuerMetadata)                         // SD-JWT VC, section 4
	route("GET", "/o/{organisation}/jwks", s.jwks)
	route("GET", "/o/{organisation}/vct/{code}", s.typeMetadata)        // SD-JWT VC, section 5
	mux.HandleFunc("GET /o/{organisation}/status/{list}", s.statusList) // Token Status List, section 8
	mux.HandleFunc("GET /o/{organisation}/ca.pem", s.anchor)
	mux.HandleFunc("GET /invitation", s.invitation)
	return mux
}

// serve is the one adapter of the protocol's routes: headers, organisation,
// limit, handler, answer. No route can forget a step.
func (s *Issuer) serve(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		openToBrowsers(w.Header())
		r := &request{Request: hr, now: s.cfg.Now()}
		a, err := s.handle(w, r, h)
		if err != nil {
			s.refused(w, r, err)
			return
		}
		status := a.status
		if status == 0 {
			status = http.StatusOK
		}
		if err := writeJSON(w, status, a.body); err != nil {
			s.cfg.Log.ErrorContext(r.Context(), "answer not written", "route", r.Pattern, "organisation", r.org.Slug, "error", err)
		}
	})
}

func (s *Issuer) handle(w http.ResponseWriter, r *request, h handler) (answer, error) {
	var err error
	if r.org, err = s.organisation(r.Context(), r.PathValue("organisation")); err != nil {
		return answer{}, err
	}
	if r.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return answer{}, errTooLarge
		}
		return answer{}, refuse("invalid_request", "The body could not be read.")
	}
	return h(r.Context(), r)
}

// organisation finds an organisation. What was found is kept: an organisation
// never changes.
func (s *Issuer) organisation(ctx context.Context, slug string) (tidings.Organisation, error) {
	if tidings.CheckSlug(slug) != nil {
		return tidings.Organisation{}, errNotFound
	}
	if org, ok := s.organisations.Load(slug); ok {
		return org.(tidings.Organisation), nil
	}
	org, err := s.store.OrganisationBySlug(ctx, slug)
	if err == nil {
		s.organisations.Store(slug, org)
	}
	return org, err
}

// refused answers with an error, and logs what only we may know of it.
func (s *Issuer) refused(w http.ResponseWriter, r *request, err error) {
	p, log := told(err)
	ids := []any{"route", r.Pattern, "organisation", r.org.Slug, "code", p.code}
	switch {
	case log && r.Context().Err() == nil:
		s.cfg.Log.ErrorContext(r.Context(), "wallet's request failed", append(ids, "error", err)...)
	case !log:
		s.cfg.Log.DebugContext(r.Context(), "wallet's request refused", append(ids, "reason", p.description)...)
	}
	writeProblem(w, p)
}

func writeProblem(w http.ResponseWriter, p *protocolError) {
	if p.challenge != "" {
		w.Header().Set("WWW-Authenticate", p.challenge)
	}
	p.sayRetry(w.Header())
	_ = writeJSON(w, p.status, struct { // two plain strings: cannot fail
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{p.code, p.description})
}

// writeJSON encodes before it writes, so that a failure can still be a 500. A
// reader that went away is no error of ours.
func writeJSON(w http.ResponseWriter, status int, body any) error {
	if body == nil {
		w.WriteHeader(status)
		return nil
	}
	text, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(text)
	return nil
}

// openToBrowsers lets wallets that run in a browser read the answer. No cookie
// is ever looked at, so any origin may. Nothing is kept by caches: the answers
// are secret, or have to be true at the moment.
func openToBrowsers(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// preflight answers OPTIONS (Fetch standard, CORS-preflight request) and tells
// every other method that only method is allowed.
func preflight(method string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		openToBrowsers(w.Header())
		w.Header().Set("Allow", method+", OPTIONS")
		if r.Method != http.MethodOptions {
			writeProblem(w, errMethod)
			return
		}
		w.Header().Set("Access-Control-Allow-Methods", method)
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept, Accept-Language, DPoP")
		w.Header().Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	})
}
