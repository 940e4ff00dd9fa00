package tidings

import (
	"errors"
	"fmt"
	"time"
)

// Kind is the closed set of what can go wrong. Adapters map it to a status
// (HTTP) or an exit code (command line); nothing else of an error reaches a
// stranger but its sentence.
type Kind string

// The kinds. An error without a kind is [KindInternal].
const (
	KindInvalid      Kind = "invalid"      // the request is malformed or breaks a rule
	KindUnauthorized Kind = "unauthorized" // no valid credentials
	KindForbidden    Kind = "forbidden"    // valid credentials, scope missing
	KindNotFound     Kind = "not_found"    // no such object in this organisation
	KindConflict     Kind = "conflict"     // exists already, or was used otherwise before
	KindTooLarge     Kind = "too_large"    // a body over its limit
	KindLimited      Kind = "limited"      // a quota of the organisation is used up
	KindUnavailable  Kind = "unavailable"  // overload or storage trouble; try again
	KindInternal     Kind = "internal"     // ours; details stand in the log only
)

// Error is an error that a stranger may see.
type Error struct {
	Kind      Kind
	Message   string        // one sentence, for a developer
	Pointer   string        // JSON pointer (RFC 6901) to the member of the body at fault, if one is
	Parameter string        // the query parameter at fault, if one is
	Retry     time.Duration // with KindUnavailable and KindLimited: when to try again
	Err       error         // the cause, for the log; may be nil
}

// Error gives the sentence and, for the log, the cause.
func (e *Error) Error() string {
	at := ""
	if e.Pointer != "" {
		at = " (at " + e.Pointer + ")"
	} else if e.Parameter != "" {
		at = " (parameter " + e.Parameter + ")"
	}
	if e.Err != nil {
		return fmt.Sprintf("%s%s: %v", e.Message, at, e.Err)
	}
	return e.Message + at
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf gives the kind of err: that of the first [Error] in its chain, else
// [KindInternal].
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}

// Invalid says what is wrong with the member of the body at pointer.
func Invalid(pointer, format string, args ...any) *Error {
	return &Error{Kind: KindInvalid, Pointer: pointer, Message: fmt.Sprintf(format, args...)}
}

// InvalidParameter says what is wrong with a query parameter.
func InvalidParameter(name, format string, args ...any) *Error {
	return &Error{Kind: KindInvalid, Parameter: name, Message: fmt.Sprintf(format, args...)}
}

// NotFound says that the organisation has no object of this sort and id.
// Another organisation's object gives the same answer.
func NotFound(sort, id string) *Error {
	return &Error{Kind: KindNotFound, Message: fmt.Sprintf("There is no %s %q.", sort, id)}
}

// Conflict says what stands in the way.
func Conflict(format string, args ...any) *Error {
	return &Error{Kind: KindConflict, Message: fmt.Sprintf(format, args...)}
}

// Unavailable says that the request was not carried out and may be repeated
// after retry.
func Unavailable(retry time.Duration, cause error, format string, args ...any) *Error {
	return &Error{Kind: KindUnavailable, Message: fmt.Sprintf(format, args...), Retry: retry, Err: cause}
}
