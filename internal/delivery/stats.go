package delivery

// LaneState says what a lane is at.
type LaneState string

// The states of a lane that is in memory. Lanes with nothing to do are forgotten
// after a minute.
const (
	LaneIdle     LaneState = "idle"     // nothing is pending
	LaneSending  LaneState = "sending"  // attempts are in flight
	LaneWaiting  LaneState = "waiting"  // for a due time, a pause, or its turn
	LaneProbing  LaneState = "probing"  // its endpoint fails: one delivery at a time
	LaneDisabled LaneState = "disabled" // its endpoint is disabled and collects
)

// LaneStates lists every state, for those who count by it.
var LaneStates = []LaneState{LaneIdle, LaneSending, LaneWaiting, LaneProbing, LaneDisabled}

// Stats is what an engine was at when it last looked at all of its lanes.
type Stats struct {
	InFlight int // attempts
	Lanes    map[LaneState]int
}

// Stats gives what the engine was at some seconds ago, at most. Any goroutine
// may ask.
func (e *Engine) Stats() Stats {
	if s := e.stats.Load(); s != nil {
		return *s
	}
	return Stats{}
}

// count looks at all lanes.
func (e *Engine) count() {
	s := Stats{InFlight: e.flight.count(), Lanes: map[LaneState]int{}}
	for _, l := range e.lanes {
		s.Lanes[l.state()]++
	}
	e.stats.Store(&s)
}

func (l *lane) state() LaneState {
	switch {
	case l.target != nil && !l.target.Enabled:
		return LaneDisabled
	case l.probing():
		return LaneProbing
	case l.flying > 0:
		return LaneSending
	case l.quiet():
		return LaneIdle
	}
	return LaneWaiting
}
