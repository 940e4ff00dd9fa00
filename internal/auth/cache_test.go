package auth

import (
	"crypto/sha256"
	"strconv"
	"testing"
	"time"

	"tidings"
)

// Whoever has many tokens cannot fill the memory, and the newest is kept.
func TestCacheIsBounded(t *testing.T) {
	var c cache
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 3 * maxTokens {
		key := sha256.Sum256([]byte(strconv.Itoa(i)))
		c.put(key, tidings.Caller{ClientID: strconv.Itoa(i)}, now, now.Add(maxCached))
		if caller, ok := c.get(key, now); !ok || caller.ClientID != strconv.Itoa(i) {
			t.Fatalf("token %d is not kept", i)
		}
		if len(c.callers) > maxTokens {
			t.Fatalf("%d tokens are kept", len(c.callers))
		}
	}
	first := sha256.Sum256([]byte("first"))
	c.put(first, tidings.Caller{}, now, now.Add(maxCached))
	if _, ok := c.get(first, now.Add(maxCached)); ok {
		t.Error("an entry outlives its time")
	}
}
