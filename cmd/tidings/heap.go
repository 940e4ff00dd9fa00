package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// heapGrowth is by how much of what lives the heap may grow before it is
	// collected, in percent. Go's own 100 would collect the 6 MiB that mostly live
	// so often that it is a tenth of all work.
	heapGrowth = 400
	// leastLimit is what the Go runtime's memory is held to all the same, by more
	// collections; half more than what lives where that is more, and runtimeRest
	// for its stacks and tables and for what is thrown away meanwhile.
	leastLimit  = 48 << 20
	runtimeRest = 24 << 20
)

// collectLess sets the collector so. An operator's own setting is left alone.
func collectLess() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(heapGrowth)
		afterCollection(new(sentinel))
	}
}

// sentinel is something that nothing refers to, so that each collection calls
// its finalizer. The smallest objects share theirs: it is larger.
type sentinel [4]uintptr

// afterCollection sets the limit anew. It may come late: until then the old
// limit costs collections, not memory.
func afterCollection(s *sentinel) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetMemoryLimit(memoryLimit(live[0].Value.Uint64()))
	runtime.SetFinalizer(s, afterCollection)
}

func memoryLimit(live uint64) int64 { return int64(max(leastLimit, live+live/2+runtimeRest)) }
