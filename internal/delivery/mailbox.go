package delivery

import "sync"

// mostKept is the number of items over which a mailbox's memory is not kept: a
// rare crowd must not stay in it.
const mostKept = 4096

// mailbox hands items from many goroutines to one, which is never waited for.
type mailbox[T any] struct {
	mu     sync.Mutex
	items  []T
	spare  []T           // what was given back, to gather the next items
	signal chan struct{} // holds a token while items wait, here or in another mailbox of the same reader
}

func newMailbox[T any](signal chan struct{}) *mailbox[T] { return &mailbox[T]{signal: signal} }

// newSignal gives what the reader of mailboxes waits for.
func newSignal() chan struct{} { return make(chan struct{}, 1) }

func (m *mailbox[T]) put(items ...T) {
	m.mu.Lock()
	m.items = append(m.items, items...)
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// take gives what waits.
func (m *mailbox[T]) take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.items
	m.items, m.spare = m.spare, nil
	return out
}

// back gives back what was taken, once nobody looks at it any more.
func (m *mailbox[T]) back(taken []T) {
	if cap(taken) == 0 || cap(taken) > mostKept {
		return
	}
	clear(taken)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spare = taken[:0]
}
