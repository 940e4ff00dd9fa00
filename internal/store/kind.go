package store

import (
	"maps"
	"slices"

	"tidings"
)

// A delivery's kind is its status and its event's type as one small number: a
// hundred for each status, and the type. Lists that are narrowed by either walk
// an index of kinds; those that are not merge all kinds, of which there are few.

// statusKinds are the hundreds. Pending deliveries stand in the queue, the
// others in the history.
var statusKinds = map[tidings.DeliveryStatus]int{
	tidings.DeliveryPending: 0, tidings.DeliveryDelivered: 100, tidings.DeliveryFailed: 200, tidings.DeliveryCanceled: 300,
}

// typeKinds stand in the database: a number is never given to another type.
var typeKinds = map[tidings.EventType]int{
	tidings.IssuanceOffered: 1, tidings.IssuanceCompleted: 2, tidings.IssuancePartiallyIssued: 3, tidings.IssuanceFailed: 4, tidings.IssuanceExpired: 5,
	tidings.VerificationRequested: 6, tidings.VerificationVerified: 7, tidings.VerificationFailed: 8, tidings.VerificationExpired: 9, tidings.VerificationData: 10,
	tidings.EndpointFailing: 11, tidings.EndpointWasDisabled: 12, tidings.EndpointWasEnabled: 13,
	tidings.CredentialWasRevoked: 14, tidings.CredentialWasSuspended: 15, tidings.CredentialWasResumed: 16,
}

// kind gives the number of a delivery.
func kind(status tidings.DeliveryStatus, typ tidings.EventType) int {
	return statusKinds[status] + typeKinds[typ]
}

// endedKinds gives the numbers that a filter lets through of the history; empty
// members of the filter let all through.
func endedKinds(status tidings.DeliveryStatus, typ tidings.EventType) (out []int) {
	statuses, types := []tidings.DeliveryStatus{status}, []tidings.EventType{typ.Canonical()}
	if status == "" {
		statuses = []tidings.DeliveryStatus{tidings.DeliveryDelivered, tidings.DeliveryFailed, tidings.DeliveryCanceled}
	}
	if typ == "" {
		types = slices.Collect(maps.Keys(typeKinds))
	}
	for _, s := range statuses {
		for _, t := range types {
			out = append(out, kind(s, t))
		}
	}
	slices.Sort(out)
	return out
}
