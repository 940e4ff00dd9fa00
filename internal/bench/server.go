package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tidings/client"
)

// The first client of every server.
const (
	clientID     = "bench-client"
	clientSecret = "bench-client-secret-0123456789"
)

// server is the product as a process, on data of its own. It can be stopped,
// killed and started again.
type server struct {
	b        *run
	data     string
	database string // its URL; empty: the embedded one in the data folder
	url      string // the same in all its lives: on PostgreSQL it is the place that a node has back at once
	public   string // the installation's, where that is another node's
	cmd      *exec.Cmd
	ended    chan error
	spent    time.Duration // processor time of earlier lives
	http     *http.Client
	peers    []*server // other nodes on the same database
}

// newServer starts a server on a fresh store.
func (b *run) newServer(ctx context.Context) (_ *server, err error) {
	b.next++
	s := &server{b: b, data: filepath.Join(b.cfg.Dir, fmt.Sprint("data-", b.next)), http: b.newHTTP(64)}
	if s.url, err = freeURL(); err != nil {
		return nil, err
	}
	if b.postgres != nil {
		if s.database, err = b.postgres.create(ctx, b.next); err != nil {
			return nil, err
		}
	}
	return s, s.start(ctx)
}

// freeURL gives one that nobody listens on at the moment.
func freeURL() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return "https://" + l.Addr().String(), l.Close()
}

// newHTTP gives a client that trusts the run's authority and keeps so many
// connections.
func (b *run) newHTTP(conns int) *http.Client {
	return &http.Client{Transport: b.newTransport(conns), Timeout: time.Minute}
}

// launch starts the process and does not wait until it serves.
func (s *server) launch() error {
	log, err := os.Create(s.data + ".log")
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.b.cfg.Binary, "serve", "--listen="+strings.TrimPrefix(s.url, "https://"), "--public-url="+cmp.Or(s.public, s.url),
		"--tls-cert="+s.b.file.Cert, "--tls-key="+s.b.file.Key, "--egress-ca="+s.b.file.CA, "--egress-allow=127.0.0.0/8",
		"--quota-endpoints=100000", "--disable-after=0")
	s.cmd.Env = append(s.environment(), "TIDINGS_CLIENT_ID="+clientID, "TIDINGS_CLIENT_SECRET="+clientSecret)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	dieTogether(s.cmd)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.ended = make(chan error, 1)
	go func() { s.ended <- s.cmd.Wait() }()
	return nil
}

// environment is ours without settings of the product, but for where its data
// is: a URL with a password shall not be seen among the processes.
func (s *server) environment() []string {
	out := []string{"TIDINGS_DATA=" + s.data}
	if s.database != "" {
		out = []string{"TIDINGS_DATABASE=" + s.database}
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TIDINGS_") {
			out = append(out, v)
		}
	}
	return out
}

// start starts the process and waits until it serves.
func (s *server) start(ctx context.Context) error {
	if err := s.launch(); err != nil {
		return err
	}
	return s.await(ctx)
}

// await waits until the server serves.
func (s *server) await(ctx context.Context) error {
	for {
		log, err := os.ReadFile(s.data + ".log")
		if err != nil {
			return err
		}
		if bytes.Contains(log, []byte("msg=serving ")) {
			return nil
		}
		select {
		case err := <-s.ended:
			return fmt.Errorf("the server ended: %w: %s", err, bytes.TrimSpace(log))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// stop stops the process as an operator does. It must end well.
func (s *server) stop() error {
	s.spent += cpuOf(s.cmd.Process.Pid)
	s.http.CloseIdleConnections() // for one that was never used net/http waits seconds
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return <-s.ended
}

// kill ends the process as a crash does.
func (s *server) kill() error {
	s.spent += cpuOf(s.cmd.Process.Pid)
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	<-s.ended
	return nil
}

// close stops the process and removes its data.
func (s *server) close() error { return errors.Join(s.stop(), s.remove()) }

// discard kills the process and removes its data.
func (s *server) discard() error { return errors.Join(s.kill(), s.remove()) }

func (s *server) removeFiles() error {
	return errors.Join(os.RemoveAll(s.data), os.Remove(s.data+".log"))
}

func (s *server) remove() error {
	err := s.removeFiles()
	if s.database != "" {
		err = errors.Join(err, s.b.postgres.drop(s.database))
	}
	return err
}

// cpu is the processor time that all lives of the server and of its peers have
// spent, and the database server's.
func (s *server) cpu() time.Duration {
	sum := s.spent + cpuOf(s.cmd.Process.Pid) + s.b.postgres.cpu()
	for _, peer := range s.peers {
		sum += peer.spent + cpuOf(peer.cmd.Process.Pid)
	}
	return sum
}

// organisation makes an organisation with a client.
func (s *server) organisation(ctx context.Context, name string) (*tenant, error) {
	cmd := exec.CommandContext(ctx, s.b.cfg.Binary, "client", "create", "--organisation="+name)
	cmd.Env = s.environment()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	var c struct{ ClientID, ClientSecret string }
	if err := json.Unmarshal(out, &c); err != nil {
		return nil, err
	}
	return s.tenant(ctx, c.ClientID, c.ClientSecret)
}

// tenant is an organisation as its programs see the server.
type tenant struct {
	*client.Client
	token string
}

// first is the organisation that every server knows.
func (s *server) first(ctx context.Context) (*tenant, error) {
	return s.tenant(ctx, clientID, clientSecret)
}

func (s *server) tenant(ctx context.Context, id, secret string) (*tenant, error) {
	c, err := client.New(client.Config{URL: s.url, ClientID: id, ClientSecret: secret, HTTP: s.http})
	if err != nil {
		return nil, err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/iam/realms/product-hub/protocol/openid-connect/token", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := s.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	var body struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.AccessToken == "" {
		return nil, fmt.Errorf("no access token: status %d, %w", answer.StatusCode, err)
	}
	return &tenant{Client: c, token: body.AccessToken}, nil
}
