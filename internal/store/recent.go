package store

import (
	"encoding/json"
	"slices"
	"sync"

	"modernc.org/sqlite"

	"tidings"
)

// recent are issuances as the newest commits have left them, with the claims of those
// that were made here: a wallet takes its steps within seconds, and each of them
// would read the issuance twice. There are some only where this process alone writes
// issuances; nil has none. Whatever changes one in another way than by a step that
// is foreseen has all of them forgotten.
type recent struct {
	mu         sync.Mutex
	young, old map[int64]recentIssuance // when there are enough young ones, the old ones go
}

const (
	// maxRecent is how many issuances there are of either age.
	maxRecent = 500
	// maxRecentClaims is how long the claims of one may be, in bytes.
	maxRecentClaims = 4 << 10
)

// recentIssuance is an issuance without its claims, and these as they are stored, for
// each credential; nil where they are not known.
type recentIssuance struct {
	tidings.Issuance
	claims []string
}

func (r *recent) get(key int64) (i recentIssuance, ok bool) {
	if r == nil {
		return i, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if i, ok = r.young[key]; !ok {
		i, ok = r.old[key]
	}
	i.Credentials = slices.Clone(i.Credentials)
	return i, ok
}

// forget forgets all.
func (r *recent) forget() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.young, r.old = nil, nil
}

// learn takes over what a transaction that is committed has made, and what its steps
// have left.
func (r *recent) learn(made []recentIssuance, left map[int64]tidings.Issuance) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range made {
		size := 0
		for _, c := range i.claims {
			size += len(c)
		}
		if size > maxRecentClaims {
			i.claims = nil
		}
		r.put(i)
	}
	for key, i := range left {
		before, ok := r.young[key]
		if !ok {
			before = r.old[key]
		}
		r.put(recentIssuance{i, before.claims})
	}
}

func (r *recent) put(i recentIssuance) {
	if len(r.young) >= maxRecent {
		r.old, r.young = r.young, nil
	}
	if r.young == nil {
		r.young = map[int64]recentIssuance{}
	}
	i.Credentials = slices.Clone(i.Credentials)
	for k := range i.Credentials {
		i.Credentials[k].Claims = nil
	}
	r.young[i.Key] = i
}

// whole gives an issuance with its claims, if they are known.
func (r *recent) whole(org, key int64) (tidings.Issuance, bool) {
	i, ok := r.get(key)
	if !ok || i.Organisation.Key != org || len(i.claims) != len(i.Credentials) {
		return tidings.Issuance{}, false
	}
	for k, text := range i.claims {
		if json.Unmarshal([]byte(text), &i.Credentials[k].Claims) != nil {
			return tidings.Issuance{}, false
		}
	}
	return i.Issuance, true
}

// remember has known what is recent of the issuances that items are steps of, unless
// this batch has changed any in a way that is not known here.
func (t *tx) remember(items []*item) {
	if t.stirred {
		return
	}
	for _, it := range items {
		if it.foresight == nil || it.foresight.issuance == 0 {
			continue
		}
		if i, ok := t.w.recent.get(it.foresight.issuance); ok {
			t.known.issuances[i.Key] = i.Issuance
		}
	}
}

// noteOthers forgets what is recent if another process has written since this one's
// newest transaction. The present one has begun: nobody does meanwhile.
func (t *tx) noteOthers() {
	if t.w.recent == nil {
		return
	}
	if version, ok := t.w.dataVersion(); !ok || version != t.w.version {
		t.w.recent.forget()
	}
}

// dataVersion gives what changes with each commit, this connection's own or, from the
// next transaction on, another's.
func (w *writer) dataVersion() (version uint32, ok bool) {
	err := w.conn.Raw(func(driver any) (err error) {
		version, err = driver.(sqlite.FileControl).FileControlDataVersion("main")
		return err
	})
	return version, err == nil
}

// keepRecent keeps what this transaction, which is committed, has left.
func (t *tx) keepRecent() {
	if t.w.recent == nil {
		return
	}
	t.w.version, _ = t.w.dataVersion()
	if t.stirred || t.isolate {
		t.w.recent.forget()
		return
	}
	t.w.recent.learn(t.made, t.known.issuances)
}
