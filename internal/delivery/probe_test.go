package delivery_test

import (
	"testing"
	"time"

	"tidings/internal/delivery"
)

func TestAnEventForAFailingEndpointTriesItSoonEvenIfTheOldestDeliveryWaitsForHours(t *testing.T) {
	inWorld(t, delivery.Config{}, broken, func(t *testing.T, w *world) {
		w.endpoint("a")
		w.publish(1, "old")
		after(4 * time.Hour) // five attempts; the sixth comes five hours after the fifth
		if got := len(w.sent()); got != 5 {
			t.Fatalf("%d attempts, want 5", got)
		}
		w.become(fine)
		w.publish(1, "new")
		after(6 * time.Minute)
		if got := len(w.sent()); got != 6 {
			t.Errorf("%d attempts six minutes after the endpoint came back and got an event, want 6", got)
		}
	})
}
