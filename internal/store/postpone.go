package store

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"time"

	"tidings"
)

// This file accepts events whose deliveries are made later; see expand.go.

// postponing is what a batch knows of them.
type postponing struct {
	class     class           // of the item that runs
	fanned    int             // deliveries that it has made
	expanding bool            // there may be some of earlier batches
	postponed bool            // there are some of this one
	behind    map[int64]bool  // by issuance, whether it has some, as far as that was asked for
	oldest    map[int64]int64 // by organisation, the first; the same
	audiences []toldTo        // of those of this batch
}

func (w *writer) postponing() postponing {
	return postponing{expanding: w.expanding, behind: map[int64]bool{}, oldest: map[int64]int64{}}
}

// fanOut makes the deliveries of an event and gives their keys, or has them be
// made later.
func (t *tx) fanOut(d tidings.PendingDelivery, to []int64) (deliveries []int64, err error) {
	if later, err := t.postpones(&d, len(to)); err != nil {
		return nil, err
	} else if later {
		return nil, t.postpone(&d, to)
	}
	held, err := t.mayBeHeld(&d)
	if err != nil {
		return nil, err
	}
	for _, endpoint := range to {
		d.Key, d.EndpointKey = t.key(), endpoint
		deliveries = append(deliveries, d.Key)
		if err := t.enqueue(d, held); err != nil {
			return nil, err
		}
	}
	return deliveries, nil
}

// postpones tells whether the deliveries of an event are made later: it has many,
// or an earlier event of its issuance waits, which it must not pass.
func (t *tx) postpones(d *tidings.PendingDelivery, deliveries int) (bool, error) {
	if deliveries == 0 || d.Test {
		return false, nil
	}
	if deliveries <= fanAtOnce && t.fanned+deliveries <= fanOfItem {
		behind, err := t.isBehind(d.IssuanceKey)
		if err != nil || !behind {
			t.fanned += deliveries
			return false, err
		}
	}
	return true, t.mayPostpone(d.OrganisationKey)
}

const (
	waitsToExpand = "SELECT 1 FROM expansion WHERE issuance_key = $1 LIMIT 1"
	firstToExpand = "SELECT event_id FROM expansion WHERE organisation_id = $1 ORDER BY event_id LIMIT 1"
)

// isBehind tells whether an event of the issuance waits for its deliveries. Where
// none does of any issuance, it asks nobody.
func (t *tx) isBehind(issuance int64) (bool, error) {
	if waits, known := t.behind[issuance]; known || !t.expanding {
		return waits, nil
	}
	var one int
	err := t.queryRow(waitsToExpand, []any{issuance}, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// lookBehind is isBehind for all issuances of the publishes that are looked
// through, at once.
func (t *tx) lookBehind() error {
	if !t.expanding {
		return nil
	}
	var issuances rows
	for key := range t.waiting {
		if _, known := t.behind[key]; !known {
			t.behind[key] = false
			issuances.add(key)
		}
	}
	return t.ask(issuancesExpanding, &issuances, func(r scanner) error {
		var key int64
		err := r.Scan(&key)
		t.behind[key] = true
		return err
	})
}

// mayPostpone refuses a publish where the organisation's events already wait for
// too long. What becomes of an issuance is always told.
func (t *tx) mayPostpone(org int64) error {
	if t.class != classPublish || !t.expanding {
		return nil
	}
	oldest, known := t.oldest[org]
	if !known {
		err := t.queryRow(firstToExpand, []any{org}, &oldest)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		t.oldest[org] = oldest
	}
	if oldest != 0 && t.now-timeOf(oldest) > expandPatience.Milliseconds() {
		return tidings.Unavailable(time.Second, nil, "Earlier events of the organisation still wait for their deliveries to be made; try again.")
	}
	return nil
}

// postpone has the deliveries of an event be made later.
func (t *tx) postpone(d *tidings.PendingDelivery, to []int64) error {
	audience, err := t.audienceOf(d, to)
	if err != nil {
		return err
	}
	t.postponed, t.behind[d.IssuanceKey] = true, true
	return t.put(insertExpansions, &t.w.bulk.expansions, d.OrganisationKey, d.EventKey, d.IssuanceKey, audience, 0, len(to), t.now)
}

// toldTo is the audience of an event that was accepted in this transaction.
type toldTo struct {
	organisation, key int64
	endpoints         []int64
}

// audienceOf keeps the endpoints of an event, once for all events of a transaction
// that have the same.
func (t *tx) audienceOf(d *tidings.PendingDelivery, to []int64) (int64, error) {
	for _, a := range t.audiences {
		if a.organisation == d.OrganisationKey && slices.Equal(a.endpoints, to) {
			return a.key, nil
		}
	}
	t.audiences = append(t.audiences, toldTo{d.OrganisationKey, d.EventKey, to})
	return d.EventKey, t.later("INSERT INTO audience (id, organisation_id, endpoints) VALUES ($1, $2, $3)", d.EventKey, d.OrganisationKey, packKeys(to))
}

// endpointKeys are the keys of endpoints in order, eight bytes each.
type endpointKeys []byte

func packKeys(keys []int64) endpointKeys {
	out := make(endpointKeys, 0, 8*len(keys))
	for _, k := range keys {
		out = binary.BigEndian.AppendUint64(out, uint64(k))
	}
	return out
}

func (k endpointKeys) len() int       { return len(k) / 8 }
func (k endpointKeys) at(i int) int64 { return int64(binary.BigEndian.Uint64(k[8*i:])) }

// upTo gives how many of the keys are not larger than one.
func (k endpointKeys) upTo(key int64) int {
	return sort.Search(k.len(), func(i int) bool { return k.at(i) > key })
}

func (k endpointKeys) has(key int64) bool {
	n := k.upTo(key)
	return n > 0 && k.at(n-1) == key
}
