package store

import (
	"strconv"
	"sync"
	"testing"

	"tidings"
)

// An organisation's places fill one list after another, none comes twice (not
// after a restart either), and they do not tell in which order they were given.
func TestPlacesInStatusLists(t *testing.T) {
	dir := t.TempDir()
	const perList = 2 * statusRange
	seen := map[tidings.StatusIndex]bool{}
	var mu sync.Mutex
	lists := map[string]int{}
	run := func(n int) (taken []tidings.StatusIndex) {
		s, err := Open(t.Context(), Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.statusListSize = perList
		c, err := s.CreateClient(t.Context(), "acme", tidings.Client{ID: strconv.Itoa(n)})
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for range n {
			group.Go(func() {
				p, err := s.StatusIndex(t.Context(), c.Organisation.Key)
				mu.Lock()
				defer mu.Unlock()
				if err != nil || seen[p] || p.Index < 0 || p.Index >= tidings.StatusListSize {
					t.Errorf("%+v was given twice: %v, %v", p, seen[p], err)
				}
				seen[p] = true
				lists[p.ListID]++
				taken = append(taken, p)
			})
		}
		group.Wait()
		return taken
	}
	run(perList + 1) // one full list, and a range of the next
	second := run(10)
	run(3 * perList)
	if len(lists) != 5 {
		t.Errorf("%d lists: %v", len(lists), lists)
	}
	for id, n := range lists {
		if n > perList {
			t.Errorf("the list %s has %d places, more than %d", id, n, perList)
		}
	}
	near := 0
	for k := range second[1:] {
		if d := second[k+1].Index - second[k].Index; d > -64 && d < 64 {
			near++
		}
	}
	if near > 2 {
		t.Errorf("%d of 9 places lie beside the one before: %v", near, second)
	}
}

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
