// Package bench measures a whole installation as its users meet it: a server
// as a process of its own, a publisher and a receiver in this one, real TLS,
// everything durable.
//
// Figures of different machines cannot be compared, ratios can: each run also
// measures what the machine does with a bare loop that signs and posts and
// stores nothing (loop.go). What is measured is asserted to be the whole
// product: durable, verified, guarded, with every attempt on record (assure.go).
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"tidings/internal/localca"
)

// Config says what to measure and how.
type Config struct {
	Binary    string   // the program that serves: this one
	Dir       string   // the data goes below it; must be on a disk
	Database  string   // URL of a PostgreSQL on which databases may be made; empty: the embedded store
	Scenarios []string // names, or what they begin with before a dash; none: all
	Quick     bool     // small sizes: to see that it works
	Sizes     Sizes    // what is zero has its default
	Progress  io.Writer
}

// Sizes are those that take time.
type Sizes struct {
	Window    time.Duration // how long traffic is published for one figure
	Idle      int           // endpoints of the idle server
	Pending   int           // deliveries of the backlog
	History   int           // delivered rows in the store
	Endpoints int           // of the fan-out and of the backlog
}

func (c Config) withDefaults() Config {
	full := Sizes{Window: 4 * time.Second, Idle: 10_000, Pending: 1_000_000, History: 10_000_000, Endpoints: 1000}
	if c.Quick {
		full = Sizes{Window: time.Second, Idle: 500, Pending: 20_000, History: 50_000, Endpoints: 100}
	}
	setDefault(&c.Sizes.Window, full.Window)
	setDefault(&c.Sizes.Idle, full.Idle)
	setDefault(&c.Sizes.Pending, full.Pending)
	setDefault(&c.Sizes.History, full.History)
	setDefault(&c.Sizes.Endpoints, full.Endpoints)
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	return c
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Scenario is one thing to measure.
type Scenario struct {
	Name string
	What string
	Only bool // where it is named: not among all
	run  func(context.Context, *run) error
}

// Scenarios lists all, in the order in which they run.
func Scenarios() []Scenario {
	return []Scenario{
		{Name: "single-1", What: "deliveries a second to 1 endpoint, one event per request", run: rates(1, 1)},
		{Name: "single-100", What: "the same to 100 endpoints of as many organisations", run: rates(100, 1)},
		{Name: "batch-1", What: "deliveries a second to 1 endpoint, 100 events per request", run: rates(1, 100)},
		{Name: "batch-100", What: "the same to 100 endpoints of as many organisations", run: rates(100, 100)},
		{Name: "latency", What: "from the request that publishes to the arrival, at 200 events a second", run: latency},
		{Name: "isolation", What: "the same at 100 endpoints, of which none, 10 and 50 hang", run: isolation},
		{Name: "fanout", What: "deliveries a second where each event goes to 1,000 endpoints", run: fanout},
		{Name: "wallet", What: "whole issuances a second, and how long one takes, at 8 wallets", run: wallets},
		{Name: "idle", What: "memory with 10,000 endpoints and nothing to do", run: idle},
		{Name: "backlog", What: "1,000,000 pending deliveries: start, memory, drain", run: backlog},
		{Name: "history", What: "deliveries a second after 10,000,000 delivered ones", run: history},
		{Name: "nodes", What: "one, two and three servers on one PostgreSQL: deliveries for the same processor time, and the database's part of it", run: nodes},
		{Name: "curves", What: "how the cost grows with fan-out, organisations, history and backlog; only where it is named", run: curves, Only: true},
	}
}

// Row is one line of the result. What a scenario does not measure is zero.
type Row struct {
	Scenario            string  `json:"scenario"`
	Store               string  `json:"store"`
	DeliveriesPerSecond float64 `json:"deliveriesPerSecond"`
	LoopPerSecond       float64 `json:"loopPerSecond"` // the bare loop beside it
	Ratio               float64 `json:"ratio"`         // of the two; of p99s in the isolation's rows
	P50Ms               float64 `json:"p50Ms"`
	P99Ms               float64 `json:"p99Ms"`
	CPUMicrosPerEvent   float64 `json:"cpuMicrosPerEvent"` // of all processes but publisher and receiver, per delivery
	LoopCPUMicros       float64 `json:"loopCpuMicros"`     // of a request of the bare loop, sender and receiver: what the processor is worth meanwhile
	RSSMiB              float64 `json:"rssMiB"`            // of the server, the most that was seen
	Target              string  `json:"target"`            // what is wanted of the row
	Met                 bool    `json:"met"`
}

// run is what the scenarios share.
type run struct {
	cfg      Config
	ca       *localca.CA
	file     localca.Files
	sink     *sink
	postgres *postgres // nil: the embedded store
	rows     []Row
	next     int // names data folders and databases
}

// Run measures the scenarios and hands each row to show as it comes.
func Run(ctx context.Context, cfg Config, show func(Row)) (rows []Row, err error) {
	cfg = cfg.withDefaults()
	chosen, err := choose(cfg.Scenarios)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cfg.Dir, "tidings-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := onDisk(dir); err != nil {
		return nil, err
	}
	cfg.Dir = dir
	b := &run{cfg: cfg}
	if b.ca, err = localca.New(); err != nil {
		return nil, err
	}
	if b.file, err = b.ca.Write(dir); err != nil {
		return nil, err
	}
	if b.sink, err = newSink(b.ca); err != nil {
		return nil, err
	}
	defer b.sink.close()
	if cfg.Database != "" {
		if b.postgres, err = openPostgres(ctx, cfg.Database); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, b.postgres.close()) }()
	}
	b.say("asserting that durability, verification, guard and the record of attempts are on")
	if err := b.assure(ctx); err != nil {
		return nil, fmt.Errorf("what would be measured is not the whole product: %w", err)
	}
	for _, s := range chosen {
		b.say("%s: %s", s.Name, s.What)
		before := len(b.rows)
		if err := s.run(ctx, b); err != nil {
			return b.rows, fmt.Errorf("%s: %w", s.Name, err)
		}
		for _, row := range b.rows[before:] {
			show(row)
		}
	}
	return b.rows, nil
}

func choose(names []string) (out []Scenario, err error) {
	all := Scenarios()
	if len(names) == 0 {
		return slices.DeleteFunc(all, func(s Scenario) bool { return s.Only }), nil
	}
	for _, name := range names {
		before := len(out)
		for _, s := range all {
			if s.Name == name || strings.HasPrefix(s.Name, name+"-") {
				out = append(out, s)
			}
		}
		if len(out) == before {
			return nil, fmt.Errorf("there is no scenario %q; --list shows them", name)
		}
	}
	return out, nil
}

func (b *run) say(format string, args ...any) {
	fmt.Fprintf(b.cfg.Progress, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// store names the store in the rows.
func (b *run) store() string {
	if b.postgres != nil {
		return "postgres"
	}
	return "sqlite"
}

func (b *run) add(r Row) {
	r.Store = b.store()
	b.rows = append(b.rows, r)
}

// target gives the one for the store.
func (b *run) target(sqlite, postgres float64) float64 {
	if b.postgres != nil {
		return postgres
	}
	return sqlite
}
