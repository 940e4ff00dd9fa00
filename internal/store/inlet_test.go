package store

import (
	"testing"
	"time"
)

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
