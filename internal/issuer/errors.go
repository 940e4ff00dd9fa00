package issuer

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"tidings"
)

// protocolError is what a wallet is told: flat JSON with a code of the
// specification (sections 6.3, 8.3.1 and 11.3; RFC 6749, section 5.2; RFC 6750,
// section 3.1). Descriptions are fixed sentences in the narrow ASCII that the
// specifications allow, so that nothing of a request ever stands in one.
type protocolError struct {
	status      int
	code        string
	description string
	challenge   string        // the WWW-Authenticate header of a 401
	retry       time.Duration // the Retry-After header of a 503
}

func (e *protocolError) Error() string { return e.code + ": " + e.description }

// sayRetry sets Retry-After, in whole seconds (RFC 9110, section 10.2.3).
func (e *protocolError) sayRetry(h http.Header) {
	if e.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.retry.Seconds()))))
	}
}

// refuse is the usual refusal, with status 400.
func refuse(code, description string) *protocolError {
	return &protocolError{status: http.StatusBadRequest, code: code, description: description}
}

// The codes of the credential endpoint (section 8.3.1.2).
const (
	codeInvalidRequest       = "invalid_credential_request"
	codeUnknownConfiguration = "unknown_credential_configuration"
	codeUnknownIdentifier    = "unknown_credential_identifier"
	codeInvalidProof         = "invalid_proof"
	codeInvalidNonce         = "invalid_nonce"
	codeInvalidEncryption    = "invalid_encryption_parameters"
	codeDenied               = "credential_request_denied"
)

var (
	errNotFound = &protocolError{status: http.StatusNotFound, code: "not_found", description: "There is nothing here."}
	errTooLarge = &protocolError{status: http.StatusRequestEntityTooLarge, code: "invalid_request", description: "The body is larger than 64 KiB."}
	errMethod   = &protocolError{status: http.StatusMethodNotAllowed, code: "invalid_request", description: "This method is not allowed here."}

	// A request without any token is told no code (RFC 6750, section 3.1).
	errNoToken = &protocolError{status: http.StatusUnauthorized, code: "invalid_token",
		description: "An access token is required.", challenge: `Bearer`}
	errToken = &protocolError{status: http.StatusUnauthorized, code: "invalid_token",
		description: "The access token is not valid or has expired.", challenge: `Bearer error="invalid_token"`}
)

// refusalOr gives answers[r] where err is the refusal r; a refusal that cannot
// come there, or another error, is returned as it is.
func refusalOr(err error, answers map[tidings.Refusal]*protocolError) error {
	if r, ok := errors.AsType[tidings.Refusal](err); ok {
		if p, ok := answers[r]; ok {
			return p
		}
	}
	return err
}

// told gives what a stranger sees of err, and whether the rest belongs in the
// log.
func told(err error) (p *protocolError, log bool) {
	if p, ok := errors.AsType[*protocolError](err); ok {
		return p, false
	}
	switch tidings.KindOf(err) {
	case tidings.KindUnavailable, tidings.KindLimited:
		retry := time.Second
		if e, ok := errors.AsType[*tidings.Error](err); ok && e.Retry > retry {
			retry = e.Retry
		}
		return &protocolError{status: http.StatusServiceUnavailable, code: "temporarily_unavailable",
			description: "The request was not carried out; please try again.", retry: retry}, true
	case tidings.KindNotFound:
		return errNotFound, false
	}
	return &protocolError{status: http.StatusInternalServerError, code: "server_error",
		description: "Something went wrong here."}, true
}
