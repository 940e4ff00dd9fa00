package tidings_test

import (
	"regexp"
	"strings"
	"testing"

	"tidings"
)

// issuanceIDPattern is what the API's description says of the id.
var issuanceIDPattern = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,128}$`)

func TestIssuanceIDIsAsDescribed(t *testing.T) {
	ids := []string{"", "cmfwfjxdq003js601bmgy9tva", "a b", "a\n", "\na", "Ä", strings.Repeat("x", 128), strings.Repeat("x", 129)}
	for c := range 256 {
		ids = append(ids, "a"+string([]byte{byte(c)})+"9")
	}
	for _, id := range ids {
		err := tidings.NewEvent{Type: tidings.IssuanceEventTypes[0], IssuanceID: id}.Check("")
		if want := issuanceIDPattern.MatchString(id); (err == nil) != want {
			t.Errorf("%q: %v, described as right: %v", id, err, want)
		}
	}
}
