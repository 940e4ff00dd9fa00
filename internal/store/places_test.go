package store_test

import (
	"strconv"
	"sync"
	"testing"

	"tidings"
	"tidings/internal/store"
)

// An organisation's places fill one list after another, none comes twice (not
// after a restart either), and they do not tell in which order they were given.
func TestPlacesInStatusLists(t *testing.T) {
	dir := t.TempDir()
	const perList = 2 * store.StatusRange
	seen := map[tidings.StatusIndex]bool{}
	var mu sync.Mutex
	lists := map[string]int{}
	run := func(n int) (taken []tidings.StatusIndex) {
		s, err := store.Open(t.Context(), store.Options{Dir: dir, Database: database(t, dir)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		s.HaveStatusListsOf(perList)
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
