package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"tidings/internal/bench"
)

type benchCommand struct {
	List      bool          `help:"List the scenarios and measure nothing."`
	Scenario  []string      `placeholder:"NAME,…" help:"Measure these only."`
	Quick     bool          `help:"Small sizes: to see that it works; the figures mean little."`
	JSON      string        `name:"json" placeholder:"FILE" help:"Write the figures as JSON, too."`
	Database  string        `placeholder:"URL" help:"Measure on this PostgreSQL instead of the embedded database; its user must be one that may create databases, which are dropped again."`
	Plots     string        `placeholder:"DIR" help:"Draw the curves as SVG files into this folder, too. They are measured by the scenario curves."`
	Dir       string        `placeholder:"DIR" help:"Where the data goes meanwhile; on a disk. Default: the system's folder for temporary files."`
	Window    time.Duration `placeholder:"4s" help:"How long traffic is published for one figure."`
	Idle      int           `placeholder:"10000" help:"Endpoints of the idle server."`
	Pending   int           `placeholder:"1000000" help:"Deliveries of the backlog."`
	History   int           `placeholder:"10000000" help:"Delivered rows in the store."`
	Endpoints int           `placeholder:"1000" help:"Endpoints of the fan-out and of the backlog."`
}

// Help says what the benchmark does.
func (benchCommand) Help() string {
	return `Starts servers as processes of this program, on loopback and on data of their own, publishes, receives, and prints a table. Everything is durable, every certificate is verified, the address guard is on and each attempt is on record: that is asserted first.

"loop" is what this machine does with a bare loop that signs and posts over TLS and stores nothing, measured beside each figure; "ratio" is what holds on other machines. "CPU µs" is what all processes but publisher and receiver spend on a delivery. See docs/performance.md.`
}

// Run measures, and prints each row as it comes.
func (c benchCommand) Run(ctx context.Context, env *environment) error {
	if c.List {
		return listScenarios(env.stdout)
	}
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	if err := bench.Header(env.stdout); err != nil {
		return err
	}
	rows, err := bench.Run(ctx, bench.Config{Binary: binary, Dir: c.Dir, Database: c.Database, Scenarios: c.Scenario, Quick: c.Quick, Progress: env.stderr,
		Sizes: bench.Sizes{Window: c.Window, Idle: c.Idle, Pending: c.Pending, History: c.History, Endpoints: c.Endpoints},
	}, func(r bench.Row) { r.Print(env.stdout) })
	if err != nil {
		return err
	}
	return c.write(rows)
}

// write writes what was measured to where it is wanted.
func (c benchCommand) write(rows []bench.Row) error {
	if c.JSON != "" {
		text, err := json.MarshalIndent(rows, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.JSON, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if c.Plots == "" {
		return nil
	}
	return bench.Plots(rows, c.Plots)
}

func listScenarios(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range bench.Scenarios() {
		fmt.Fprintf(t, "%s\t%s\n", s.Name, s.What)
	}
	return t.Flush()
}
