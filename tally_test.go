package tidings_test

import (
	"testing"
	"time"

	"tidings"
)

func TestPercentilesLieInTheirClass(t *testing.T) {
	var l tidings.Latency
	if _, ok := l.Percentile(0.5); ok {
		t.Error("nothing was counted, and still there is a percentile")
	}
	for range 90 {
		l[tidings.LatencyClass(60*time.Millisecond)]++ // over 50 ms, up to 100 ms
	}
	for range 9 {
		l[tidings.LatencyClass(2*time.Second)]++
	}
	l[tidings.LatencyClass(time.Hour)]++
	for _, c := range []struct {
		p           float64
		least, most time.Duration
	}{
		{0.5, 50 * time.Millisecond, 100 * time.Millisecond},
		{0.9, 50 * time.Millisecond, 100 * time.Millisecond},
		{0.95, time.Second, 2500 * time.Millisecond},
		{1, 10 * time.Minute, 10 * time.Minute}, // the last class has no end
	} {
		if got, ok := l.Percentile(c.p); !ok || got < c.least || got > c.most {
			t.Errorf("percentile %v is %v, want %v to %v", c.p, got, c.least, c.most)
		}
	}
}
