package tidings

import (
	"fmt"
	"strings"
	"time"
)

// IssuanceStep is a [Step] that was taken, as it is shown to those who follow an
// issuance.
type IssuanceStep struct {
	At     time.Time
	Name   string // the step's type in lower case: such as "retrieve", "redeem", "deliver", "notify"
	Detail string // of a notification its event, of a decision what was decided, of a delivered credential its id
}

// DescribeStep gives what is kept of a step that took an issuance from before to
// next; ok is false where there is nothing to tell: only time has passed, or
// the step was taken already.
func DescribeStep(before, next Issuance, step Step) (out IssuanceStep, ok bool) {
	out.Name = strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", step), "tidings."))
	switch s := step.(type) {
	case Tick:
		return out, false
	case Retrieve:
		return out, before.RetrievedAt == nil && next.RetrievedAt != nil
	case Notify:
		out.Detail = string(s.Event)
	case Deliver:
		out.Detail = s.CredentialID
	case Decide:
		out.Detail = string(s.Decision)
	}
	return out, true
}
