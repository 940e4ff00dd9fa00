package store

import (
	"testing"

	"tidings"
)

// The places of a list are a permutation of it, another one in each list.
func TestScatter(t *testing.T) {
	c, err := newIDs(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	seen, same := make([]bool, tidings.StatusListSize), 0
	for place := range int64(tidings.StatusListSize) {
		index := c.scatter(1, place)
		if index < 0 || index >= len(seen) || seen[index] {
			t.Fatalf("place %d lies at %d, which is taken or outside", place, index)
		}
		seen[index] = true
		if index == c.scatter(2, place) {
			same++
		}
	}
	if same > 20 {
		t.Errorf("two lists agree in %d places", same)
	}
}
