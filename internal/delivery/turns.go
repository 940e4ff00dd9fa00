package delivery

import "time"

const (
	// turnAttempts is how many attempts a lane starts at its turn: rows of a lane
	// stand together in the store, so that results that come together touch few pages.
	turnAttempts = 32
	// turnTime is when a turn is over at the latest: a lane whose receiver takes its
	// time shall not keep others waiting for all of its attempts.
	turnTime = slowAfter
)

// turns says which lane starts attempts next, of those that may. A lane with a
// backlog has the turn for some attempts: as many as it may run at the same time,
// and then one for each that ends. Meanwhile one that had caught up starts what it
// may run, however many have a backlog; what it has besides waits like theirs.
type turns struct {
	current []*lane // have the turn
	fresh   []*lane // had caught up before
	behind  []*lane // wait for their turn
	favour  bool    // whoever is fresh goes first now
}

// add has a lane wait that may start an attempt.
func (t *turns) add(l *lane, now time.Time) {
	l.queued = true
	switch {
	case l.turn > 0 && now.Before(l.turnEnds):
		t.current = append(t.current, l)
	case l.behind:
		t.behind = append(t.behind, l)
	default:
		t.fresh = append(t.fresh, l)
	}
}

// any tells whether a lane waits.
func (t *turns) any() bool { return len(t.current)+len(t.fresh)+len(t.behind) > 0 }

// next takes the lane that comes next; nil if there is none. A turn is finished
// before another one begins. Those that are fresh and the others go one by one, so
// that neither waits for the other to have nothing to do.
func (t *turns) next(now time.Time) *lane {
	order := [...]*[]*lane{&t.fresh, &t.current, &t.behind}
	if t.favour = !t.favour; !t.favour {
		order = [...]*[]*lane{&t.current, &t.behind, &t.fresh}
	}
	for _, lanes := range order {
		l := shift(lanes)
		for l != nil && l.gone {
			l = shift(lanes)
		}
		if l == nil {
			continue
		}
		switch lanes {
		case &t.fresh:
			l.turn, l.turnEnds = l.limit(), now.Add(turnTime)
		case &t.behind:
			l.turn, l.turnEnds = turnAttempts, now.Add(turnTime)
		}
		l.queued, l.behind = false, true
		return l
	}
	return nil
}

// shift takes the first lane, nil if there is none.
func shift(lanes *[]*lane) *lane {
	if len(*lanes) == 0 {
		*lanes = nil
		return nil
	}
	l := (*lanes)[0]
	*lanes = (*lanes)[1:]
	return l
}
