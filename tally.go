package tidings

import "time"

// Tally counts what became of deliveries in a stretch of time. Tallies are for
// looking at: a server that dies loses those of its last seconds.
type Tally struct {
	At             time.Time // the beginning of the stretch
	Delivered      int       // deliveries that were delivered
	Failed         int       // deliveries that ended as failed
	FailedAttempts int       // attempts that failed, be they tried again or not
	Latency        Latency   // of those delivered
}

// TallyLife is how long tallies are kept.
const TallyLife = 48 * time.Hour

// Add adds the counts of u.
func (t *Tally) Add(u Tally) {
	t.Delivered += u.Delivered
	t.Failed += u.Failed
	t.FailedAttempts += u.FailedAttempts
	for i, n := range u.Latency {
		t.Latency[i] += n
	}
}

// Empty tells whether nothing was counted.
func (t Tally) Empty() bool { return t.Delivered == 0 && t.Failed == 0 && t.FailedAttempts == 0 }

// SuccessRate is the part of the attempts that were answered with 2xx, 0 to 1;
// ok is false where there were none.
func (t Tally) SuccessRate() (rate float64, ok bool) {
	all := t.Delivered + t.FailedAttempts
	if all == 0 {
		return 0, false
	}
	return float64(t.Delivered) / float64(all), true
}

// LatencyBounds are the upper bounds of the classes of a [Latency], but for the
// last one, which has none.
var LatencyBounds = [...]time.Duration{
	10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 10 * time.Second, time.Minute, 10 * time.Minute,
}

// Latency counts deliveries by the time from the acceptance of their event to
// the answer 2xx.
type Latency [len(LatencyBounds) + 1]int

// LatencyClass gives the place of d in a [Latency].
func LatencyClass(d time.Duration) int {
	for i, bound := range LatencyBounds {
		if d <= bound {
			return i
		}
	}
	return len(LatencyBounds)
}

// Percentile gives the latency that the part p (0 to 1) of the deliveries did
// not exceed, straight between the bounds of its class; ok is false where there
// were none. What lies in the last class counts as its lower bound.
func (l Latency) Percentile(p float64) (d time.Duration, ok bool) {
	all := 0
	for _, n := range l {
		all += n
	}
	if all == 0 {
		return 0, false
	}
	rank, below := p*float64(all), 0.0
	lower := time.Duration(0)
	for i, n := range l {
		if i == len(LatencyBounds) {
			break
		}
		upper := LatencyBounds[i]
		if n > 0 && below+float64(n) >= rank {
			part := max(rank-below, 0) / float64(n)
			return lower + time.Duration(part*float64(upper-lower)), true
		}
		below += float64(n)
		lower = upper
	}
	return lower, true
}
