package console

import (
	"strings"

	"tidings"
)

// reasonWords says why a delivery ended without having been delivered.
func reasonWords(d tidings.Delivery) string {
	switch d.Reason {
	case tidings.ReasonExhausted:
		return "The last retry of the schedule failed. It is not tried again by itself: mend the receiver, then send it again."
	case tidings.ReasonRetention:
		return "It waited for longer than events are kept."
	case tidings.ReasonEndpointDeleted:
		return "Its endpoint was deleted while it waited."
	}
	return strings.ReplaceAll(string(d.Reason), "_", " ")
}
