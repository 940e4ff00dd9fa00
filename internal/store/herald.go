package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"tidings"
)

// What one node commits the others have to hear of: an endpoint's lane may be
// theirs, and so may be whoever reads the feed. It is told after the commit, over
// a connection that is not the writer's, as PostgreSQL has transactions with a
// NOTIFY commit one after the other. Whoever misses a message looks each second.

const (
	channel = "tidings"
	// heraldPause is between two messages, so that one carries all of a moment.
	heraldPause = time.Millisecond
	// perMessage is how many lanes a message names; it has to stay below 8,000
	// bytes. maxTold is how many are named at a time.
	perMessage = 90
	maxTold    = 50 * perMessage
	// echoEvery is how often a node listens for its own voice: a connection may be
	// cut in silence, and a pooler in transaction mode takes LISTEN and gives
	// nothing. Without an echo for echoPatience it is not heard.
	echoEvery    = 5 * time.Second
	echoPatience = 15 * time.Second
	// listenPause is before another try to listen.
	listenPause = time.Second
)

// message is what a node tells.
type message struct {
	Node  int64         `json:"n"`
	Told  bool          `json:"e,omitempty"` // events were accepted
	Freed bool          `json:"s,omitempty"` // shards were given free
	Every bool          `json:"a,omitempty"` // any lane may have something or be changed: they are too many to name, or a message is missing
	Lanes []toldLane    `json:"l,omitempty"`
	known map[int64]int // place in Lanes, by endpoint, of those with nothing urgent
}

// toldLane is a wake without its deliveries: endpoint, due time in milliseconds,
// the key of what is urgent, and 1 where the endpoint changed.
type toldLane [4]int64

func (m *message) empty() bool { return !m.Told && !m.Freed && !m.Every && len(m.Lanes) == 0 }

// add names a lane, or lowers the time that it is named with.
func (m *message) add(w tidings.Wake) {
	if m.Every {
		return
	}
	due, changed := w.Due.UnixMilli(), int64(0)
	if w.Changed {
		changed = 1
	}
	if at, ok := m.known[w.EndpointKey]; ok && w.Urgent == 0 {
		m.Lanes[at][1], m.Lanes[at][3] = min(m.Lanes[at][1], due), max(m.Lanes[at][3], changed)
		return
	}
	if len(m.Lanes) == maxTold {
		m.Every, m.Lanes, m.known = true, nil, nil
		return
	}
	if w.Urgent == 0 {
		if m.known == nil {
			m.known = map[int64]int{}
		}
		m.known[w.EndpointKey] = len(m.Lanes)
	}
	m.Lanes = append(m.Lanes, toldLane{w.EndpointKey, due, w.Urgent, changed})
}

// wakes gives back what was named.
func (m *message) wakes() []tidings.Wake {
	out := make([]tidings.Wake, len(m.Lanes))
	for i, l := range m.Lanes {
		out[i] = tidings.Wake{EndpointKey: l[0], Due: fromMillis(l[1]), Urgent: l[2], Changed: l[3] != 0}
	}
	return out
}

// herald tells the other nodes.
type herald struct {
	db    *sql.DB
	node  int64
	limit time.Duration

	mu     sync.Mutex
	next   message
	signal chan struct{} // holds a token while something is to be told
	heard  atomic.Bool   // this node hears itself
}

func newHerald(db *sql.DB, limit time.Duration) *herald {
	return &herald{db: db, limit: limit, signal: make(chan struct{}, 1)}
}

// tell has told what a transaction did. The lanes that this node holds are its
// own business.
func (h *herald) tell(t *tx) {
	if h == nil {
		return
	}
	held := t.w.holding.Load()
	if held == nil { // it accepts something before it holds anything
		held = &holding{tidings.Tenure{Epochs: &tidings.Epochs{}, Others: true}}
	}
	if !held.Others && !t.freed {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next.Told, h.next.Freed = h.next.Told || t.told, h.next.Freed || t.freed
	for _, w := range t.wakes {
		if held.Epochs[tidings.ShardOf(w.EndpointKey)] == 0 {
			h.next.add(w)
		}
	}
	if !h.next.empty() {
		h.ring()
	}
}

func (h *herald) ring() {
	select {
	case h.signal <- struct{}{}:
	default:
	}
}

func (h *herald) take() message {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.next
	h.next = message{}
	m.Node = h.node
	return m
}

// failed has the next message say that this one is missing. Until then others find
// what is due, as they look each second.
func (h *herald) failed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next.Every, h.next.Lanes, h.next.known = true, nil, nil
}

// run tells what there is to tell, until ctx ends; then what is left of it.
func (h *herald) run(ctx context.Context) {
	echo := time.NewTicker(echoEvery)
	defer echo.Stop()
	for {
		select {
		case <-h.signal:
		case <-echo.C:
		case <-ctx.Done():
			if m := h.take(); !m.empty() {
				h.send(context.WithoutCancel(ctx), m)
			}
			return
		}
		if h.send(context.WithoutCancel(ctx), h.take()) != nil {
			h.failed()
		}
		select {
		case <-time.After(heraldPause):
		case <-ctx.Done():
		}
	}
}

// texts are the messages that together say what m does.
func (m message) texts() (out []string, err error) {
	for lanes := m.Lanes; ; lanes = lanes[len(m.Lanes):] {
		m.Lanes = lanes[:min(len(lanes), perMessage)]
		text, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		if out = append(out, string(text)); len(m.Lanes) == len(lanes) {
			return out, nil
		}
	}
}

// send sends a message. Nothing has to be on disk for that.
func (h *herald) send(ctx context.Context, m message) error {
	texts, err := m.texts()
	if err != nil {
		return err
	}
	ctx, end := bounded(ctx, h.limit)
	defer end()
	_, err = h.db.ExecContext(ctx, "SELECT set_config('synchronous_commit', 'off', true), pg_notify('"+channel+"', text) FROM unnest($1::text[]) AS text", texts)
	return err
}

// Ears are told what other nodes did. They must not block.
type Ears struct {
	Wakes  func([]tidings.Wake) // lanes have something to do
	Missed func()               // something may have been told that was not heard
	Shards func()               // shards were given free
}

// Listen hears the other nodes, and tells them of this one's commits, until ctx
// ends. Where it cannot hear, it goes on trying; see [Store.Listens]. With SQLite
// there is nobody else.
func (s *Store) Listen(ctx context.Context, ears Ears) {
	h := s.w.herald
	if h == nil {
		return
	}
	h.node = s.w.node
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { h.run(ctx) })
	for failures := 0; ctx.Err() == nil; failures++ {
		err := s.listenOnce(ctx, ears)
		if ctx.Err() != nil {
			return
		}
		if h.heard.Swap(false) || failures == 0 {
			s.w.log.Warn("what other nodes do is not heard: it is looked for each second", "error", err)
		}
		select {
		case <-time.After(listenPause):
		case <-ctx.Done():
		}
	}
}

// listenOnce listens until that fails.
func (s *Store) listenOnce(ctx context.Context, ears Ears) error {
	connecting, end := bounded(ctx, s.w.limit)
	defer end()
	conn, err := pgx.ConnectConfig(connecting, s.listenAt)
	if err != nil {
		return err
	}
	defer func() {
		closing, end := bounded(context.WithoutCancel(ctx), time.Second)
		defer end()
		conn.Close(closing) // it may be gone
	}()
	if _, err := conn.Exec(connecting, "LISTEN "+channel); err != nil {
		return err
	}
	s.w.herald.ring() // for an echo
	for {
		n, err := waitFor(ctx, conn)
		if err != nil {
			return err
		}
		var m message
		if json.Unmarshal([]byte(n), &m) != nil {
			continue // not ours
		}
		s.hear(m, ears)
	}
}

func waitFor(ctx context.Context, conn *pgx.Conn) (string, error) {
	ctx, end := context.WithTimeout(ctx, echoPatience)
	defer end()
	n, err := conn.WaitForNotification(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("nothing is heard, not even this node itself: LISTEN needs a direct connection, see database-listen")
	}
	if err != nil {
		return "", err
	}
	return n.Payload, nil
}

func (s *Store) hear(m message, ears Ears) {
	h := s.w.herald
	if m.Node == h.node {
		if !h.heard.Swap(true) {
			ears.Missed()
		}
		return
	}
	if m.Told {
		s.w.announce()
	}
	if len(m.Lanes) > 0 {
		ears.Wakes(m.wakes())
	}
	if m.Every {
		ears.Missed()
	}
	if m.Freed {
		ears.Shards()
	}
}

// Listens tells whether this node hears at once what the others do, and need not
// look for it. Where there are no others, it does.
func (s *Store) Listens() bool { return s.w.herald == nil || s.w.herald.heard.Load() }
