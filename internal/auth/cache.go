package auth

import (
	"crypto/sha256"
	"sync"
	"time"

	"tidings"
)

const (
	// maxCached is how long an answer is given without asking the store
	// again, and so how late a revocation may take effect.
	maxCached = 5 * time.Second
	// maxTokens bounds the cache. A token beyond it is checked anew.
	maxTokens = 4096
)

// cache remembers the callers of verified tokens. The key is a hash, so that
// a dump of the memory's map holds no token.
type cache struct {
	mu      sync.RWMutex
	callers map[[sha256.Size]byte]cached
}

type cached struct {
	caller tidings.Caller
	until  time.Time
}

func (c *cache) get(key [sha256.Size]byte, now time.Time) (tidings.Caller, bool) {
	c.mu.RLock()
	e, ok := c.callers[key]
	c.mu.RUnlock()
	return e.caller, ok && now.Before(e.until)
}

func (c *cache) put(key [sha256.Size]byte, caller tidings.Caller, now, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.callers == nil {
		c.callers = make(map[[sha256.Size]byte]cached)
	}
	if len(c.callers) >= maxTokens {
		c.shrink(now)
	}
	c.callers[key] = cached{caller, until}
}

// shrink drops what has run out and, where that is not enough, any half: it
// is only a cache, and each dropped token costs one more check.
func (c *cache) shrink(now time.Time) {
	for key, e := range c.callers {
		if !now.Before(e.until) {
			delete(c.callers, key)
		}
	}
	for key := range c.callers {
		if len(c.callers) <= maxTokens/2 {
			return
		}
		delete(c.callers, key)
	}
}
