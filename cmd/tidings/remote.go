package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"tidings/client"
	"tidings/internal/egress"
)

// serverFlags say which server a command calls, and as whom.
type serverFlags struct {
	URL          string `name:"url" group:"Server" env:"TIDINGS_URL" placeholder:"https://…" help:"The server's public URL."`
	ClientID     string `group:"Server" env:"TIDINGS_CLIENT_ID" placeholder:"ID" help:"A client of your organisation: 'tidings client create' makes one."`
	ClientSecret string `group:"Server" env:"TIDINGS_CLIENT_SECRET" placeholder:"SECRET" help:"Its secret. Better in the environment: flags are seen by others on the machine."`
	CA           string `name:"ca" group:"Server" env:"TIDINGS_CA" placeholder:"FILE" help:"Root certificates (PEM) to trust besides the system's."`
}

// remoteFlags are those of every command that calls the API.
type remoteFlags struct {
	serverFlags
	Output string `short:"o" enum:"table,json,id" default:"table" help:"table, json (the API's data as it came) or id (the ids only, for scripts)."`
}

// listFlags are those of every list.
type listFlags struct {
	remoteFlags
	Limit int `default:"20" help:"How many at most; 0: all."`
}

// answerLimit bounds one answer; only streams take longer.
const answerLimit = time.Minute

// connect gives access to the server. What comes back is kept in the recorder.
func (f serverFlags) connect() (*client.Client, *recorder, error) {
	var missing []string
	for _, s := range [][3]string{{f.URL, "TIDINGS_URL", "--url"}, {f.ClientID, "TIDINGS_CLIENT_ID", "--client-id"}, {f.ClientSecret, "TIDINGS_CLIENT_SECRET", "--client-secret"}} {
		if s[0] == "" {
			missing = append(missing, s[1]+" (or "+s[2]+")")
		}
	}
	if len(missing) > 0 {
		return nil, nil, usageError{fmt.Errorf("this command calls a server; set %s", strings.Join(missing, ", "))}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if f.CA != "" {
		roots, err := egress.LoadRoots(f.CA)
		if err != nil {
			return nil, nil, usageError{fmt.Errorf("TIDINGS_CA: %w", err)}
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	transport.ResponseHeaderTimeout = answerLimit
	r := &recorder{next: transport}
	api, err := client.New(client.Config{URL: f.URL, ClientID: f.ClientID, ClientSecret: f.ClientSecret, HTTP: &http.Client{Transport: r}})
	if err != nil {
		return nil, nil, usageError{err}
	}
	return api, r, nil
}

// show makes one call and shows what came back.
func (f remoteFlags) show(env *environment, call func(*client.Client) (view, error)) error {
	api, r, err := f.connect()
	if err != nil {
		return err
	}
	defer r.close()
	v, err := call(api)
	if err != nil {
		return f.explain(err)
	}
	return f.write(env.stdout, v, r)
}

// write shows an answer in the form that is asked for.
func (f remoteFlags) write(w io.Writer, v view, r *recorder) error {
	switch f.Output {
	case "json":
		return r.writeJSON(w, v.list, len(v.ids))
	case "id":
		for _, id := range v.ids {
			if _, err := fmt.Fprintln(w, id); err != nil {
				return err
			}
		}
		return nil
	}
	return v.write(w)
}

// recorder keeps the data of the answers as they came, so that the output json
// has what the server sent, also members that this version does not know. Where
// somebody watches, it keeps nothing.
type recorder struct {
	next    *http.Transport
	answers []json.RawMessage // data of each answer, in order
	watch   func(error)       // is told of each request whether it was answered; nil: nobody
}

// maxRecorded bounds one answer.
const maxRecorded = 32 << 20

// RoundTrip passes a request on and keeps the data of its answer.
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := r.next.RoundTrip(request)
	if r.watch != nil {
		if request.Context().Err() == nil {
			r.watch(err)
		}
		return answer, err
	}
	if err != nil || answer.StatusCode/100 != 2 || !strings.HasPrefix(answer.Header.Get("Content-Type"), "application/json") {
		return answer, err
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxRecorded))
	answer.Body.Close()
	if err != nil {
		return nil, err
	}
	answer.Body = io.NopCloser(bytes.NewReader(text))
	var body struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(text, &body) == nil && body.Data != nil { // else it is a token, or the client says what is wrong
		r.answers = append(r.answers, body.Data)
	}
	return answer, nil
}

func (r *recorder) close() { r.next.CloseIdleConnections() }

// writeJSON writes the last answer, or the first items of all pages of a list.
func (r *recorder) writeJSON(w io.Writer, list bool, items int) error {
	var data any
	if !list {
		if len(r.answers) == 0 { // 204
			return nil
		}
		data = r.answers[len(r.answers)-1]
	} else {
		all := []json.RawMessage{}
		for _, page := range r.answers {
			var part []json.RawMessage
			if err := json.Unmarshal(page, &part); err != nil {
				return fmt.Errorf("reading the answer: %w", err)
			}
			all = append(all, part...)
		}
		data = all[:min(items, len(all))]
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(data)
}

// remoteError says what went wrong with a call, where, and how to mend it.
type remoteError struct {
	err  error
	text string
}

// Error gives the explanation.
func (e *remoteError) Error() string { return e.text }

// Unwrap gives the cause.
func (e *remoteError) Unwrap() error { return e.err }

// explain says what to do about an error of a call.
func (f serverFlags) explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if no, ok := errors.AsType[*client.Error](err); ok {
		return &remoteError{err, refusalText(no)}
	}
	text := err.Error()
	_, stranger := errors.AsType[*tls.CertificateVerificationError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case stranger:
		var unknown x509.UnknownAuthorityError
		if errors.As(err, &unknown) {
			text += "\n  mend: the server's certificate comes from an authority that is not known here: set TIDINGS_CA (or --ca) to its PEM file"
		} else {
			text += "\n  mend: the server's certificate is not for this name or time: check TIDINGS_URL (" + f.URL + ")"
		}
	case plain || strings.Contains(text, "server gave HTTP response to HTTPS client"):
		text += "\n  mend: the server does not speak TLS: TIDINGS_URL (" + f.URL + ") may have to begin with http://"
	default:
		text += "\n  mend: is the server running, and is " + f.URL + " where it is? TIDINGS_URL (or --url) says so"
	}
	return &remoteError{err, text}
}

// refusalText writes a refusal of the server with all that it told.
func refusalText(no *client.Error) string {
	var b strings.Builder
	b.WriteString(no.Detail)
	if at := no.Pointer + no.Parameter; at != "" {
		b.WriteString("\n  at: " + at)
	}
	for _, p := range no.Problems[min(1, len(no.Problems)):] {
		b.WriteString("\n  and: " + p.Detail)
		if at := p.Pointer + p.Parameter; at != "" {
			b.WriteString("\n    at: " + at)
		}
	}
	fmt.Fprintf(&b, "\n  answer: %d %s", no.Status, no.Code)
	if no.RequestID != "" {
		b.WriteString(", request " + no.RequestID)
	}
	if mend := mending(no); mend != "" {
		b.WriteString("\n  mend: " + mend)
	}
	return b.String()
}

// mending says what can be done about a refusal.
func mending(no *client.Error) string {
	if no.Status < 400 || no.Status == http.StatusNotFound && no.Code == "" {
		return "is this a Tidings server? TIDINGS_URL is its public URL, without /me-creds/api"
	}
	switch no.Status {
	case http.StatusUnauthorized:
		return "check TIDINGS_CLIENT_ID and TIDINGS_CLIENT_SECRET; whoever runs the server makes clients with 'tidings client create'"
	case http.StatusForbidden:
		return "take a client with this scope; 'tidings client create --scope …' makes one"
	case http.StatusNotFound:
		if strings.HasPrefix(no.Detail, "There is no such route") {
			return "the server may be older than this program; what is for trials only, such as 'issuance simulate', needs a server that runs with --sandbox"
		}
		return "the list command shows what there is in your organisation"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if no.RetryAfter > 0 {
			return "try again in " + no.RetryAfter.String()
		}
		return "try again later"
	}
	if no.Status >= 500 {
		return "the server's log tells more under the request's id"
	}
	return ""
}

// remoteExitCode maps a refusal to the code that scripts see.
func remoteExitCode(no *client.Error) int {
	switch no.Status {
	case http.StatusBadRequest:
		return exitUsage
	case http.StatusNotFound:
		return exitNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		return exitUnauthorized
	}
	return exitFailed
}
