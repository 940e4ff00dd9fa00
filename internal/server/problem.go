package server

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// Problems is the body of every refusal.
type Problems struct {
	Errors []Problem `json:"errors"`
}

// Problem is one thing that is wrong.
type Problem struct {
	ID     string  `json:"id"` // of this occurrence; the log has it too
	Status string  `json:"status"`
	Code   string  `json:"code"`
	Title  string  `json:"title"`
	Detail string  `json:"detail"`
	Source *Source `json:"source,omitzero"`
}

// Source says where in the request it is wrong.
type Source struct {
	Pointer   string `json:"pointer,omitempty"`   // RFC 6901, into the body
	Parameter string `json:"parameter,omitempty"` // of the query
}

// sort is what a status, a code and a title say together.
type sort struct {
	status      int
	code, title string
}

var (
	sorts = map[tidings.Kind]sort{
		tidings.KindInvalid:      {http.StatusBadRequest, "VALIDATION_ERROR", "The request is invalid"},
		tidings.KindUnauthorized: {http.StatusUnauthorized, "UNAUTHORIZED", "A valid access token is required"},
		tidings.KindForbidden:    {http.StatusForbidden, "FORBIDDEN", "The access token does not allow this"},
		tidings.KindNotFound:     {http.StatusNotFound, "NOT_FOUND", "Not found"},
		tidings.KindConflict:     {http.StatusConflict, "CONFLICT", "The request conflicts with what is there"},
		tidings.KindTooLarge:     {http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE", "The body is too large"},
		tidings.KindLimited:      {http.StatusTooManyRequests, "RATE_LIMITED", "A limit of the organisation is reached"},
		tidings.KindUnavailable:  {http.StatusServiceUnavailable, "UNAVAILABLE", "Temporarily unavailable"},
	}
	internal    = sort{http.StatusInternalServerError, "INTERNAL", "The server failed"}
	wrongMethod = sort{http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "The route has no such method"}
	wrongMedia  = sort{http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", "The body has the wrong type"}
)

// refusal is an error that only HTTP knows, or that needs a header.
type refusal struct {
	sort
	detail        string
	header, value string
}

func (r *refusal) Error() string { return r.detail }

func methodNotAllowed(allow string) error {
	return &refusal{wrongMethod, "This route takes: " + allow + ".", "Allow", allow}
}

func unsupportedMediaType(detail string) error {
	return &refusal{wrongMedia, detail, "Accept-Post", "application/json"}
}

// realm begins every challenge (RFC 6750, section 3).
const realm = `Bearer realm="me-creds"`

// errNoToken has no error code in its challenge: a request without any
// credentials gets none (RFC 6750, section 3.1).
var errNoToken = &refusal{sorts[tidings.KindUnauthorized],
	"An access token is required: send the header \"Authorization: Bearer <access_token>\".", "Www-Authenticate", realm}

func insufficientScope(need tidings.Scope) error {
	return &refusal{sorts[tidings.KindForbidden],
		"The access token lacks the scope " + string(need) + ".",
		"Www-Authenticate", realm + `, error="insufficient_scope", scope="` + string(need) + `"`}
}

func tooLarge(limit int64) error {
	return &tidings.Error{Kind: tidings.KindTooLarge, Message: "The body is over " + strconv.FormatInt(limit>>10, 10) + " KiB."}
}

// writeProblems writes err as a stranger may see it and gives the status.
func writeProblems(h http.Header, out *bytes.Buffer, id string, err error) int {
	var found []*refusal
	var sources []*Source
	ok := eachLeaf(err, func(leaf error) bool {
		r, source := describe(leaf)
		if r == nil {
			return false
		}
		found, sources = append(found, r), append(sources, source)
		return true
	})
	if !ok || len(found) == 0 { // no detail of ours: the log has it under the same id
		found, sources = []*refusal{{sort: internal, detail: "The server failed; its log tells more under this id."}}, []*Source{nil}
	}
	var body Problems
	for i, r := range found {
		p := Problem{ID: id, Status: strconv.Itoa(r.status), Code: r.code, Title: r.title, Detail: r.detail, Source: sources[i]}
		if i > 0 {
			p.ID += "-" + strconv.Itoa(i+1)
		}
		if p.Detail == "" {
			p.Detail = p.Title + "."
		}
		if r.header != "" {
			h[r.header] = []string{r.value}
		}
		body.Errors = append(body.Errors, p)
	}
	if err := encode(out, body); err != nil { // plain strings that are valid UTF-8, see describe
		panic(err)
	}
	return found[0].status
}

// eachLeaf visits the errors that err joins, each down to the first that can
// be described, and stops where visit gives false.
func eachLeaf(err error, visit func(error) bool) bool {
	switch e := err.(type) {
	case *tidings.Error, *refusal:
		return visit(e)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if !eachLeaf(err, visit) {
				return false
			}
		}
		return true
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return eachLeaf(inner, visit)
		}
	}
	return visit(err)
}

// describe says what a stranger sees of err; nil if that is nothing.
func describe(err error) (*refusal, *Source) {
	switch e := err.(type) {
	case *refusal:
		return e, nil
	case *tidings.Error:
		s, ok := sorts[e.Kind]
		if !ok {
			return nil, nil
		}
		r := &refusal{sort: s, detail: valid(e.Message)}
		switch e.Kind {
		case tidings.KindUnauthorized:
			r.header, r.value = "Www-Authenticate", realm+`, error="invalid_token"`
		case tidings.KindUnavailable:
			r.header, r.value = "Retry-After", seconds(max(e.Retry, time.Second))
		case tidings.KindLimited:
			if e.Retry > 0 {
				r.header, r.value = "Retry-After", seconds(e.Retry)
			}
		}
		if e.Pointer == "" && e.Parameter == "" {
			return r, nil
		}
		return r, &Source{Pointer: valid(e.Pointer), Parameter: valid(e.Parameter)}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		// The caller went away or the process ends; nothing is broken.
		return &refusal{sorts[tidings.KindUnavailable], "The request was broken off; try again.", "Retry-After", "1"}, nil
	}
	return nil, nil
}

// movePointer puts a prefix of an error's pointer in place of another: the
// caller's names in place of the store's.
func movePointer(err error, from, to string) error {
	e, ok := errors.AsType[*tidings.Error](err)
	if !ok {
		return err
	}
	rest, ok := strings.CutPrefix(e.Pointer, from)
	if !ok || rest != "" && rest[0] != '/' {
		return err
	}
	moved := *e
	moved.Pointer = to + rest
	return &moved
}

// valid makes text fit for JSON.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// seconds writes a time to wait, rounded up: sooner would be too soon.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
