package apptest_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"tidings/internal/app"
	"tidings/internal/apptest"
	"tidings/internal/pgtest"
)

// health gives the status of a health route.
func health(t *testing.T, a *apptest.API, path string) int {
	t.Helper()
	answer, err := a.HTTP.Get(a.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.StatusCode
}

// between is a way to a PostgreSQL that can be cut, or hang.
type between struct {
	t      *testing.T
	url    string // of the database, by this way
	socket string // of the PostgreSQL

	mu    sync.Mutex
	free  *sync.Cond
	hangs bool
	cut   bool
	conns map[net.Conn]bool
}

func newBetween(t *testing.T, database string) *between {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	b := &between{t: t, socket: q.Get("host") + "/.s.PGSQL.5432", conns: map[net.Conn]bool{}}
	b.free = sync.NewCond(&b.mu)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		b.set(true, false)
	})
	q.Del("host")
	u.Host, u.RawQuery = l.Addr().String(), q.Encode()
	b.url = u.String()
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			b.join(from)
		}
	}()
	return b
}

// join carries what both sides say.
func (b *between) join(from net.Conn) {
	to, err := net.Dial("unix", b.socket)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || b.cut {
		from.Close()
		if err == nil {
			to.Close()
		}
		return
	}
	b.conns[from], b.conns[to] = true, true
	go b.carry(to, from)
	go b.carry(from, to)
}

func (b *between) carry(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		b.mu.Lock()
		for b.hangs {
			b.free.Wait()
		}
		b.mu.Unlock()
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// set cuts the way, has it hang, or frees it again.
func (b *between) set(cut, hangs bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut, b.hangs = cut, hangs
	if cut {
		for c := range b.conns {
			c.Close()
		}
		clear(b.conns)
	}
	b.free.Broadcast()
}

// While PostgreSQL is away, or hangs, the server lives and is not ready; once it
// is back, so is the server, without a restart.
func TestReadyTellsThatPostgreSQLIsAway(t *testing.T) {
	way := newBetween(t, pgtest.NewDatabase(t, pgtest.Start(t)))
	a := apptest.New(t, func(c *app.Config) { c.Database, c.Data = way.url, "" })
	for _, trouble := range []struct {
		name       string
		cut, hangs bool
	}{{"away", true, false}, {"hanging", false, true}} {
		a.Await("the server is ready", func() bool { return health(t, a.API, "/readyz") == http.StatusOK })
		way.set(trouble.cut, trouble.hangs)
		begun := time.Now()
		if status := health(t, a.API, "/readyz"); status != http.StatusServiceUnavailable {
			t.Errorf("/readyz is %d with PostgreSQL %s", status, trouble.name)
		}
		t.Logf("%s: told after %v", trouble.name, time.Since(begun).Round(time.Millisecond))
		if status := health(t, a.API, "/healthz"); status != http.StatusOK {
			t.Errorf("/healthz is %d with PostgreSQL %s", status, trouble.name)
		}
		way.set(false, false)
	}
	a.Await("the server is ready again", func() bool { return health(t, a.API, "/readyz") == http.StatusOK })
	receiver := apptest.NewReceiver(t, a.CA, nil)
	a.Await("it takes writes again", func() bool {
		status, _, err := a.Request("POST", "/endpoints", apptest.Object{"url": receiver.URL})
		return err == nil && status == http.StatusCreated
	})
	a.Publish("openid4vc.issuance.offered", "one")
	receiver.Wait(1)
}

// The log is one line of text or JSON for each thing, by setting.
func TestLogIsTextOrJSON(t *testing.T) {
	for _, row := range []struct {
		name  string
		setup apptest.Setup
		json  bool
	}{
		{"by default", apptest.Setup{}, false},
		{"flag", apptest.Setup{Flags: []string{"--log-format=json"}}, true},
		{"environment", apptest.Setup{Env: []string{"TIDINGS_LOG_FORMAT=json"}}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := apptest.Serve(t, row.setup)
			p.Call("GET", "/endpoints", nil, http.StatusOK, nil)
			p.Stop()
			found := false
			for line := range strings.Lines(p.Logs.String()) {
				var fields map[string]any
				err := json.Unmarshal([]byte(line), &fields)
				if (err == nil) != row.json {
					t.Errorf("%q", line)
				}
				if row.json {
					found = found || fields["msg"] == "request" && fields["route"] == "/endpoints" && fields["status"] == 200.0 &&
						fields["client"] == apptest.ClientID && fields["level"] == "INFO" && fields["time"] != nil
				} else {
					found = found || strings.Contains(line, "msg=request method=GET route=/endpoints status=200") && strings.HasPrefix(line, "time=")
				}
			}
			if !found {
				t.Errorf("the request has no line in\n%s", p.Logs.Tail())
			}
		})
	}
}
