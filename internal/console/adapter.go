package console

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tidings"
)

// route is one line of the table.
type route struct {
	method  string
	pattern string        // below [Prefix], as [http.ServeMux] writes it
	scope   tidings.Scope // what the caller must have; admin has all
	open    bool          // for those who are not signed in, too
	do      func(ctx context.Context, r *request) (answer, error)
}

// request is what the adapter knows of a request.
type request struct {
	tidings.Caller
	session session
	id      string     // names the request in the log
	query   url.Values // of the address
	form    url.Values // of a POST: its body
	http    *http.Request
	w       http.ResponseWriter // for streams
}

// org is the key of the caller's organisation.
func (r *request) org() int64 { return r.Organisation.Key }

// path gives a part of the path, such as {id}.
func (r *request) path(name string) string { return r.http.PathValue(name) }

// origin says who makes a change.
func (r *request) origin() tidings.Origin { return tidings.Origin{By: r.ClientID} }

// can tells whether the caller has a scope.
func (r *request) can(s tidings.Scope) bool {
	return r.Scopes.Has(s) || r.Scopes.Has(tidings.ScopeAdmin)
}

// answer is what a handler gives: a page, or a place to go to.
type answer struct {
	page     string // its template
	title    string
	section  string // of the navigation
	status   int    // 0 means 200
	body     any
	redirect string
	cookies  []*http.Cookie
	streamed bool // the answer has been written already
}

// maxForm bounds a form.
const maxForm = 256 << 10

// policy lets the pages load nothing but the console's own files, and be shown
// in no other page.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// handler serves one route: work, then one answer, then one log line.
func (c *Console) handler(route route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		start := c.cfg.Now()
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-store")
		r := &request{id: newRequestID(), query: hr.URL.Query(), http: hr, w: w}
		a, err := c.work(route, r)
		if err != nil {
			a = c.failed(r, err)
		}
		status := c.respond(w, r, a)
		c.finish(route, r, status, start, err)
	})
}

// work takes the steps of every request in order. A panic becomes an error:
// nothing has been written yet.
func (c *Console) work(route route, r *request) (a answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	ctx := r.http.Context()
	if !fit(url.Values{"path": {r.http.URL.Path}}) || !fit(r.query) {
		return a, &tidings.Error{Kind: tidings.KindNotFound, Message: "There is no such page."}
	}
	caller, s, signedIn, err := c.signedIn(ctx, r.http)
	if err != nil {
		return a, fmt.Errorf("reading the session: %w", err)
	}
	var cookie *http.Cookie
	if signedIn {
		r.Caller, r.session = caller, s
	} else {
		if !route.open {
			return c.toSignIn(r), nil
		}
		r.session, cookie = c.formSession(r.http)
	}
	if r.http.Method == http.MethodPost {
		if err := c.readForm(r); err != nil {
			return a, err
		}
	}
	if !route.open && !r.can(route.scope) {
		return a, &tidings.Error{Kind: tidings.KindForbidden,
			Message: "This needs the scope " + string(route.scope) + ", which the client " + r.ClientID + " does not have. Sign in with another client, or make one: tidings client create --scope " + string(route.scope) + "."}
	}
	a, err = route.do(ctx, r)
	if cookie != nil {
		a.cookies = append([]*http.Cookie{cookie}, a.cookies...)
	}
	return a, err
}

// toSignIn answers who is not signed in. Somebody who follows a link of another
// site comes without the cookie, which is SameSite=Strict: the page comes once
// more by itself, from here, and then with it.
func (c *Console) toSignIn(r *request) answer {
	if r.http.Method != http.MethodGet {
		return answer{redirect: Prefix + "/sign-in"}
	}
	here := next(r.http.URL.RequestURI())
	if r.http.Header.Get("Sec-Fetch-Site") == "cross-site" {
		r.w.Header().Set("Refresh", "0;url="+here)
		return answer{page: "bounce", title: "One moment", body: here}
	}
	to := Prefix + "/sign-in"
	if here != Prefix {
		to += "?" + url.Values{"next": {here}}.Encode()
	}
	return answer{redirect: to}
}

// readForm reads the body of a POST. It must come from a page of ours, and
// carry the session's token.
func (c *Console) readForm(r *request) error {
	if err := c.origins.Check(r.http); err != nil {
		return &tidings.Error{Kind: tidings.KindForbidden, Message: "This form was sent from another site.", Err: err}
	}
	r.http.Body = http.MaxBytesReader(nil, r.http.Body, maxForm)
	if err := r.http.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return &tidings.Error{Kind: tidings.KindTooLarge, Message: "The form is too large."}
		}
		return &tidings.Error{Kind: tidings.KindInvalid, Message: "The form could not be read.", Err: err}
	}
	r.form = r.http.PostForm
	if !fit(r.form) {
		return &tidings.Error{Kind: tidings.KindInvalid, Message: "The form holds U+0000, or what is no UTF-8. Neither is accepted."}
	}
	if subtle.ConstantTimeCompare([]byte(r.form.Get("csrf")), []byte(c.csrf(r.session))) != 1 {
		return &tidings.Error{Kind: tidings.KindForbidden, Message: "This form is too old, or belongs to another session: go back, load the page again and send it once more."}
	}
	return nil
}

// fit tells whether both databases can hold the values: PostgreSQL has no U+0000,
// and nothing but valid UTF-8.
func fit(values url.Values) bool {
	for _, texts := range values {
		for _, text := range texts {
			if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				return false
			}
		}
	}
	return true
}

// problem is what an error page shows.
type problem struct {
	Sentence string
	Request  string // its name in the server's log, where the error stands only there
}

// statuses are the HTTP statuses of the kinds of errors.
var statuses = map[tidings.Kind]int{
	tidings.KindInvalid: http.StatusBadRequest, tidings.KindUnauthorized: http.StatusUnauthorized, tidings.KindForbidden: http.StatusForbidden,
	tidings.KindNotFound: http.StatusNotFound, tidings.KindConflict: http.StatusConflict, tidings.KindTooLarge: http.StatusRequestEntityTooLarge,
	tidings.KindLimited: http.StatusTooManyRequests, tidings.KindUnavailable: http.StatusServiceUnavailable,
	tidings.KindInternal: http.StatusInternalServerError,
}

// failed gives the page of an error. A stranger sees its sentence only.
func (c *Console) failed(r *request, err error) answer {
	a := answer{page: "problem", title: "That did not work", status: statuses[tidings.KindOf(err)]}
	p := problem{Sentence: sentence(err)}
	if a.status == http.StatusNotFound {
		a.title = "Not found"
	}
	if a.status >= 500 {
		p.Request = r.id
	}
	if e, ok := errors.AsType[*tidings.Error](err); ok && e.Retry > 0 {
		r.w.Header().Set("Retry-After", strconv.Itoa(int((e.Retry+time.Second-1)/time.Second)))
	}
	a.body = p
	return a
}

// sentence is what a person may read of an error.
func sentence(err error) string {
	if e, ok := errors.AsType[*tidings.Error](err); ok && e.Kind != tidings.KindInternal {
		return e.Message
	}
	return "Something went wrong here. It stands in the server's log."
}

func (c *Console) unknown(context.Context, *request) (answer, error) {
	return answer{}, &tidings.Error{Kind: tidings.KindNotFound, Message: "There is no such page."}
}

// respond writes the answer, and tells its status.
func (c *Console) respond(w http.ResponseWriter, r *request, a answer) int {
	if a.streamed {
		return http.StatusOK
	}
	for _, cookie := range a.cookies {
		http.SetCookie(w, cookie)
	}
	if a.redirect != "" {
		w.Header().Set("Location", a.redirect)
		w.WriteHeader(http.StatusSeeOther)
		return http.StatusSeeOther
	}
	var out bytes.Buffer
	if err := c.render(&out, r, a); err != nil {
		c.cfg.Log.ErrorContext(r.http.Context(), "rendering a page", "page", a.page, "request", r.id, "error", err)
		http.Error(w, "This page could not be shown. It stands in the server's log: "+r.id, http.StatusInternalServerError)
		return http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	status := cmp.Or(a.status, http.StatusOK)
	w.WriteHeader(status)
	w.Write(out.Bytes())
	return status
}

// finish writes the request's log line. It never holds a form or a query.
func (c *Console) finish(route route, r *request, status int, start time.Time, err error) {
	level := slog.LevelInfo
	if status >= 500 {
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("method", route.method), slog.String("route", Prefix+route.pattern), slog.Int("status", status),
		slog.Duration("duration", c.cfg.Now().Sub(start)), slog.String("request", r.id),
	}
	if r.ClientID != "" {
		attrs = append(attrs, slog.String("organisation", r.Organisation.Slug), slog.String("client", r.ClientID))
	}
	if status >= 500 && err != nil {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	c.cfg.Log.LogAttrs(r.http.Context(), level, "request", attrs...)
}

// newRequestID names a request in the log.
func newRequestID() string {
	var raw [12]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}
