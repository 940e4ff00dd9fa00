package store

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestResultsWaitForCompany: they are taken with what somebody waits for, when
// there are many, and after a while.
func TestResultsWaitForCompany(t *testing.T) {
	taken := func(c class, n int) *inlets {
		in := newInlets()
		for range n {
			if err := in.push(&item{class: c, rows: 1, done: make(chan struct{})}); err != nil {
				t.Fatal(err)
			}
		}
		return in
	}
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		<-taken(classResult, 1).ready
		if waited := time.Since(begin); waited != resultPatience {
			t.Errorf("a result alone waits %v, want %v", waited, resultPatience)
		}
		for c, n := range map[class]int{classResult: resultsAtOnce, classPublish: 1, classTransition: 1, classHouse: 1} {
			begin := time.Now()
			<-taken(c, n).ready
			if waited := time.Since(begin); waited != 0 {
				t.Errorf("%d items of class %d wait %v", n, c, waited)
			}
		}
	})
}

// House-keeping waits for everybody, but not for ever: under a flood without a
// gap it would never come, and the disk would fill.
func TestHouseKeepingIsNotStarved(t *testing.T) {
	in := newInlets()
	push := func(c class) *item {
		it := &item{class: c, rows: 1, done: make(chan struct{})}
		if err := in.push(it); err != nil {
			t.Fatal(err)
		}
		return it
	}
	house := push(classHouse)
	push(classPublish)
	if items, _ := in.drain(maxBatchRows); len(items) != 1 || items[0].class != classPublish {
		t.Fatalf("%d items are taken, want the publish alone", len(items))
	}
	house.since = time.Now().Add(-2 * housePatience)
	push(classPublish)
	items, _ := in.drain(maxBatchRows)
	if len(items) != 2 || items[1] != house {
		t.Fatalf("%d items are taken, want the publish and the house-keeping that has waited long enough", len(items))
	}
}
