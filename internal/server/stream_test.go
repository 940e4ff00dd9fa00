package server_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"tidings"
	"tidings/internal/server"
)

// Listeners stay for hours. Those of one organisation must not use up what the
// server works on at once, nor what others may open.
func TestStreamsLeaveRoomForRequestsAndOthers(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.MaxInFlight = 1 })
	listen := func(token string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.http.URL+server.Prefix+"/events/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response.StatusCode
	}
	for i := range 32 {
		if got := listen(w.token); got != http.StatusOK {
			t.Fatalf("stream %d gets %d", i+1, got)
		}
	}
	w.get("/events").want(http.StatusOK)
	if got := listen(w.token); got != http.StatusTooManyRequests {
		t.Errorf("one stream too many gets %d, want 429", got)
	}
	if got := listen(w.newToken("other", tidings.ScopeRead)); got != http.StatusOK {
		t.Errorf("another organisation's stream gets %d", got)
	}
}

// A stream ends with its token: the listener comes back with a new one.
func TestAStreamEndsWithItsToken(t *testing.T) {
	w := newWorld(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.http.URL+server.Prefix+"/events/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	defer response.Body.Close()
	w.clock.advance(time.Hour)
	if _, err := io.ReadAll(response.Body); err != nil { // else it would not come back
		t.Errorf("the stream ends with %v", err)
	}
}

// Whoever may not read any more gets nothing more, although the token's life is
// not over.
func TestAStreamEndsWithItsClient(t *testing.T) {
	w := newWorld(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.http.URL+server.Prefix+"/events/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+w.token)
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	defer response.Body.Close()
	clients, err := w.store.Clients(t.Context(), "default")
	if err != nil || len(clients) != 1 {
		t.Fatal(clients, err)
	}
	if err := w.store.RevokeClient(t.Context(), clients[0].ID); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(6 * time.Second) // a check is remembered for 5 s, a token lives for minutes
	if _, err := io.ReadAll(response.Body); err != nil {
		t.Errorf("the stream ends with %v", err)
	}
}
