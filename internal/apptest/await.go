package apptest

import (
	"testing"
	"time"
)

// patience is how long a test waits for what has to happen. It is long, as
// machines are shared, and says nothing of how fast the product is.
const patience = 2 * time.Minute

// Await waits until something is so, and fails the test if it never is.
func Await(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v it is still not so that %s", patience, what)
		}
		<-tick.C
	}
}

// Await waits until something is so, and fails the test if it never is.
func (a *API) Await(what string, so func() bool) {
	a.t.Helper()
	Await(a.t, what, so)
}
