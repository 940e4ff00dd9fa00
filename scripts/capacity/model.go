package main

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
	"time"
)

// figures are what was measured of one installation on PostgreSQL, see
// docs/performance.md: they are this machine's, so change them to yours.
type figures struct {
	NodeMicros     float64 // processor time of a node for an event with one delivery, from request to record
	DatabaseMicros float64 // that of the database server
	TurnMicros     float64 // for how long such an event keeps other nodes from writing
	SendPart       float64 // the part of each of these that a delivery costs whose event is there already
	HistoryBytes   float64 // on disk, of an event with its delivery and attempt, indexes included
	PendingBytes   float64 // on disk, of a delivery that waits
	EndpointBytes  float64 // on disk, of an endpoint with its lane and secret
	LogBytes       float64 // written to the database's log for an event with one delivery
	ConnectMicros  float64 // processor time of a node for a new connection to a receiver
}

// measured are the figures of two shared cores, with many events per request.
var measured = figures{
	NodeMicros:     55,
	DatabaseMicros: 45,
	TurnMicros:     170,
	SendPart:       0.6,
	HistoryBytes:   1100,
	PendingBytes:   700,
	EndpointBytes:  1200,
	LogBytes:       2700,
	ConnectMicros:  500,
}

// Settings of the product that the model needs.
const (
	attemptTimeout = 15 * time.Second
	probeEvery     = 5 * time.Minute  // a failing endpoint is tried at least that often
	slowAttempts   = 2560             // attempts in flight that a node has room for
	idleFor        = 90 * time.Second // for how long a connection to a receiver is kept without use
	idleMost       = 2000             // how many of them a node keeps
)

// demand is what is asked of an installation.
type demand struct {
	Endpoints       float64
	EventsPerSecond float64
	Deliveries      float64       // for each event
	Retention       time.Duration // of events and deliveries
	Outage          time.Duration // in which some receivers answer nothing
	Down            float64       // the part of the endpoints, and of the traffic, that it hits
	Load            float64       // the part of cores and turns that is used without an outage
}

// need is what the demand takes.
type need struct {
	Databases     float64 // servers, each with organisations of its own
	DatabaseCores float64 // of all of them
	NodeCores     float64
	ConnectCores  float64 // of those, for new connections to receivers
	Nodes         float64 // at least, so that attempts that time out find room
	HistoryBytes  float64
	EndpointBytes float64
	LogPerSecond  float64 // bytes
	Probes        float64 // attempts a second at endpoints that are down
	Backlog       float64 // deliveries that wait when the outage ends
	BacklogBytes  float64
	Drain         time.Duration // until they are delivered, beside fresh traffic
}

// plan works out what a demand takes. Each event is counted with one delivery;
// more deliveries cost the sending part again.
func plan(d demand, f figures) need {
	perEvent := 1 + (d.Deliveries-1)*f.SendPart
	rate := d.EventsPerSecond * perEvent // in events with one delivery
	seconds := func(micros float64) float64 { return rate * micros / 1e6 }
	n := need{
		Databases:     math.Ceil(seconds(f.TurnMicros) / d.Load),
		DatabaseCores: math.Ceil(seconds(f.DatabaseMicros) / d.Load),
		NodeCores:     math.Ceil(seconds(f.NodeMicros) / d.Load),
		HistoryBytes:  rate * d.Retention.Seconds() * f.HistoryBytes,
		EndpointBytes: d.Endpoints * f.EndpointBytes,
		LogPerSecond:  rate * f.LogBytes,
		Probes:        d.Endpoints * d.Down / probeEvery.Seconds(),
		Backlog:       d.EventsPerSecond * d.Deliveries * d.Down * d.Outage.Seconds(),
	}
	n.Nodes = math.Max(2*n.Databases, math.Ceil(n.Probes*attemptTimeout.Seconds()/slowAttempts))
	n.ConnectCores = math.Ceil(d.EventsPerSecond * d.Deliveries * (1 - reused(d, n.Nodes)) * f.ConnectMicros / 1e6 / d.Load)
	n.NodeCores += n.ConnectCores
	n.BacklogBytes = n.Backlog * f.PendingBytes
	// The scarcest resource drains: what fresh traffic leaves of it, for each
	// delivery the sending part.
	drain := 0.0
	for _, r := range []struct{ have, micros float64 }{{n.Databases, f.TurnMicros}, {n.DatabaseCores, f.DatabaseMicros}, {n.NodeCores - n.ConnectCores, f.NodeMicros}} {
		drain = math.Max(drain, n.Backlog*f.SendPart*r.micros/1e6/(r.have-seconds(r.micros)))
	}
	n.Drain = time.Duration(drain * float64(time.Second)).Round(time.Minute)
	return n
}

// reused is the part of the deliveries that find a connection to their receiver:
// one came in the time for which it is kept, and it is among those that are.
func reused(d demand, nodes float64) float64 {
	warm := 1 - math.Exp(-d.EventsPerSecond*d.Deliveries/d.Endpoints*idleFor.Seconds())
	return warm * math.Min(1, nodes*idleMost/(d.Endpoints*warm))
}

// print writes the answer as a table of Markdown, as docs/scaling.md has it.
func (n need) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	for _, row := range [][2]string{
		{"databases", number(n.Databases)},
		{"their cores, in all", number(n.DatabaseCores)},
		{"cores of nodes", number(n.NodeCores)},
		{"of it for new connections", number(n.ConnectCores)},
		{"nodes, at least", number(n.Nodes)},
		{"history on disk", bytes(n.HistoryBytes)},
		{"endpoints on disk", bytes(n.EndpointBytes)},
		{"log written a second", bytes(n.LogPerSecond)},
		{"attempts a second at what is down", number(n.Probes)},
		{"backlog at the end of the outage", number(n.Backlog) + " deliveries, " + bytes(n.BacklogBytes)},
		{"its drain", n.Drain.String()},
	} {
		fmt.Fprintf(t, "| %s\t| %s\t|\n", row[0], row[1])
	}
	return t.Flush()
}

func number(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func bytes(v float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	unit := 0
	for ; v >= 1000 && unit < len(units)-1; unit++ {
		v /= 1000
	}
	return fmt.Sprintf("%.3g %s", v, units[unit])
}
