package store

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestResultsWaitForCompany: they are taken with what somebody waits for, when
// there are many, and after a while.
func TestResultsWaitForCompany(t *testing.T) {
	taken := func(in *inlets, c class, n int) *inlets {
		for range n {
			if err := in.push(&item{class: c, rows: 1, done: make(chan struct{})}); err != nil {
				t.Fatal(err)
			}
		}
		return in
	}
	synctest.Test(t, func(t *testing.T) {
		in := newInlets()
		for _, row := range []struct {
			results int
			wait    time.Duration
		}{{1, fewPatience}, {fewResults, fewPatience}, {fewResults + 1, fewPatience}, {1, resultPatience}, {1, fewPatience}} {
			begin := time.Now()
			<-taken(in, classResult, row.results).ready
			if waited := time.Since(begin); waited != row.wait {
				t.Errorf("%d results wait %v, want %v", row.results, waited, row.wait)
			}
			in.drain(maxBatchRows)
		}
		for c, n := range map[class]int{classResult: resultsAtOnce, classPublish: 1, classTransition: 1, classHouse: 1} {
			begin := time.Now()
			<-taken(newInlets(), c, n).ready
			if waited := time.Since(begin); waited != 0 {
				t.Errorf("%d items of class %d wait %v", n, c, waited)
			}
		}
	})
}

// A node renews its lease however much there is to write, before all of it, and
// does not give up because it takes long.
func TestALeaseGoesFirst(t *testing.T) {
	in := newInlets()
	push := func(c class, rows int) *item {
		it := &item{class: c, rows: rows, done: make(chan struct{})}
		if err := in.push(it); err != nil {
			t.Fatal(err)
		}
		return it
	}
	for _, c := range []class{classResult, classTransition, classPublish} {
		push(c, maxBatchRows)
	}
	lease := push(classLease, 2)
	if items, _ := in.drain(maxBatchRows); len(items) == 0 || items[0] != lease {
		t.Errorf("the lease is not the first of %d items", len(items))
	}
	synctest.Test(t, func(t *testing.T) {
		w := &writer{in: newInlets()}
		ended := make(chan error)
		go func() { ended <- w.wait(t.Context(), &item{class: classLease, rows: 2}) }()
		time.Sleep(10 * transitionPatience)
		items, _ := w.in.drain(maxBatchRows)
		if len(items) != 1 {
			t.Fatalf("%d leases wait, want one", len(items))
		}
		close(items[0].done)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Results wait for their company also beside house-keeping, which waits longer:
// it must cause no commit that would not have been.
func TestHouseKeepingCallsNoWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInlets()
		push := func(c class) {
			if err := in.push(&item{class: c, rows: 1, done: make(chan struct{})}); err != nil {
				t.Fatal(err)
			}
		}
		push(classPublish)
		<-in.ready
		in.drain(1)
		begin := time.Now()
		push(classHouse)
		push(classResult)
		<-in.ready
		if waited := time.Since(begin); waited != fewPatience {
			t.Errorf("a result waits %v beside house-keeping, want %v", waited, fewPatience)
		}
		if items, _ := in.drain(1); len(items) != 2 {
			t.Errorf("%d items are taken, want the result with the house-keeping", len(items))
		}
		push(classHouse)
		begin = time.Now()
		<-in.ready
		if waited := time.Since(begin); waited != housePatience {
			t.Errorf("house-keeping waits %v where nobody comes, want %v", waited, housePatience)
		}
		if items, _ := in.drain(1); len(items) != 1 {
			t.Errorf("%d items are taken, want the house-keeping", len(items))
		}
	})
}

// House-keeping goes along with the others, also where there are more than a
// batch takes: it costs nobody a commit, and is never starved.
func TestHouseKeepingGoesAlong(t *testing.T) {
	in := newInlets()
	push := func(c class) *item {
		it := &item{class: c, rows: 1, done: make(chan struct{})}
		if err := in.push(it); err != nil {
			t.Fatal(err)
		}
		return it
	}
	push(classPublish)
	push(classPublish)
	house := push(classHouse)
	items, _ := in.drain(1)
	if len(items) != 2 || items[0].class != classPublish || items[1] != house {
		t.Fatalf("%d items are taken, want one publish and the house-keeping", len(items))
	}
	if items, _ := in.drain(1); len(items) != 1 {
		t.Fatalf("%d items are taken, want the other publish", len(items))
	}

	house = push(classHouse)
	if items, _ := in.drain(1); len(items) != 0 {
		t.Fatal("house-keeping is taken by itself at once, where others come all the time")
	}
	house.since = time.Now().Add(-2 * housePatience)
	if items, _ := in.drain(1); len(items) != 1 {
		t.Fatal("house-keeping is not taken by itself where nobody has come for a while")
	}
	in.busy = time.Now().Add(-2 * quietAfter)
	push(classHouse)
	if items, _ := in.drain(1); len(items) != 1 {
		t.Fatal("house-keeping waits where there is nobody to wait for")
	}
}

// A step ends when its share of a batch's time is used up, but not before it
// has done something.
func TestAStepOfHouseKeepingIsShort(t *testing.T) {
	s, _, _ := planned(t)
	s.w.submit(t.Context(), classHouse, 0, 1, func(tx *tx) error {
		tx.until = time.Now().Add(-time.Second)
		if !tx.over() {
			t.Error("a step whose time is over goes on")
		}
		return nil
	})
	if alone, beside := s.w.houseShare(true), s.w.houseShare(false); beside > alone || alone > quietShare {
		t.Errorf("a step may take %v beside others and %v by itself", beside, alone)
	}
}
