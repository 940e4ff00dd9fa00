// Command capacity tells what a large installation takes: cores, databases and
// bytes, by the figures that were measured of a small one. See docs/scaling.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	d := example
	flag.Float64Var(&d.Endpoints, "endpoints", d.Endpoints, "endpoints of all organisations")
	flag.Float64Var(&d.EventsPerSecond, "events", d.EventsPerSecond, "events a second")
	flag.Float64Var(&d.Deliveries, "deliveries", d.Deliveries, "deliveries for each event")
	flag.DurationVar(&d.Retention, "retention", d.Retention, "for how long events are kept")
	flag.DurationVar(&d.Outage, "outage", d.Outage, "for how long some receivers answer nothing")
	flag.Float64Var(&d.Down, "down", d.Down, "the part of the endpoints that this hits")
	flag.Float64Var(&d.Load, "load", d.Load, "the part of cores and turns that is used without an outage")
	f := measured
	flag.Float64Var(&f.NodeMicros, "node-micros", f.NodeMicros, "processor time of a node for an event with its delivery, µs")
	flag.Float64Var(&f.DatabaseMicros, "database-micros", f.DatabaseMicros, "that of the database, µs")
	flag.Float64Var(&f.TurnMicros, "turn-micros", f.TurnMicros, "for how long it keeps others from writing, µs")
	flag.Float64Var(&f.ConnectMicros, "connect-micros", f.ConnectMicros, "that of a node for a new connection to a receiver, µs")
	flag.Parse()
	if d.Endpoints <= 0 || d.EventsPerSecond <= 0 || d.Deliveries < 1 || d.Down < 0 || d.Down > 1 || d.Load <= 0 || d.Load >= 1 {
		fmt.Fprintln(os.Stderr, "capacity: rates are more than 0, deliveries at least 1, down between 0 and 1, load between 0 and 1 and neither")
		os.Exit(2)
	}
	if err := plan(d, f).print(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "capacity:", err)
		os.Exit(1)
	}
}

// example is the demand of docs/scaling.md: ten million endpoints and 100,000
// events a second, of which a region with a third of the receivers is away for an
// hour.
var example = demand{
	Endpoints: 10e6, EventsPerSecond: 100e3, Deliveries: 1, Retention: 30 * 24 * time.Hour, Outage: time.Hour, Down: 1.0 / 3, Load: 0.6,
}
