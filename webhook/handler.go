package webhook

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// What a Handler does where its fields do not say otherwise.
const (
	DefaultMaxAttempts = 20 // over some eight hours
	DefaultConcurrency = 8
	DefaultTimeout     = time.Minute
)

// The longest that a Handler waits for others.
const (
	bodyTimeout  = 10 * time.Second // for the sender to send the body
	inboxTimeout = 10 * time.Second // for the inbox, per call
)

// Errors of a Handler.
var (
	// ErrPermanent is for Process to wrap where another attempt would end the
	// same way: the event is then parked at once.
	ErrPermanent = errors.New("the event cannot be processed")
	// ErrNotSetUp comes from Run, and as status 500 from ServeHTTP, where a
	// field that has no default is nil.
	ErrNotSetUp = errors.New("the webhook handler is not set up")
)

// Handler receives webhooks. As an [http.Handler] it verifies a request, puts
// the event into the Inbox, and only then answers 204; to a duplicate, too.
// [Handler.Run] processes what the Inbox holds. Both may run in one process or
// in several that share an inbox; what one of them stored and did not process
// before it ended another one, or the next, takes up.
//
// An event is processed at least once: again after an error, and again if the
// program ends after Process has returned and before the Inbox has heard of
// it. So Process does its work in a way that may be repeated, for example with
// Event.ID as a unique key in its transaction.
//
// After an error the event is due again after 1 s, and after each further one
// after twice that time, up to an hour, each up to a fifth shorter or longer.
// After MaxAttempts, or at once where the error wraps [ErrPermanent], it is
// parked in state [Failed]: reported, kept, and not processed again by itself.
// Events of one issuance are processed one at a time in order of arrival, so
// those behind an event wait until it is processed or parked; others do not.
//
// What is refused is answered by a status and one sentence that helps the
// sender's developer: 405 for another method than POST, 413 for a body over
// [Verifier.MaxBody], 400 for headers or a body of another form, 401 for a
// signature that does not match or a timestamp that is off, 503 where the
// Inbox or the public keys are out of reach, so that the sender tries again,
// and 500 where the receiver is set up wrongly.
//
// Set the fields before the first use. A Handler must not be copied
// afterwards.
type Handler struct {
	// Verifier verifies what arrives; it has the endpoint's secrets.
	Verifier *Verifier
	// Inbox keeps what was verified.
	Inbox Inbox
	// Process does the receiver's work with one event. Its context ends after
	// Timeout, and when that of Run ends; an error that it returns after that
	// gives the event back without counting the attempt. A panic is an error.
	// Events with Test set arrive here, too.
	Process func(ctx context.Context, event Event) error
	// Failed, if not nil, is called once an event is parked, with the last
	// error of Process. It is not called again if the program ends meanwhile:
	// the Inbox, not this call, is the record of what failed.
	Failed func(ctx context.Context, event Event, err error)
	// MaxAttempts is how often Process may fail before an event is parked; 0
	// means DefaultMaxAttempts.
	MaxAttempts int
	// Concurrency is how many events Run processes at the same time; 0 means
	// DefaultConcurrency.
	Concurrency int
	// Timeout is how long one call of Process may take; 0 means
	// DefaultTimeout. One that goes on for another minute after it risks that
	// the event is processed twice at the same time.
	Timeout time.Duration
	// Log takes one line per event that is refused, retried, parked or stuck,
	// and on level debug per event that arrives or is processed; nil means
	// slog.Default().
	Log *slog.Logger

	setUp sync.Once
	wake  chan struct{} // holds one token where there may be something to do
}

// ServeHTTP receives one webhook.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "webhooks are sent by POST", http.StatusMethodNotAllowed)
		return
	}
	if h.Verifier == nil || h.Inbox == nil {
		h.log().ErrorContext(r.Context(), "webhook refused", "error", ErrNotSetUp)
		http.Error(w, ErrNotSetUp.Error(), http.StatusInternalServerError)
		return
	}
	// A sender that trickles must not hold the connection. The error says that
	// this writer has no deadline to set; then the server's own limits hold.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	event, err := h.Verifier.VerifyRequest(r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), inboxTimeout)
	defer cancel()
	fresh, err := h.Inbox.Put(ctx, event)
	if err != nil {
		h.log().ErrorContext(ctx, "webhook not stored", "event", event.ID, "error", err)
		http.Error(w, "the event could not be stored: send it again", http.StatusServiceUnavailable)
		return
	}
	h.log().DebugContext(ctx, "webhook stored", "event", event.ID, "type", event.Type,
		"issuance", event.IssuanceID, "duplicate", !fresh, "test", event.Test)
	if fresh {
		h.rouse()
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, text := refusal(err)
	h.log().WarnContext(r.Context(), "webhook refused", "status", status, "remote", r.RemoteAddr, "error", err)
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "StandardWebhooks")
	}
	http.Error(w, text, status)
}

// refusal tells what a sender hears of an error of VerifyRequest. The texts of
// this package's errors hold nothing but what the sender sent.
func refusal(err error) (status int, text string) {
	var limit *http.MaxBytesError // of a middleware
	switch {
	case errors.Is(err, ErrBodyTooLarge):
		return http.StatusRequestEntityTooLarge, err.Error()
	case errors.As(err, &limit):
		return http.StatusRequestEntityTooLarge, ErrBodyTooLarge.Error()
	case errors.Is(err, ErrMissingHeader), errors.Is(err, ErrMalformedHeader), errors.Is(err, ErrBody):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, ErrTooOld), errors.Is(err, ErrTooNew), errors.Is(err, ErrNoMatch):
		return http.StatusUnauthorized, err.Error()
	case errors.Is(err, ErrKeySet): // the cause is for the log
		return http.StatusServiceUnavailable, ErrKeySet.Error() + ": send it again"
	case errors.Is(err, ErrNoSecret), errors.Is(err, ErrBodyRead):
		return http.StatusInternalServerError, err.Error()
	}
	return http.StatusBadRequest, "the request's body could not be read to its end"
}

func (h *Handler) log() *slog.Logger {
	if h.Log != nil {
		return h.Log
	}
	return slog.Default()
}

// woken gives the channel that rouse sends on.
func (h *Handler) woken() chan struct{} {
	h.setUp.Do(func() { h.wake = make(chan struct{}, 1) })
	return h.wake
}

// rouse lets Run look into the inbox.
func (h *Handler) rouse() {
	select {
	case h.woken() <- struct{}{}:
	default: // it will look anyway
	}
}
