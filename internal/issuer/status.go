package issuer

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"tidings"
)

// Sections in this file are those of the Token Status List draft.

// Statuses is what the issuer needs of the store's status lists.
type Statuses interface {
	// StatusIndex gives a place that no other signed copy has or ever had.
	StatusIndex(ctx context.Context, org int64) (tidings.StatusIndex, error)
	// StatusListVersion is cheap: it is asked for at every request of a list.
	StatusListVersion(ctx context.Context, org int64, id string) (list, version int64, err error)
	StatusList(ctx context.Context, org int64, id string) (tidings.StatusList, error)
}

const (
	statusListType = "application/statuslist+jwt"

	// statusTTL is how long a verifier may keep a list before it looks for a
	// newer one; a list that is served is never older.
	statusTTL = 5 * time.Minute
	// statusLife is until when a list counts at all: a verifier that cannot
	// reach this server goes on with what it has.
	statusLife = 24 * time.Hour

	statusBits = 2

	maxPublished = 256 // lists kept ready, of all organisations
)

// status gives a signed copy of a credential its place in a status list, and
// the claim that says where (section 6.2). Templates that are not revocable have
// neither.
func (s *Issuer) status(ctx context.Context, org tidings.Organisation, t tidings.Template) (claim any, places []tidings.StatusIndex, err error) {
	if !t.Revocable {
		return nil, nil, nil
	}
	place, err := s.store.StatusIndex(ctx, org.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("getting a place in a status list: %w", err)
	}
	return map[string]any{"status_list": map[string]any{"idx": place.Index, "uri": s.statusURL(org.Slug, place.ListID)}}, []tidings.StatusIndex{place}, nil
}

func (s *Issuer) statusURL(slug, list string) string { return s.IssuerURL(slug) + "/status/" + list }

// published is a signed status list, ready to be sent.
type published struct {
	version int64
	key     string // which signed it
	at      time.Time
	token   []byte
	zipped  []byte // the token under the content coding gzip
	etag    string
}

// publisher keeps signed lists. A change of a list is seen by its version,
// which its transaction raises; so no node serves what another has taken back.
type publisher struct {
	mu    sync.Mutex
	lists map[int64]*published
}

func (p *publisher) get(list int64) *published {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lists[list]
}

func (p *publisher) put(list int64, made *published) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lists == nil || len(p.lists) >= maxPublished {
		p.lists = map[int64]*published{}
	}
	p.lists[list] = made
}

// statusList serves a status list (section 8.1).
func (s *Issuer) statusList(w http.ResponseWriter, hr *http.Request) {
	openToBrowsers(w.Header())
	r := &request{Request: hr, now: s.cfg.Now()}
	var err error
	if r.org, err = s.organisation(hr.Context(), hr.PathValue("organisation")); err != nil {
		s.refused(w, r, err)
		return
	}
	made, err := s.publish(r)
	if err != nil {
		s.refused(w, r, err)
		return
	}
	h := w.Header()
	left := max(made.at.Add(statusTTL).Sub(r.now), 0)
	h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(left/time.Second)))
	h.Set("Vary", "Accept-Encoding")
	h.Set("ETag", made.etag)
	if hr.Header.Get("If-None-Match") == made.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", statusListType)
	body := made.token
	if accepts(hr.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = made.zipped
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

var (
	errNotAcceptable = &protocolError{status: http.StatusNotAcceptable, code: "not_acceptable", description: "A status list is served as " + statusListType + " only."}
	errNoHistory     = &protocolError{status: http.StatusNotImplemented, code: "not_implemented", description: "Status lists of the past are not kept."} // section 8.4
)

// publish gives the list as it is now: the one that is ready, or a new one.
func (s *Issuer) publish(r *request) (*published, error) {
	if accept := r.Header.Get("Accept"); accept != "" && !accepts(accept, statusListType) && !accepts(accept, "application/*") && !accepts(accept, "*/*") {
		return nil, errNotAcceptable
	}
	if r.URL.Query().Has("time") {
		return nil, errNoHistory
	}
	ring, err := s.keyring(r.Context(), r.org)
	if err != nil {
		return nil, err
	}
	id, key := r.PathValue("list"), ring.current
	list, version, err := s.store.StatusListVersion(r.Context(), r.org.Key, id)
	if err != nil {
		return nil, err
	}
	made := s.lists.get(list)
	if made != nil && made.version == version && made.key == key.id() && r.now.Before(made.at.Add(statusTTL)) && !r.now.Before(made.at) {
		return made, nil
	}
	l, err := s.store.StatusList(r.Context(), r.org.Key, id)
	if err != nil {
		return nil, err
	}
	if made, err = s.signStatusList(r, key, l); err != nil {
		return nil, fmt.Errorf("publishing the status list %s: %w", id, err)
	}
	s.lists.put(list, made)
	return made, nil
}

// signStatusList writes the status list token (section 5.1).
func (s *Issuer) signStatusList(r *request, key certified, l tidings.StatusList) (*published, error) {
	text, err := json.Marshal(map[string]any{
		"iss": s.IssuerURL(r.org.Slug), "sub": s.statusURL(r.org.Slug, l.ID),
		"iat": r.now.Unix(), "exp": r.now.Add(statusLife).Unix(), "ttl": int(statusTTL / time.Second),
		"status_list": map[string]any{"bits": statusBits, "lst": packStatuses(l.Values, tidings.StatusListSize)},
	}, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	token, err := key.sign("statuslist+jwt", text)
	if err != nil {
		return nil, err
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write([]byte(token)) // a buffer takes all
	z.Close()
	return &published{version: l.Version, key: key.id(), at: r.now, token: []byte(token), zipped: zipped.Bytes(),
		etag: fmt.Sprintf(`W/"%s-%d-%d"`, l.ID, l.Version, r.now.UnixMilli())}, nil
}

// packStatuses writes size entries, the first in the lowest bits of the first
// byte, as ZLIB with DEFLATE, in base64url (sections 4.1 and 4.2).
func packStatuses(values map[int]tidings.StatusValue, size int) string {
	const perByte = 8 / statusBits
	raw := make([]byte, (size+perByte-1)/perByte)
	for index, value := range values {
		raw[index/perByte] |= byte(value) << (index % perByte * statusBits)
	}
	var out bytes.Buffer
	z, _ := zlib.NewWriterLevel(&out, zlib.BestCompression) // the level is a valid one
	z.Write(raw)
	z.Close()
	return base64.RawURLEncoding.EncodeToString(out.Bytes())
}

// accepts tells whether an Accept or Accept-Encoding header names something,
// and not with the weight 0 (RFC 9110, section 12.4.2).
func accepts(header, name string) bool {
	for part := range strings.SplitSeq(header, ",") {
		media, params, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err != nil || media != name {
			continue
		}
		weight, err := strconv.ParseFloat(params["q"], 64)
		return params["q"] == "" || err == nil && weight > 0
	}
	return false
}
