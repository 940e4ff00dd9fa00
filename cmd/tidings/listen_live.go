package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2" // draws the live view, and reads keys
	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/term"

	"tidings/client"
)

// terminal is where a live view is shown.
type terminal struct{ in, out *os.File }

// liveTerminal tells whether somebody sees what is written, and can press keys.
func liveTerminal(stdout io.Writer) (terminal, bool) {
	out, ok := stdout.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" || !term.IsTerminal(out.Fd()) || !term.IsTerminal(os.Stdin.Fd()) {
		return terminal{}, false
	}
	return terminal{os.Stdin, out}, true
}

// liveView is the view of a terminal: events scroll by as lines, which stay when
// it ends; below them stand the last one, what to do about it, and the keys.
type liveView struct {
	program *tea.Program
	forward *forwarder
	server  string
	stop    context.CancelFunc // ends the listener
	ctx     context.Context    // of what a key has done

	last      *client.Event
	outcome   outcome
	taken     int
	failed    int
	down      bool // the server cannot be reached
	ending    bool // a key has said so
	ended     bool
	resending bool
	width     int
	lines     []string // to be printed above, in this order
	printing  bool
}

// What the view is told.
type (
	postedNews struct {
		event   client.Event
		outcome outcome
		again   bool // by a key
	}
	noteNews    string
	reachNews   bool
	endedNews   struct{} // the listener
	printedNews struct{}
)

func newLiveView(f *forwarder, server string) *liveView {
	return &liveView{forward: f, server: server, width: 80}
}

func (v *liveView) posted(e client.Event, o outcome) error {
	v.program.Send(postedNews{event: e, outcome: o})
	return nil
}

func (v *liveView) note(text string) { v.program.Send(noteNews(text)) }

func (v *liveView) reach(up bool) { v.program.Send(reachNews(up)) }

// during shows the view while run runs. A key ends run; the view ends with it.
func (v *liveView) during(ctx context.Context, at terminal, run func(context.Context) error) error {
	ctx, v.stop = context.WithCancel(ctx)
	defer v.stop()
	v.ctx = ctx
	v.program = tea.NewProgram(v, tea.WithInput(at.in), tea.WithOutput(at.out), tea.WithoutSignalHandler())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx)
		v.program.Send(endedNews{})
	}()
	_, err := v.program.Run()
	v.stop()
	if failure := <-ended; failure != nil || err == nil {
		return failure
	}
	return fmt.Errorf("showing the live view (--plain does without): %w", err)
}

// Init implements [tea.Model].
func (v *liveView) Init() tea.Cmd { return nil }

// Update implements [tea.Model].
func (v *liveView) Update(news tea.Msg) (tea.Model, tea.Cmd) {
	switch news := news.(type) {
	case tea.WindowSizeMsg:
		v.width = max(news.Width, 20)
	case tea.KeyPressMsg:
		return v, v.pressed(news.String())
	case postedNews:
		return v, v.show(news)
	case noteNews:
		return v, v.print(styled(faint, "          "+string(news)))
	case reachNews:
		v.down = !bool(news)
	case printedNews:
		v.printing = false
		return v, v.print()
	case endedNews:
		if len(v.lines) > 0 || v.printing {
			return v, tea.Tick(10*time.Millisecond, func(time.Time) tea.Msg { return news }) // once all is printed
		}
		v.ended = true
		return v, tea.Quit
	}
	return v, nil
}

// pressed does what a key stands for.
func (v *liveView) pressed(key string) tea.Cmd {
	switch key {
	case "q", "ctrl+c", "esc":
		v.ending = true
		v.stop()
	case "ctrl+z":
		return tea.Suspend
	case "r":
		if v.last == nil || v.resending || v.ending {
			return nil
		}
		v.resending = true
		e := *v.last
		return func() tea.Msg { return postedNews{event: e, outcome: v.forward.again(v.ctx, e), again: true} }
	}
	return nil
}

// show takes note of what came of an event.
func (v *liveView) show(news postedNews) tea.Cmd {
	v.last, v.outcome = &news.event, news.outcome
	if news.again {
		v.resending = false
	}
	line := news.outcome.line(news.event)
	if news.again {
		line = news.outcome.lineAgain(news.event)
	}
	switch {
	case !news.outcome.ok():
		v.failed++
		line = styled(red, line)
	case !news.again:
		v.taken++
	}
	return v.print(line)
}

// print prints lines above the view in the order in which they came: a batch at
// a time, as commands of their own may overtake one another.
func (v *liveView) print(lines ...string) tea.Cmd {
	v.lines = append(v.lines, lines...)
	if v.printing || len(v.lines) == 0 {
		return nil
	}
	text := strings.Join(v.lines, "\n")
	v.lines, v.printing = nil, true
	return tea.Sequence(tea.Println(text), func() tea.Msg { return printedNews{} })
}

// View implements [tea.Model].
func (v *liveView) View() tea.View {
	if v.ended {
		return tea.NewView(fmt.Sprintf("%d taken, %d failed\n", v.taken, v.failed))
	}
	rows := []string{styled(faint, strings.Repeat("─", v.width))}
	if v.last == nil {
		rows = append(rows, "waiting for the first event; tidings event publish makes one")
	} else {
		rows = append(rows, "last    "+string(v.last.EventType)+"  "+about(*v.last)+"  "+styled(faint, "webhook-id "+v.last.ID),
			"sent    "+styled(faint, string(bodyOf(*v.last))), "answer  "+v.answer())
		if mend := v.outcome.mend(); mend != "" {
			for i, row := range strings.Split(ansi.Wordwrap(mend, v.width-8, ""), "\n") {
				rows = append(rows, map[bool]string{true: styled(bold, "mend    "), false: "        "}[i == 0]+row)
			}
		}
	}
	state := styled(green, "●") + " listening to "
	switch {
	case v.ending:
		state = styled(faint, "○") + " ending: a post may be under way; it listened to "
	case v.down:
		state = styled(red, "○") + " trying again to reach "
	}
	rows = append(rows, "", fmt.Sprintf("%s%s, posting to %s", state, v.server, v.forward.url),
		fmt.Sprintf("%d taken, %d failed   %s", v.taken, v.failed, v.keys()))
	for i, row := range rows {
		rows[i] = ansi.Truncate(row, v.width, "…")
	}
	return tea.NewView(strings.Join(rows, "\n"))
}

// answer says what came of the last event.
func (v *liveView) answer() string {
	took := "  " + styled(faint, v.outcome.took.Round(time.Millisecond).String())
	switch {
	case v.resending:
		return "sending it once more…"
	case v.outcome.ok():
		return styled(green, v.outcome.answer()) + took
	}
	return styled(red, v.outcome.answer()) + took
}

func (v *liveView) keys() string {
	keys := styled(bold, "q") + " end"
	if v.last != nil {
		keys = styled(bold, "r") + " send the last once more   " + keys
	}
	return keys
}

// lineAgain shows an event that was posted once more by a key.
func (o outcome) lineAgain(e client.Event) string {
	return fmt.Sprintf("%s  %-28s  %s  once more: %s  %v", o.at.Format(time.TimeOnly), e.EventType, about(e), o.answer(), o.took.Round(time.Millisecond))
}

// styled shows text in a colour of every terminal; the library leaves it out
// where none is wanted.
func styled(code, text string) string { return "\x1b[" + code + "m" + text + "\x1b[0m" }
