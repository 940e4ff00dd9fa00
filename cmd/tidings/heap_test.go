package main

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for live, want := range map[uint64]int64{0: leastLimit, 6 << 20: leastLimit, 16 << 20: leastLimit, 30 << 20: 69 << 20, 1 << 30: 1560 << 20} {
		if got := memoryLimit(live); got != want {
			t.Errorf("with %d bytes that live: %d, want %d", live, got, want)
		}
	}
}

// TestCollectLess wants the collector set at once, and an operator's setting
// left alone.
func TestCollectLess(t *testing.T) {
	percent, limit := debug.SetGCPercent(100), debug.SetMemoryLimit(math.MaxInt64)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	for _, name := range []string{"GOGC", "GOMEMLIMIT", ""} {
		t.Setenv("GOGC", "")
		t.Setenv("GOMEMLIMIT", "")
		wantPercent, wantLimited := heapGrowth, true
		if name != "" {
			t.Setenv(name, "50")
			wantPercent, wantLimited = 100, false
		}
		collectLess()
		gotPercent, gotLimit := debug.SetGCPercent(100), debug.SetMemoryLimit(-1)
		if gotPercent != wantPercent || gotLimit < math.MaxInt64 != wantLimited {
			t.Errorf("with %q set: %d %%, limit %d", name, gotPercent, gotLimit)
		}
	}
}
