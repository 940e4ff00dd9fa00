package apptest_test

import (
	"encoding/json"
	"strconv"
	"sync"
	"testing"

	"tidings"
	"tidings/internal/apptest"
)

// stories are issuances of two events each, as receivers take them.
type stories struct {
	t testing.TB

	mu    sync.Mutex
	begun map[string]bool // those whose first event was answered with 2xx, by path and issuance
	early map[string]bool // those whose second one was before that
}

func newStories(t testing.TB) *stories {
	return &stories{t: t, begun: map[string]bool{}, early: map[string]bool{}}
}

// took holds that no story's end is taken before its beginning, unless that
// failed so often that it no longer held up what follows.
func (s *stories) took(path string, got apptest.Received) {
	var e struct {
		EventType string
		Payload   struct{ OpenID4VCIssuanceID string }
	}
	if err := json.Unmarshal(got.Body, &e); err != nil {
		s.t.Error(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	story := path + " " + e.Payload.OpenID4VCIssuanceID
	if e.EventType != offered {
		s.early[story] = !s.begun[story]
		return
	}
	s.begun[story] = true
	attempt, err := strconv.Atoi(got.Header.Get("Webhook-Attempt"))
	if err != nil || s.early[story] && attempt <= tidings.HeldRetries+1 {
		s.t.Errorf("%s ended before its beginning came, at attempt %d", story, attempt)
	}
	delete(s.early, story)
}
