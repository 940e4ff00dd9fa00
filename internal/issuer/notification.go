package issuer

import (
	"context"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"

	"tidings"
)

const (
	codeInvalidNotification   = "invalid_notification_request"
	codeInvalidNotificationID = "invalid_notification_id"
	maxEventDescription       = 1000
)

var errNotificationID = refuse(codeInvalidNotificationID, "The notification_id is not one of this issuance.")

// notificationID names a delivered credential. It is the same each time the
// credential is delivered, so that a wallet that lost an answer can still report.
func (s *Issuer) notificationID(org tidings.Organisation, issuance, credential string) string {
	return s.mac.seal(forNotification, []byte(credential), org.Slug, issuance)
}

// notification takes a wallet's report (section 11). Reports that come twice,
// late or in contradiction are all answered 204: what they change is for the
// life cycle to say.
func (s *Issuer) notification(ctx context.Context, r *request) (answer, error) {
	// 1. The access token.
	a, err := s.authorize(r)
	if err != nil {
		return answer{}, err
	}

	// 2. The request (section 11.1).
	var req struct {
		ID          string                    `json:"notification_id"`
		Event       tidings.NotificationEvent `json:"event"`
		Description string                    `json:"event_description"`
	}
	if r.mediaType() != "application/json" {
		return answer{}, refuse(codeInvalidNotification, "The content type must be application/json.")
	}
	if json.Unmarshal(r.body, &req) != nil || req.ID == "" {
		return answer{}, refuse(codeInvalidNotification, "The body is not a notification request.")
	}
	switch req.Event {
	case tidings.NotifyAccepted, tidings.NotifyFailure, tidings.NotifyDeleted:
	default:
		return answer{}, refuse(codeInvalidNotification, "The event must be credential_accepted, credential_failure or credential_deleted.")
	}

	// 3. The credential, which must be one of this token's issuance.
	credential, ok := s.mac.open(forNotification, req.ID, r.org.Slug, a.issuance)
	if !ok {
		return answer{}, errNotificationID
	}

	// 4. The life cycle.
	_, err = s.store.Transition(ctx, r.org.Key, a.issuance, tidings.Notify{
		CredentialID: string(credential), Event: req.Event, Description: printable(req.Description),
	})
	if err != nil {
		return answer{}, refusedAccess(refusalOr(err, map[tidings.Refusal]*protocolError{
			tidings.RefusedUnknown: errNotificationID,
			tidings.RefusedEnded:   errNotificationID,
		}))
	}
	s.cfg.Log.InfoContext(ctx, "wallet notified", "organisation", r.org.Slug, "issuance", a.issuance, "event", req.Event)
	return answer{status: http.StatusNoContent}, nil
}

// printable keeps the characters that event_description may have. A report in a
// wallet's own language is worth more than its words, so it is not refused.
func printable(text string) string {
	text = strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return -1
		}
		return c
	}, text)
	return text[:min(len(text), maxEventDescription)]
}
