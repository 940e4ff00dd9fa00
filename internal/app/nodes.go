package app

import (
	"context"
	"net"
	"os"
	"strings"
	"time"

	"tidings/internal/delivery"
	"tidings/internal/store"
)

// home names the place of this process: the address where it listens, in a
// network of this machine since its start. No other process can be there at the
// same time. Empty where the system does not tell.
func home(l net.Listener) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	network, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + network + " " + l.Addr().String()
}

const (
	// renewEvery is how often a node renews its lease and looks whether it holds its
	// share.
	renewEvery = time.Second
	// leaveTimeout bounds the last word of a node that stops.
	leaveTimeout = 5 * time.Second
)

// ears take in what other nodes did.
func (a *App) ears() store.Ears {
	return store.Ears{
		Wakes:  a.engine.Wake,
		Missed: func() { a.engine.Look(delivery.Doubt{Lanes: true, Endpoints: true}) },
		Shards: a.onFreed,
	}
}

// nodes tells how many nodes live.
func (a *App) nodes() int {
	n, _ := a.Store.Nodes()
	return n
}

// onFreed has the node look at once what it may take or give free.
func (a *App) onFreed() {
	select {
	case a.freed <- struct{}{}:
	default: // it is known
	}
}

// keepShards keeps this node's share of the shards, and tells the engine, until
// the engine has stopped; then it gives all of them free. From the end of
// stopping on it takes none, and gives free what it has: told is closed once it has
// said so to the others, or tried.
func (a *App) keepShards(stopping context.Context, stopped <-chan struct{}, told func()) {
	defer told()
	ctx, end := context.WithoutCancel(stopping), stopping.Done()
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	failing, changes := false, int64(0)
	for {
		leaving := stopping.Err() != nil
		held, ok, err := a.Store.KeepLease(ctx, a.engine.Free(), leaving)
		if !ok && err == nil {
			return // this node holds everything
		}
		if leaving {
			told()
		}
		if (err != nil) != failing {
			if failing = err != nil; failing {
				a.cfg.Log.Error("the lease of this node cannot be renewed: nothing is sent once it runs out", "error", err)
			} else {
				a.cfg.Log.Info("the lease of this node is renewed again")
			}
		}
		if err == nil {
			a.engine.Hold(held)
		}
		select {
		case <-tick.C:
			if held.Others {
				deaf := !a.Store.Listens()
				a.engine.Look(delivery.Doubt{Lanes: deaf, Endpoints: deaf && held.Changes != changes})
				changes = held.Changes
			}
		case <-a.freed:
		case <-end:
			end = nil
		case <-stopped:
			ctx, cancel := context.WithTimeout(ctx, leaveTimeout)
			defer cancel()
			if err := a.Store.Leave(ctx); err != nil {
				a.cfg.Log.Error("the shards of this node are not given free: others take them when its lease runs out", "error", err)
			}
			return
		}
	}
}
