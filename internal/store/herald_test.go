package store

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"tidings"
)

// PostgreSQL takes no message of 8,000 bytes or more: what does not fit is said in
// fewer words.
func TestAMessageFits(t *testing.T) {
	var m message
	for i := range int64(2 * maxTold) {
		if i == maxTold-1 {
			m.Node, m.Told, m.Freed = math.MaxInt64, true, true
			texts, err := m.texts()
			if err != nil {
				t.Fatal(err)
			}
			named := map[int64]bool{}
			for _, text := range texts {
				var part message
				if err := json.Unmarshal([]byte(text), &part); err != nil || len(text) >= 8000 {
					t.Fatalf("a message of %d bytes: %v", len(text), err)
				}
				for _, w := range part.wakes() {
					named[w.EndpointKey] = true
				}
			}
			if len(named) != maxTold-1 {
				t.Errorf("%d lanes are told of in %d messages, want %d", len(named), len(texts), maxTold-1)
			}
		}
		m.add(tidings.Wake{EndpointKey: math.MaxInt64 - i, Due: time.UnixMilli(1 << 50), Urgent: math.MaxInt64 - i, Changed: true})
	}
	if !m.Every || len(m.wakes()) != 0 {
		t.Errorf("too many lanes to name are told as %+v", m)
	}

	m = message{}
	for _, due := range []int64{5, 3, 4} {
		m.add(tidings.Wake{EndpointKey: 1, Due: time.UnixMilli(due), Changed: due == 4})
	}
	if got := m.wakes(); len(got) != 1 || got[0].Due.UnixMilli() != 3 || !got[0].Changed {
		t.Errorf("three wakes of a lane are told as %+v", got)
	}
}
