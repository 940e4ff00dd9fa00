package delivery_test

import (
	"context"
	"testing"
	"time"

	"tidings"
	"tidings/internal/delivery"
)

// A 410 that comes from an address which the endpoint has left meanwhile must
// not disable the new one.
func TestGoneFromALeftAddressDisablesNothing(t *testing.T) {
	inWorld(t, delivery.Config{}, fine, func(t *testing.T, w *world) {
		gate := make(chan struct{})
		w.become(func(s sent) delivery.Answer {
			if s.url != "https://a" {
				return delivery.Answer{StatusCode: 204}
			}
			<-gate
			return delivery.Answer{StatusCode: 410}
		})
		w.endpoint("a")
		w.publish(1, "i")
		after(time.Second)
		moved := "https://new.example"
		if _, err := w.store.UpdateEndpoint(context.Background(), w.org, "a", tidings.EndpointPatch{URL: &moved}); err != nil {
			t.Fatal(err)
		}
		after(time.Second) // the new address has been read
		close(gate)
		after(time.Minute)
		if e := w.get("a"); e.Status != tidings.EndpointEnabled || e.Backlog.Count != 0 {
			t.Errorf("the endpoint is %s with %d pending; want enabled with none", e.Status, e.Backlog.Count)
		}
	})
}
