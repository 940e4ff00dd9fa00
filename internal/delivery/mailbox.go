package delivery

import "sync"

// mailbox hands items from many goroutines to one, which is never waited for.
type mailbox[T any] struct {
	mu     sync.Mutex
	items  []T
	signal chan struct{} // holds a token while items wait
}

func newMailbox[T any]() *mailbox[T] {
	return &mailbox[T]{signal: make(chan struct{}, 1)}
}

func (m *mailbox[T]) put(items ...T) {
	m.mu.Lock()
	m.items = append(m.items, items...)
	m.mu.Unlock()
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// take gives what waits; into is a slice to use again.
func (m *mailbox[T]) take(into []T) []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.items
	clear(into[:cap(into)])
	m.items = into[:0]
	return out
}
