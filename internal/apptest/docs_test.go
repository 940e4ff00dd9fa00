package apptest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/server"
)

const docsFolder = "../../docs/"

// docsPatience is how long one command of a page may take.
const docsPatience = time.Minute

// docsBlock is what stands between fences, with its line on the page.
type docsBlock struct {
	line int
	text string
}

func docsBlocks(t *testing.T, page string) (all []docsBlock) {
	t.Helper()
	text, err := os.ReadFile(docsFolder + page)
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			inside = !inside
			if inside {
				all = append(all, docsBlock{line: i + 2})
			}
		case inside:
			all[len(all)-1].text += line + "\n"
		}
	}
	return all
}

// docsExample is a command with the answer that the page shows below it.
type docsExample struct {
	docsBlock
	answer string
	route  server.Route
}

var (
	docsMethod = regexp.MustCompile(`-X ([A-Z]+)`)
	docsPath   = regexp.MustCompile(`\$HOST` + server.Prefix + `([^"?]*)`)
)

// docsRoute gives the route that a command asks, by the table. A pattern's
// words go before its placeholders, as in the server.
func docsRoute(command string) (found server.Route, ok bool) {
	method, path := http.MethodGet, docsPath.FindStringSubmatch(command)
	if m := docsMethod.FindStringSubmatch(command); m != nil {
		method = m[1]
	}
	if path == nil {
		return found, false
	}
	for _, r := range server.Table() {
		pattern := regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllString(r.Pattern, `[^/]+`)
		if r.Method != method || !regexp.MustCompile("^"+pattern+"$").MatchString(path[1]) {
			continue
		}
		if !ok || strings.Count(r.Pattern, "{") < strings.Count(found.Pattern, "{") {
			found, ok = r, true
		}
	}
	return found, ok
}

func docsExamples(t *testing.T, page string) (all []docsExample) {
	t.Helper()
	blocks := docsBlocks(t, page)
	for i, b := range blocks {
		if !strings.HasPrefix(b.text, "curl ") {
			continue
		}
		e := docsExample{docsBlock: b}
		var ok bool
		if e.route, ok = docsRoute(b.text); !ok {
			t.Errorf("%s:%d: the table has no such route: %s", page, b.line, b.text)
			continue
		}
		if i+1 == len(blocks) || strings.HasPrefix(blocks[i+1].text, "curl ") {
			t.Errorf("%s:%d: no answer stands below the command", page, b.line)
			continue
		}
		e.answer = blocks[i+1].text
		all = append(all, e)
	}
	return all
}

// docsShell runs the commands of a page, one after the other.
type docsShell struct {
	t       *testing.T
	env     []string
	headers string            // the file into which curl writes an answer's head
	fresh   map[string]string // what stands for the ids and times of the page
}

func newDocsShell(t *testing.T, a *apptest.App) *docsShell {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("The examples of docs/api.md are run by curl. Please install the package curl:  sudo apt-get install -y curl")
	}
	dir := t.TempDir()
	files, err := a.CA.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &docsShell{t: t, headers: filepath.Join(dir, "headers"), fresh: map[string]string{}}
	settings := fmt.Sprintf("silent\nshow-error\nnoproxy = \"*\"\ndump-header = %q\n", s.headers)
	if err := os.WriteFile(filepath.Join(dir, ".curlrc"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = append(os.Environ(), "CURL_HOME="+dir, "CURL_CA_BUNDLE="+files.CA, "HOST="+a.URL, "TOKEN="+a.Token())
	return s
}

// run runs a command and gives what it prints with the status of the answer.
// A command that does not end by itself is ended after so many lines.
func (s *docsShell) run(command string, endless bool, lines int) (output string, status int, err error) {
	for shown, now := range s.fresh {
		command = strings.ReplaceAll(command, shown, now)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), docsPatience)
	defer cancel()
	// exec: then it is curl itself that is ended.
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+command)
	out, problem := &docsOutput{}, &bytes.Buffer{}
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, out, problem
	if endless {
		out.lines, out.enough = lines, cancel
	}
	err = cmd.Run()
	if endless && out.lines <= 0 {
		err = nil
	}
	if err != nil {
		return "", 0, fmt.Errorf("%w: %s", err, problem)
	}
	head, err := os.ReadFile(s.headers)
	if err != nil {
		return "", 0, err
	}
	if _, err := fmt.Sscanf(string(head), "HTTP/%s %d", new(string), &status); err != nil {
		return "", 0, fmt.Errorf("no status in %q: %w", head, err)
	}
	output = out.text.String()
	if endless { // what came behind may be half a line
		output = strings.Join(strings.SplitAfter(output, "\n")[:lines], "")
	}
	return output, status, nil
}

// docsOutput keeps what is printed and calls enough once it has so many lines.
type docsOutput struct {
	text   bytes.Buffer
	lines  int
	enough func()
}

func (o *docsOutput) Write(p []byte) (int, error) {
	o.lines -= bytes.Count(p, []byte("\n"))
	if o.enough != nil && o.lines <= 0 {
		o.enough()
	}
	return o.text.Write(p)
}

// docsMore is the member by which a page says that an object has more members.
const docsMore = "…"

// docsValue reads an answer as it is shown: in it, "…" stands for members or
// elements that are left out.
func docsValue(text string) (v any, err error) {
	text = regexp.MustCompile(`,\s*…\s*\}`).ReplaceAllString(text, `,"`+docsMore+`":null}`)
	text = regexp.MustCompile(`,\s*…\s*\]`).ReplaceAllString(text, `]`)
	err = json.Unmarshal([]byte(text), &v)
	return v, err
}

// docsEvents turns server-sent events into a list of objects, so that they
// can be compared as JSON is.
func docsEvents(text string) (any, error) {
	var all []any
	for event := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		members := map[string]any{}
		for line := range strings.SplitSeq(event, "\n") {
			name, value, ok := strings.Cut(line, ": ")
			if !ok || name == "" {
				continue // a comment
			}
			members[name] = value
			if name == "data" {
				data, err := docsValue(value)
				if err != nil {
					return nil, err
				}
				members[name] = data
			}
		}
		if members["data"] != nil { // else it is only a place to go on from
			all = append(all, members)
		}
	}
	return all, nil
}

// docsDiffer tells where two values differ in shape. null fits everything, as
// it stands for what is not there yet; of a list the first element counts.
func docsDiffer(at string, shown, got any) (found []string) {
	differ := func() []string { return []string{fmt.Sprintf("%s is %v, but shown as %v", at, got, shown)} }
	if shown == nil || got == nil {
		return nil
	}
	switch shown := shown.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok {
			return differ()
		}
		_, more := shown[docsMore]
		for _, name := range slices.Sorted(maps.Keys(got)) {
			if _, ok := shown[name]; !ok && !more {
				found = append(found, at+"/"+name+" is there, but not shown")
			}
		}
		for _, name := range slices.Sorted(maps.Keys(shown)) {
			if value, ok := got[name]; ok {
				found = append(found, docsDiffer(at+"/"+name, shown[name], value)...)
			} else if name != docsMore {
				found = append(found, at+"/"+name+" is shown, but not there")
			}
		}
		return found
	case []any:
		got, ok := got.([]any)
		if !ok || (len(got) == 0) != (len(shown) == 0) {
			return differ()
		}
		if len(got) == 0 {
			return nil
		}
		return docsDiffer(at+"/0", shown[0], got[0])
	}
	if fmt.Sprintf("%T", shown) != fmt.Sprintf("%T", got) {
		return differ()
	}
	return nil
}

// learn has the ids that an answer shows stand for those that came now, for
// the commands below: the object's own, or of the first one in a list, and those
// of its credentials.
func (s *docsShell) learn(shown, got any) {
	ids := func(v any) (out []string) {
		answer, _ := v.(map[string]any)
		data, _ := answer["data"].(map[string]any)
		if list, _ := answer["data"].([]any); len(list) > 0 {
			data, _ = list[0].(map[string]any)
		}
		credentials, _ := data["credentials"].([]any)
		for _, object := range append([]any{data}, credentials...) {
			object, _ := object.(map[string]any)
			id, _ := object["id"].(string)
			out = append(out, id)
		}
		return out
	}
	before, now := ids(shown), ids(got)
	for k := range min(len(before), len(now)) {
		if a, b := before[k], now[k]; a != "" && b != "" && a != b {
			s.fresh[a] = b
		}
	}
}

// check runs an example and compares its answer with the one that is shown.
func (s *docsShell) check(e docsExample) error {
	read, stream := docsValue, e.route.Pattern == "/events/stream"
	if stream {
		read = docsEvents
	}
	shown, err := read(e.answer)
	if err != nil {
		return fmt.Errorf("what is shown cannot be read: %w", err)
	}
	output, status, err := s.run(e.text, stream, strings.Count(e.answer, "\n"))
	if err != nil {
		return err
	}
	got, err := read(output)
	if err != nil {
		return fmt.Errorf("the answer cannot be read: %w in %q", err, output)
	}
	if object, _ := shown.(map[string]any); object["errors"] != nil {
		if status/100 != 4 {
			return fmt.Errorf("status %d, but an error is shown", status)
		}
	} else if status != e.route.Status {
		return fmt.Errorf("status %d, but the table says %d: %s", status, e.route.Status, output)
	}
	if differ := docsDiffer("", shown, got); differ != nil {
		return errors.New(strings.Join(differ, "\n") + "\nin " + output)
	}
	s.learn(shown, got)
	return nil
}

// docsWorld makes what the page speaks of before it has made it itself.
func docsWorld(t *testing.T, a *apptest.App, s *docsShell) {
	t.Helper()
	receiver := apptest.NewReceiver(t, a.CA, nil)
	a.Call("POST", "/endpoints", apptest.Object{"id": "0g3edzvb0x", "url": receiver.URL}, http.StatusCreated, nil)
	first := a.Publish("openid4vc.issuance.completed", "cmfwfjxdq003js601bmgy9tva")
	a.Publish("openid4vc.issuance.completed", "order-0")
	var deliveries []struct{ ID, Status string }
	a.Await("both events are delivered", func() bool {
		deliveries = list[struct{ ID, Status string }](a.API, "/deliveries?filter%5Bstatus%5D=delivered")
		return len(deliveries) == 2
	})
	s.fresh["c01whnacwzh6v40kshgd5znvb"] = first
	s.fresh["c01whnd51xxrsx7acfsruxsek"] = deliveries[1].ID // newest first
	s.fresh["2026-11-23T00:00:00Z"] = time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
}

func TestDocsOfTheAPIAnswerAsShown(t *testing.T) {
	a := apptest.New(t, func(c *app.Config) { c.Sandbox = true })
	s := newDocsShell(t, a)
	docsWorld(t, a, s)
	run := map[string]bool{}
	for _, e := range docsExamples(t, "api.md") {
		run[e.route.Method+" "+e.route.Pattern] = true
		if err := s.check(e); err != nil {
			t.Errorf("api.md:%d: %s%v", e.line, e.text, err)
		}
	}
	for _, r := range server.Table() {
		if !run[r.Method+" "+r.Pattern] {
			t.Errorf("api.md shows no curl for %s %s", r.Method, r.Pattern)
		}
	}
}

// Its five minutes begin with an empty server.
func TestTheREADMEAnswersAsShown(t *testing.T) {
	a := apptest.New(t)
	s := newDocsShell(t, a)
	examples := docsExamples(t, "../README.md")
	if len(examples) < 6 {
		t.Fatalf("the README has %d examples", len(examples))
	}
	for _, e := range examples {
		if e.route.Pattern == "/deliveries" {
			a.Await("the event was sent once", func() bool {
				l := list[managedDelivery](a.API, "/deliveries")
				return len(l) == 1 && l[0].AttemptCount == 1
			})
		}
		if err := s.check(e); err != nil {
			t.Errorf("README.md:%d: %s%v", e.line, e.text, err)
		}
	}
}

// backupDocs gives the commands of the page's backup that hold a word, in the
// places of the test.
func backupDocs(t *testing.T, p *apptest.Process, backups, word string) string {
	t.Helper()
	for _, b := range docsBlocks(t, "operating.md") {
		if strings.Contains(b.text, word) {
			return strings.NewReplacer("/var/lib/tidings", p.Dir, "/var/backups", backups,
				"bin/tidings", apptest.Binary(t, false)).Replace(b.text)
		}
	}
	t.Fatalf("operating.md has no commands with %q", word)
	return ""
}

func runBackupDocs(t *testing.T, dir, commands string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), docsPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", commands)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s%s", err, commands, out)
	}
}

// backedUp is a server with deliveries that are pending as long as the receiver
// is down.
type backedUp struct {
	*apptest.Process
	receiver *apptest.Receiver
	up       *switchable
	pending  []string // the events
}

func newBackedUp(t *testing.T) *backedUp {
	t.Helper()
	retries := strings.TrimSuffix(strings.Repeat("2s,", 20), ",")
	b := &backedUp{Process: apptest.Serve(t, apptest.Setup{Flags: []string{"--retry-schedule=" + retries}})}
	b.up = answering(http.StatusServiceUnavailable)
	b.receiver = apptest.NewReceiver(t, b.CA, b.up.answer)
	b.Register(b.receiver.URL)
	for i := range 3 {
		b.pending = append(b.pending, b.Publish("openid4vc.issuance.completed", fmt.Sprintf("order-%d", i)))
	}
	return b
}

// restored starts the server on what was restored: it knows nothing of what
// came after the backup, and sends what was pending.
func (b *backedUp) restored(t *testing.T, later string) {
	t.Helper()
	for path, want := range map[string]os.FileMode{b.Dir: 0o700, filepath.Join(b.Dir, "tidings.db"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Fatalf("what was restored must have mode %o: %v, %v", want, info, err)
		}
	}
	before := len(b.receiver.Received())
	b.up.status.Store(http.StatusNoContent)
	b.Start()
	b.Call("GET", "/events/"+later, nil, http.StatusNotFound, nil)
	b.receiver.Until(func(got []apptest.Received) bool {
		ids := idsOf(got[before:])
		return !slices.ContainsFunc(b.pending, func(id string) bool { return !slices.Contains(ids, id) })
	})
	b.Await("nothing is pending any more", func() bool {
		return len(list[struct{ ID string }](b.API, "/deliveries?filter%5Bstatus%5D=delivered")) == len(b.pending)
	})
	b.Check()
}

func (b *backedUp) stopped(t *testing.T) {
	t.Helper()
	if code := b.Stop(); code != 0 {
		t.Fatalf("the server ends with %d", code)
	}
}

func TestDocsOfBackupRestoreACopyOfTheFolder(t *testing.T) {
	b, dir := newBackedUp(t), t.TempDir()
	b.stopped(t)
	runBackupDocs(t, dir, backupDocs(t, b.Process, dir, "cp -Rp /var/lib"))
	b.Start()
	later := b.Publish("openid4vc.issuance.completed", "later")
	b.stopped(t)
	runBackupDocs(t, dir, backupDocs(t, b.Process, dir, "mv /var/lib"))
	b.restored(t, later)
}

// The page's other way is that of the sqlite3 shell, beside the running server.
// A machine without the shell has only the way above.
func TestDocsOfBackupRestoreWhatSQLiteCopied(t *testing.T) {
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Fatal("this test runs the sqlite3 shell: install it (apt-get install sqlite3), or run make test, which does")
	}
	b, dir := newBackedUp(t), t.TempDir()
	runBackupDocs(t, dir, backupDocs(t, b.Process, dir, "VACUUM INTO"))
	runBackupDocs(t, dir, backupDocs(t, b.Process, dir, "mkdir -m 700 restored"))
	later := b.Publish("openid4vc.issuance.completed", "later")
	b.stopped(t)
	runBackupDocs(t, dir, fmt.Sprintf("mv %q %q && mv restored %q", b.Dir, b.Dir+".old", b.Dir))
	b.restored(t, later)
}
