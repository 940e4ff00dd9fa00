// Command tidings issues credentials and tells by webhook what became of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"tidings"
	"tidings/client"
)

// Exit codes, the same for every command.
const (
	exitDone         = 0
	exitFailed       = 1
	exitUsage        = 2
	exitNotFound     = 3
	exitUnauthorized = 4
	exitStorage      = 74 // EX_IOERR: the disk does not keep what it was told to
)

type cli struct {
	Serve   serveCommand   `cmd:"" help:"Run the server: API, issuer and delivery."`
	Client  clientCommand  `cmd:"" help:"Manage the clients that may ask for access tokens; works beside a running server."`
	Key     keyCommand     `cmd:"" help:"Manage the keys that sign an organisation's credentials; works beside a running server."`
	Check   checkCommand   `cmd:"" help:"Prove the store's invariants; works beside a running server."`
	Migrate migrateCommand `cmd:"" help:"Bring the schema of a PostgreSQL up to date, where the servers' role may not."`
	Move    moveCommand    `cmd:"" help:"Move an embedded installation, with all that is pending and all keys, to an empty PostgreSQL."`
	Demo    demoCommand    `cmd:"" help:"Show everything once on this machine: issue credentials and watch each webhook arrive, retried and deduplicated."`
	Bench   benchCommand   `cmd:"" help:"Measure this machine: deliveries a second, latency, processor time and memory, beside a bare loop."`

	Listen   listenCommand   `cmd:"" help:"Receive your organisation's events on this machine, with no tunnel: each is posted to a local receiver, signed."`
	Play     playCommand     `cmd:"" help:"Walk a receiver through good and bad webhooks, and say what it does wrong and how to mend it."`
	Endpoint endpointCommand `cmd:"" help:"Manage the endpoints that receive your organisation's webhooks."`
	Event    eventCommand    `cmd:"" help:"Look at events, and publish those of another issuer."`
	Delivery deliveryCommand `cmd:"" help:"Look at what was sent to whom, and send it again."`
	Issuance issuanceCommand `cmd:"" help:"Offer credentials, and look at what became of the offers."`
	Template templateCommand `cmd:"" help:"Manage the credential templates."`

	Credential credentialCommand `cmd:"" help:"Revoke, suspend and resume credentials that wallets have."`
	Audit      auditCommand      `cmd:"" help:"Look at who changed what."`

	Completion completionCommand `cmd:"" help:"Print what a shell needs to complete commands and flags."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
}

// environment is what a command works with besides its flags.
type environment struct {
	stdout, stderr io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], &environment{stdout: os.Stdout, stderr: os.Stderr}))
}

// run parses and runs one command, and gives the exit code.
func run(ctx context.Context, args []string, env *environment) int {
	var c cli
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("tidings"),
		kong.Description("Issues credentials over OpenID4VCI and tells by signed webhook what became of each offer."),
		kong.UsageOnError(),
		kong.Writers(env.stdout, env.stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Resolvers(fileResolver{}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(env),
	)
	if err != nil {
		fmt.Fprintln(env.stderr, "tidings:", err)
		return exitFailed
	}
	command, err := parser.Parse(args)
	if exited >= 0 { // --help has been answered
		return exited
	}
	if err != nil {
		fmt.Fprintln(env.stderr, "tidings:", err)
		fmt.Fprintln(env.stderr, "Try tidings --help, or --help behind a command.")
		return exitUsage
	}
	if err := command.Run(); err != nil {
		fmt.Fprintln(env.stderr, "tidings:", err)
		return exitCode(err)
	}
	return exitDone
}

// exitCode maps an error to the code that scripts see.
func exitCode(err error) int {
	if usage := (usageError{}); errors.As(err, &usage) {
		return exitUsage
	}
	if no, ok := errors.AsType[*client.Error](err); ok {
		return remoteExitCode(no)
	}
	switch tidings.KindOf(err) {
	case tidings.KindInvalid:
		return exitUsage
	case tidings.KindNotFound:
		return exitNotFound
	case tidings.KindUnavailable:
		return exitStorage
	case tidings.KindUnauthorized, tidings.KindForbidden:
		return exitUnauthorized
	}
	return exitFailed
}

// usageError says that the command line or the configuration is wrong.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

type versionCommand struct{}

// Run prints the version.
func (versionCommand) Run(env *environment) error {
	_, err := fmt.Fprintln(env.stdout, "tidings", version())
	return err
}

// version is the module's version, or the commit that was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "dev"
}
