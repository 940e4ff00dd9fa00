package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tidings"
)

// Keys is what signing needs of the store: keys that all nodes share.
type Keys interface {
	// IssuerKeys gives all keys of an organisation, oldest first.
	IssuerKeys(ctx context.Context, org int64) ([]tidings.IssuerKey, error)
	// IssuerKeyVersion gives the number of the newest, 0 for none; cheap.
	IssuerKeyVersion(ctx context.Context, org int64) (int64, error)
	// AddIssuerKey adds one unless another came first.
	AddIssuerKey(ctx context.Context, org int64, k tidings.NewIssuerKey) (added bool, err error)
	// Secret gives the secret of that name, made where there is none.
	Secret(ctx context.Context, name string, make func() ([]byte, error)) ([]byte, error)
}

const (
	// keyPoll is how long a node signs on without looking whether another
	// process has added a key.
	keyPoll = 2 * time.Second
	// keyWarning is how long before its end an imported certificate is warned of.
	keyWarning = 30 * 24 * time.Hour
)

// keyring holds an organisation's keys. The newest that serves this public URL
// signs; all of them stay published, as their credentials live on. It never
// changes.
type keyring struct {
	version int64
	leaves  []certified // oldest first
	current certified
	made    bool // current was made here, and is renewed here
	anchors []certified
}

// checkedRing is a keyring with the time at which it was the newest.
type checkedRing struct {
	ring *keyring
	at   time.Time
}

// public gives the keys that verify credentials, the newest first, each once.
// Anchors sign none.
func (k *keyring) public() jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	seen := map[string]bool{}
	for n := len(k.leaves) - 1; n >= 0; n-- {
		l := k.leaves[n]
		if id := l.id(); !seen[id] {
			seen[id] = true
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: &l.key.PublicKey, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"})
		}
	}
	return set
}

// keyring gives the keys of an organisation, the first of which is made at
// first use. What another process changes is seen within [keyPoll].
func (s *Issuer) keyring(ctx context.Context, org tidings.Organisation) (*keyring, error) {
	now := s.cfg.Now()
	s.ringsMu.Lock()
	known := s.rings[org.Key]
	s.ringsMu.Unlock()
	if known.ring != nil && !now.Before(known.at) && now.Sub(known.at) < keyPoll {
		return known.ring, nil
	}
	version, err := s.store.IssuerKeyVersion(ctx, org.Key)
	if err != nil {
		return nil, fmt.Errorf("looking for new keys: %w", err)
	}
	ring := known.ring
	if ring == nil || ring.version != version || ring.made && renewalDue(ring.current, now) {
		if ring, err = s.loadKeys(ctx, org, now); err != nil {
			return nil, err
		}
	}
	s.ringsMu.Lock()
	defer s.ringsMu.Unlock()
	s.rings[org.Key] = checkedRing{ring, now}
	return ring, nil
}

// renewalDue tells whether a leaf has lived half its life: credentials that it
// signed have the other half to be verified by certificate.
func renewalDue(c certified, now time.Time) bool {
	return !now.Before(c.cert.NotBefore.Add(c.cert.NotAfter.Sub(c.cert.NotBefore) / 2))
}

// loadKeys reads the keys, and makes one where none can sign from now on.
func (s *Issuer) loadKeys(ctx context.Context, org tidings.Organisation, now time.Time) (*keyring, error) {
	for range 5 {
		keys, err := s.store.IssuerKeys(ctx, org.Key)
		if err != nil {
			return nil, fmt.Errorf("reading the keys of %s: %w", org.Slug, err)
		}
		ring, err := s.readKeys(ctx, org, keys, now)
		if err != nil || ring.current.key != nil {
			return ring, err
		}
		action := "key.made"
		if len(ring.leaves) > 0 {
			action = "key.renewed"
		}
		if _, added, err := mint(ctx, s.store, org, s.cfg.PublicURL, ring.version, action, "tidings", now); err != nil {
			return nil, err
		} else if added {
			s.cfg.Log.InfoContext(ctx, action, "organisation", org.Slug)
		}
	}
	return nil, errors.New("other processes keep adding keys")
}

// readKeys gives the ring, without a current key where none may sign on.
func (s *Issuer) readKeys(ctx context.Context, org tidings.Organisation, keys []tidings.IssuerKey, now time.Time) (*keyring, error) {
	ring := &keyring{}
	for _, k := range keys {
		c, err := readPEM(k.PEM)
		if err != nil {
			return nil, fmt.Errorf("reading key %d of %s: %w", k.Number, org.Slug, err)
		}
		ring.version, ring.leaves = k.Number, append(ring.leaves, c)
		if k.PublicURL == "" || k.PublicURL == s.cfg.PublicURL {
			ring.current, ring.made = c, k.PublicURL != ""
		}
		if c.root != nil {
			ring.anchors = append(ring.anchors, certified{cert: c.root})
		}
		if k.PublicURL != "" && (len(ring.anchors) == 0 || ring.anchors[0].key == nil) {
			made, err := anchors(ctx, s.store, org.Slug, now)
			if err != nil {
				return nil, err
			}
			ring.anchors = append(made, ring.anchors...)
		}
	}
	switch current := ring.current; {
	case current.key == nil:
	case ring.made && renewalDue(current, now):
		ring.current = certified{}
	case now.Add(keyWarning).After(current.cert.NotAfter):
		s.cfg.Log.WarnContext(ctx, "the certificate that signs credentials ends soon; import the next one", "organisation", org.Slug, "ends", current.cert.NotAfter)
	}
	return ring, nil
}

// anchors gives the certification authorities of an organisation, oldest first.
// The last one outlives a leaf that it certifies now.
func anchors(ctx context.Context, store Keys, slug string, now time.Time) (all []certified, err error) {
	for n := 1; n <= 100; n++ {
		name := "issuer-ca/" + slug
		if n > 1 {
			name = fmt.Sprintf("%s/%d", name, n)
		}
		text, err := store.Secret(ctx, name, func() ([]byte, error) {
			c, err := newAnchor(slug, now)
			if err != nil {
				return nil, err
			}
			return c.pem()
		})
		if err != nil {
			return nil, fmt.Errorf("getting the CA of %s: %w", slug, err)
		}
		c, err := readPEM(text)
		if err != nil {
			return nil, fmt.Errorf("reading the CA of %s: %w", slug, err)
		}
		if all = append(all, c); c.cert.NotAfter.After(now.Add(leafLife)) {
			return all, nil
		}
	}
	return nil, fmt.Errorf("no CA of %s is valid for long enough", slug)
}

// mint makes a key and adds it, unless another came first.
func mint(ctx context.Context, store Keys, org tidings.Organisation, publicURL string, after int64, action, by string, now time.Time) (certified, bool, error) {
	cas, err := anchors(ctx, store, org.Slug, now)
	if err != nil {
		return certified{}, false, err
	}
	leaf, err := newLeaf(cas[len(cas)-1], org.Slug, publicURL+"/o/"+org.Slug, now)
	if err != nil {
		return certified{}, false, fmt.Errorf("making a key for %s: %w", org.Slug, err)
	}
	added, err := addKey(ctx, store, org, leaf, tidings.NewIssuerKey{After: after, PublicURL: publicURL, Action: action, By: by})
	return leaf, added, err
}

func addKey(ctx context.Context, store Keys, org tidings.Organisation, c certified, k tidings.NewIssuerKey) (added bool, err error) {
	if k.PEM, err = c.pem(); err != nil {
		return false, fmt.Errorf("writing a key of %s: %w", org.Slug, err)
	}
	k.ID, k.Detail = c.id(), "valid until "+c.cert.NotAfter.UTC().Format(time.RFC3339)
	if added, err = store.AddIssuerKey(ctx, org.Key, k); err != nil {
		return false, fmt.Errorf("adding a key of %s: %w", org.Slug, err)
	}
	return added, nil
}

// anchor serves the certificates that verifiers of this organisation's
// credentials install as trusted.
func (s *Issuer) anchor(w http.ResponseWriter, hr *http.Request) {
	openToBrowsers(w.Header())
	r := &request{Request: hr, now: s.cfg.Now()}
	org, err := s.organisation(hr.Context(), hr.PathValue("organisation"))
	if err != nil {
		s.refused(w, r, err)
		return
	}
	r.org = org
	ring, err := s.keyring(hr.Context(), org)
	if err == nil && len(ring.anchors) == 0 {
		err = errNotFound // whoever brought the certificate has the anchor
	}
	if err != nil {
		s.refused(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/pem-certificate-chain") // RFC 8555, section 9.1
	for n := len(ring.anchors) - 1; n >= 0; n-- {                       // the newest first
		w.Write(certificatePEM(ring.anchors[n].cert))
	}
}
