package store

import (
	"database/sql"
	"errors"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// idempotencyLife is how long a key is remembered.
const idempotencyLife = 24 * time.Hour

// idempotentAll runs do unless the key was used before: then it gives what was
// made at that time (again), or a conflict where something else was asked for.
// No key runs do.
func (t *tx) idempotentAll(org int64, idem *tidings.Idempotency, do func() ([]int64, error)) (keys []int64, again bool, err error) {
	if idem == nil {
		keys, err = do()
		return keys, false, err
	}
	known := requestKey{org, idem.Route, idem.Key}
	before, asked := t.known.requests[known]
	if !asked || before.made != "" {
		if err := t.oneByOne(); err != nil { // it, or what it made, may stand in this batch
			return nil, false, err
		}
	}
	if asked {
		keys, again, err = before.given(idem)
	} else {
		keys, again, err = madeBefore(t.queryRow, org, idem, t.now)
	}
	if again || err != nil {
		return keys, again, err
	}
	if keys, err = do(); err != nil {
		return nil, false, err
	}
	made := joinKeys(keys)
	if asked {
		t.known.requests[known] = requestMade{string(idem.Hash[:]), made}
	}
	return keys, false, t.put(insertRequests, &t.w.bulk.issuances.requests, org, idem.Route, idem.Key, idem.Hash[:], made, t.now+idempotencyLife.Milliseconds())
}

// madeBefore gives what was made when the key was used first (again), or a
// conflict where that was for another request.
func madeBefore(row func(text string, args []any, to ...any) error, org int64, idem *tidings.Idempotency, now int64) (keys []int64, again bool, err error) {
	var hash []byte
	var before requestMade
	err = row("SELECT hash, made FROM idempotency WHERE organisation_id = $1 AND route = $2 AND key = $3 AND expires_at > $4",
		[]any{org, idem.Route, idem.Key, now}, &hash, &before.made)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	before.hash = string(hash)
	return before.given(idem)
}

// requestMade is what a request with an idempotency key has made: keys, separated
// by blanks. Empty: there was none.
type requestMade struct{ hash, made string }

func (m requestMade) given(idem *tidings.Idempotency) (keys []int64, again bool, err error) {
	switch {
	case m.made == "":
		return nil, false, nil
	case m.hash != string(idem.Hash[:]):
		return nil, false, tidings.Conflict("This idempotency key was used before for another request.")
	}
	keys, err = splitKeys(m.made)
	return keys, err == nil, err
}

// idempotent is idempotentAll for a request that makes one thing. It gives the
// thing's key, be it new or of the first time.
func (t *tx) idempotent(org int64, idem *tidings.Idempotency, do func() (int64, error)) (int64, error) {
	keys, _, err := t.idempotentAll(org, idem, func() ([]int64, error) {
		key, err := do()
		return []int64{key}, err
	})
	if err != nil {
		return 0, err
	}
	return keys[0], nil
}

func joinKeys(keys []int64) string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = strconv.FormatInt(k, 10)
	}
	return strings.Join(names, " ")
}

func splitKeys(text string) (out []int64, err error) {
	for name := range strings.FieldsSeq(text) {
		k, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}
