package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"tidings"
)

// Route is one line of the table. Documents are made from its exported
// members, so they say all that a caller must know.
type Route struct {
	Method  string
	Pattern string        // below [Prefix], as [http.ServeMux] writes it
	Scope   tidings.Scope // what the caller must have; admin has all
	Status  int           // of success
	Summary string

	Request  reflect.Type // of the body; nil where there is none
	Response reflect.Type // of data, or of one item of it in a list; nil where there is none

	List    bool     // the answer is a page of a list
	Filters []Filter // the filter[…] of a list
	Search  bool     // the list takes search[name]
	Sort    string   // the order of the list; "-" = descending
	Sorts   []string // other orders that sort may ask for

	Stream       bool  // the answer is a stream of server-sent events
	OptionalBody bool  // no body is an empty object
	MaxBody      int64 // 0 means [MaxBody]
	Idempotency  bool  // takes the header Idempotency-Key

	// run decodes body, does the work and encodes the answer to out.
	run func(ctx context.Context, c *call, body []byte, out *bytes.Buffer) error
}

// Filter is a query parameter filter[Name].
type Filter struct {
	Name   string
	Values []string // the only ones; nil means any
}

// Limits of a request's body.
const (
	MaxBody      = 64 << 10
	MaxEventBody = 1 << 20
)

// call is what the adapter knows of a request besides its body.
type call struct {
	tidings.Caller
	id    string // the {id} of the path
	query query
	idem  *tidings.Idempotency
	self  string // the path, for links
	sub   string // the {sub} of the path, where there is one
	w     http.ResponseWriter
	r     *http.Request
}

// origin says who asks.
func (c *call) origin() tidings.Origin { return tidings.Origin{By: c.ClientID, Idempotency: c.idem} }

// none stands for no body, asked or answered.
type none struct{}

// one makes a route that answers with one value.
func one[In, Out any](r Route, do func(context.Context, *call, In) (Out, error)) Route {
	r.Request, r.Response = typeOf[In](), typeOf[Out]()
	takes, gives := r.Request != nil, r.Response != nil
	r.run = func(ctx context.Context, c *call, body []byte, out *bytes.Buffer) error {
		var in In
		if takes && !(r.OptionalBody && len(bytes.TrimSpace(body)) == 0) {
			if err := decode(body, &in); err != nil {
				return err
			}
		}
		answer, err := do(ctx, c, in)
		if err != nil || !gives {
			return err
		}
		return encode(out, envelope[Out]{Data: answer})
	}
	return r
}

// many makes a route that answers with a page of a list.
func many[Item item](r Route, do func(context.Context, *call) (page[Item], error)) Route {
	r.Response, r.List = typeOf[Item](), true
	r.run = func(ctx context.Context, c *call, _ []byte, out *bytes.Buffer) error {
		p, err := do(ctx, c)
		if err != nil {
			return err
		}
		return encode(out, envelope[[]Item]{Data: p.items, Links: p.links(c), Meta: p.meta(c)})
	}
	return r
}

func typeOf[T any]() reflect.Type {
	if t := reflect.TypeFor[T](); t != reflect.TypeFor[none]() {
		return t
	}
	return nil
}

// buffers holds bodies and answers between requests.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled is the size over which a buffer is not kept: a rare large body
// must not stay in memory.
const maxPooled = 128 << 10

func release(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		buffers.Put(b)
	}
}

// serve answers one request by a route of the table: work, then one answer,
// then one log line.
func (s *Server) serve(route *Route, w http.ResponseWriter, r *http.Request) {
	start, id := time.Now(), newRequestID()
	out := buffers.Get().(*bytes.Buffer)
	defer release(out)
	w.Header()["X-Request-Id"] = []string{id} // streams begin before their end is known
	c := call{w: w, r: r}
	err := s.work(route, w, r, &c, out)
	status := route.Status
	if err == errStreamed {
		s.finish(r, route.Pattern, status, id, start, &c, nil)
		return
	}
	if err != nil {
		out.Reset()
		status = writeProblems(w.Header(), out, id, err)
	}
	respond(w, status, id, out.Bytes())
	s.finish(r, route.Pattern, status, id, start, &c, err)
}

// refuse gives a handler that answers with err whatever is asked.
func (s *Server) refuse(pattern string, err error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start, id := time.Now(), newRequestID()
		out := buffers.Get().(*bytes.Buffer)
		defer release(out)
		status := writeProblems(w.Header(), out, id, err)
		respond(w, status, id, out.Bytes())
		s.finish(r, pattern, status, id, start, &call{}, err)
	}
}

// unknown answers where no route is.
func (s *Server) unknown(w http.ResponseWriter, r *http.Request) {
	s.refuse("unknown", &tidings.Error{Kind: tidings.KindNotFound, Message: "There is no such route; the API stands below " + Prefix + ", and its description at /docs."})(w, r)
}

// work takes the steps of every request in order. A panic becomes an error:
// nothing has been written yet, so the caller still gets a clean answer.
func (s *Server) work(route *Route, w http.ResponseWriter, r *http.Request, c *call, out *bytes.Buffer) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	ctx := r.Context()
	if c.Caller, err = s.authenticate(r); err != nil {
		return err
	}
	if !c.Scopes.Has(route.Scope) && !c.Scopes.Has(tidings.ScopeAdmin) {
		return insufficientScope(route.Scope)
	}
	leave, err := s.admit(route, c.Organisation.Key)
	if err != nil {
		return err
	}
	defer leave()
	if err := s.quotas.request(c.Organisation.Key, s.cfg.Quota); err != nil {
		return err
	}
	c.id, c.sub = r.PathValue("id"), r.PathValue("sub")
	if c.id != "" && !plausibleID(c.id) || c.sub != "" && !plausibleID(c.sub) {
		return &tidings.Error{Kind: tidings.KindNotFound, Message: "There is nothing with this id."}
	}
	if route.List {
		c.self = r.URL.EscapedPath()
		if c.query, err = parseQuery(route, r.URL.RawQuery); err != nil {
			return err
		}
	}
	body := buffers.Get().(*bytes.Buffer)
	defer release(body)
	if route.Request != nil {
		if err := readBody(route, w, r, body); err != nil {
			return err
		}
	}
	if route.Idempotency {
		if c.idem, err = idempotency(route, c.id, r, body.Bytes()); err != nil {
			return err
		}
	}
	return route.run(ctx, c, body.Bytes(), out)
}

// admit bounds what is worked on at once. Streams, which last, are counted apart
// and by organisation, so that they leave room for requests.
func (s *Server) admit(route *Route, org int64) (leave func(), err error) {
	if route.Stream {
		return s.openStream(org)
	}
	leave = func() { s.inFlight.Add(-1) }
	if s.inFlight.Add(1) > int64(s.cfg.MaxInFlight) {
		leave()
		return nil, tidings.Unavailable(time.Second, nil, "The server has too much to do; try again.")
	}
	return leave, nil
}

// authenticate reads the bearer token (RFC 6750, section 2.1). The other two
// places of that RFC, form and query, end up in logs and are not read.
func (s *Server) authenticate(r *http.Request) (tidings.Caller, error) {
	headers := r.Header["Authorization"]
	if len(headers) == 0 {
		return tidings.Caller{}, errNoToken
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	token = strings.TrimSpace(token)
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return tidings.Caller{}, &tidings.Error{Kind: tidings.KindUnauthorized,
			Message: "The Authorization header must be \"Bearer <access_token>\", once."}
	}
	return s.cfg.Auth.Check(r.Context(), token)
}

// plausibleID tells whether id can be one of ours: no other text reaches the
// store.
func plausibleID(id string) bool {
	if len(id) > 128 {
		return false
	}
	for i := range len(id) {
		b := id[i]
		if (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '_' && b != '-' && b != '.' && b != ':' {
			return false
		}
	}
	return true
}

// finish writes the request's log line and counts it. The line never holds a
// body, a token or a query.
func (s *Server) finish(r *http.Request, pattern string, status int, id string, start time.Time, c *call, err error) {
	took := time.Since(start)
	s.cfg.Observe(methodName(r.Method), pattern, status, took)
	level := slog.LevelInfo
	if status >= 500 {
		level = slog.LevelError
	}
	if !s.cfg.Log.Enabled(r.Context(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 8)
	attrs = append(attrs,
		slog.String("method", methodName(r.Method)),
		slog.String("route", pattern),
		slog.Int("status", status),
		slog.Duration("duration", took),
		slog.String("request", id))
	if c.ClientID != "" {
		attrs = append(attrs,
			slog.String("organisation", c.Organisation.Slug),
			slog.String("client", c.ClientID))
	}
	if status >= 500 && err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	s.cfg.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

// methodName keeps a stranger's invention out of logs and metrics.
func methodName(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "other"
}

// newRequestID names a request in the answer and in the log.
func newRequestID() string {
	var raw [12]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}
