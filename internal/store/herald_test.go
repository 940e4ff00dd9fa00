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
	for i := range int64(10 * maxTold) {
		if i == maxTold {
			m.Node, m.Told, m.Freed = math.MaxInt64, true, true
			text, err := json.Marshal(m)
			if err != nil || len(text) >= 8000 || len(m.wakes()) != maxTold {
				t.Fatalf("%d lanes take %d bytes, %v", len(m.wakes()), len(text), err)
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
