package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Error is a refusal by the server. It holds the first of the problems that
// the server told, and all of them in Problems.
type Error struct {
	Status    int    // of the HTTP answer
	Code      string // for programs: VALIDATION_ERROR, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, …
	Title     string // what the code means
	Detail    string // what is wrong, for a developer
	Pointer   string // JSON pointer to the member of the body at fault, if one is
	Parameter string // the query parameter at fault, if one is

	RequestID  string        // under which the server's log tells more
	RetryAfter time.Duration // when to try again, 0 where the server does not say
	Problems   []Problem
}

// Problem is one thing that is wrong with a request.
type Problem struct {
	ID, Status, Code, Title, Detail string
	Pointer, Parameter              string
}

// Error gives the status and what is wrong.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "status %d", e.Status)
	if e.Code != "" {
		b.WriteString(" " + e.Code)
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if at := e.Pointer + e.Parameter; at != "" {
		b.WriteString(" (at " + at + ")")
	}
	if more := len(e.Problems) - 1; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	if e.RequestID != "" {
		b.WriteString(" [request " + e.RequestID + "]")
	}
	return b.String()
}

// problem is a [Problem] on the wire.
type problem struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Code   string `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Source struct {
		Pointer   string `json:"pointer"`
		Parameter string `json:"parameter"`
	} `json:"source"`
}

// readError reads a refusal: of the API, of the token route, or of something
// in between that speaks neither way.
func readError(answer *http.Response, text []byte) *Error {
	e := &Error{Status: answer.StatusCode, Title: http.StatusText(answer.StatusCode),
		RequestID: answer.Header.Get("X-Request-Id"), RetryAfter: retryAfter(answer.Header)}
	var body struct {
		Errors      []problem `json:"errors"`
		OAuth       string    `json:"error"` // RFC 6749, section 5.2
		Description string    `json:"error_description"`
	}
	if json.Unmarshal(text, &body) != nil { // not from our server
		e.Detail = e.Title
		return e
	}
	for _, p := range body.Errors {
		e.Problems = append(e.Problems, Problem{p.ID, p.Status, p.Code, p.Title, p.Detail, p.Source.Pointer, p.Source.Parameter})
	}
	if len(e.Problems) > 0 {
		first := e.Problems[0]
		e.Code, e.Title, e.Detail, e.Pointer, e.Parameter = first.Code, first.Title, first.Detail, first.Pointer, first.Parameter
		return e
	}
	e.Code, e.Detail = body.OAuth, body.Description
	if e.Detail == "" {
		e.Detail = e.Title
	}
	return e
}

// retryAfter reads seconds or an HTTP date (RFC 9110, section 10.2.3).
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.ParseInt(text, 10, 32); err == nil && n >= 0 {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
