package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPost(t *testing.T) {
	a := newAuthority(t)
	var got *http.Request
	var gotBody []byte
	r := newReceiver(t, a, func(w http.ResponseWriter, request *http.Request) {
		got = request
		gotBody, _ = io.ReadAll(request.Body)
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "later")
	})
	header := http.Header{"Content-Type": {"application/json"}, "User-Agent": {"Tidings/1"}, "Webhook-Id": {"e1"}}
	result := newClient(t, a, nil).Post(within(t, patience), r.URL+"/in/box?token=x%20y", header, []byte(`{"a":1}`))
	if result.Code != "" || result.Error != "" || result.Cause != nil {
		t.Fatalf("%+v", result)
	}
	if result.StatusCode != 503 || result.RetryAfter != "120" || string(result.Excerpt) != "later" {
		t.Errorf("%+v", result)
	}
	if _, err := http.ParseTime(result.Date); err != nil {
		t.Errorf("Date %q", result.Date)
	}
	if got.Method != "POST" || got.RequestURI != "/in/box?token=x%20y" || got.Proto != "HTTP/1.1" ||
		got.TLS.NegotiatedProtocol != "http/1.1" || string(gotBody) != `{"a":1}` || got.ContentLength != 7 {
		t.Errorf("the receiver got %+v %q", got, gotBody)
	}
	delete(got.Header, "Content-Length")
	if fmt.Sprint(got.Header) != fmt.Sprint(header) {
		t.Errorf("headers %v, want %v", got.Header, header)
	}
	if timing := result.Timing; timing.Reused || timing.Connect <= 0 || timing.TLS <= 0 || timing.Wait <= 0 || timing.Total < timing.TLS {
		t.Errorf("%+v", timing)
	}
}

// TestReuse: one connection serves call after call, if what is left of an
// answer is short.
func TestReuse(t *testing.T) {
	for _, row := range []struct {
		name    string
		handle  http.HandlerFunc
		excerpt int
		conns   int64
	}{
		{"no body", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 0, 1},
		{"short", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }, 2, 1},
		{"64 KiB", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(MaxDrain))
			w.Write(make([]byte, MaxDrain))
		}, MaxExcerpt, 1},
		{"chunked", func(w http.ResponseWriter, _ *http.Request) {
			for range 15 {
				w.Write(make([]byte, MaxExcerpt))
			}
		}, MaxExcerpt, 1},
		{"64 KiB and a byte", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(MaxDrain+1))
			w.Write(make([]byte, MaxDrain+1))
		}, MaxExcerpt, 5},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := newAuthority(t)
			r := newReceiver(t, a, row.handle)
			client := newClient(t, a, nil)
			for i := range 5 {
				result := client.Post(within(t, patience), r.URL, nil, []byte("{}"))
				if result.Code != "" || len(result.Excerpt) != row.excerpt {
					t.Fatalf("%q: %v, excerpt of %d bytes", result.Code, result.Cause, len(result.Excerpt))
				}
				if result.Timing.Reused != (i > 0 && row.conns == 1) {
					t.Errorf("call %d: reused %v", i, result.Timing.Reused)
				}
			}
			if n := r.conns.Load(); n != row.conns {
				t.Errorf("%d connections, want %d", n, row.conns)
			}
		})
	}
}

func TestPostConcurrently(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, a, func(w http.ResponseWriter, request *http.Request) { io.Copy(w, request.Body) })
	client := newClient(t, a, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				body := fmt.Sprintf("body %d of %d", j, i)
				result := client.Post(within(t, patience), r.URL, nil, []byte(body))
				if result.Code != "" || string(result.Excerpt) != body {
					t.Errorf("%q, %v", result.Excerpt, result.Cause)
				}
			}
		})
	}
	wg.Wait()
	if n := r.conns.Load(); n > 16 {
		t.Errorf("%d connections for 8 callers", n)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	a := newAuthority(t)
	var calls atomic.Int64
	r := newReceiver(t, a, func(w http.ResponseWriter, request *http.Request) {
		calls.Add(1)
		http.Redirect(w, request, "/elsewhere", http.StatusPermanentRedirect)
	})
	result := newClient(t, a, nil).Post(within(t, patience), r.URL, nil, []byte("{}"))
	if result.StatusCode != 308 || result.Code != "" || calls.Load() != 1 {
		t.Errorf("%+v after %d calls", result, calls.Load())
	}
}

// TestEnormousAnswer: 10 GB, declared or not, are not read.
func TestEnormousAnswer(t *testing.T) {
	for _, declared := range []bool{false, true} {
		a := newAuthority(t)
		wrote := make(chan int, 1)
		r := newReceiver(t, a, func(w http.ResponseWriter, request *http.Request) {
			if declared {
				w.Header().Set("Content-Length", "10000000000")
			}
			total, chunk := 0, bytes.Repeat([]byte("x"), 64<<10)
			for total < 10_000_000_000 {
				n, err := w.Write(chunk)
				total += n
				if err != nil {
					break
				}
			}
			wrote <- total
		})
		result := newClient(t, a, nil).Post(within(t, patience), r.URL, nil, []byte("{}"))
		if result.StatusCode != 200 || result.Code != "" || string(result.Excerpt) != strings.Repeat("x", MaxExcerpt) {
			t.Errorf("status %d, %v, excerpt of %d bytes", result.StatusCode, result.Cause, len(result.Excerpt))
		}
		if total := <-wrote; total > 64<<20 { // what the kernel's buffers take
			t.Errorf("the receiver got rid of %d bytes", total)
		}
	}
}

func TestCompressedAnswerStaysCompressed(t *testing.T) {
	a := newAuthority(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	z.Write(make([]byte, 1<<20))
	z.Close()
	var accepted string
	r := newReceiver(t, a, func(w http.ResponseWriter, request *http.Request) {
		accepted = request.Header.Get("Accept-Encoding")
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb.Bytes())
	})
	result := newClient(t, a, nil).Post(within(t, patience), r.URL, nil, []byte("{}"))
	if accepted != "" || !bytes.Equal(result.Excerpt, bomb.Bytes()[:len(result.Excerpt)]) || len(result.Excerpt) == 0 {
		t.Errorf("accepts %q, excerpt %x…", accepted, result.Excerpt[:min(8, len(result.Excerpt))])
	}
}

func TestInformationalAnswers(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, a, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusProcessing)
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusAccepted)
	})
	if result := newClient(t, a, nil).Post(within(t, patience), r.URL, nil, []byte("{}")); result.StatusCode != 202 || result.Code != "" {
		t.Errorf("%+v", result)
	}
}

func TestLongHeadersAreNotKept(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, a, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", strings.Repeat("1", 129))
		w.Header().Set("Date", strings.Repeat("1", 128))
	})
	result := newClient(t, a, nil).Post(within(t, patience), r.URL, nil, nil)
	if result.RetryAfter != "" || len(result.Date) != 128 {
		t.Errorf("%+v", result)
	}
}

func TestCanceledByTheCaller(t *testing.T) {
	a := newAuthority(t)
	ctx, cancel := context.WithCancel(context.Background())
	r := newReceiver(t, a, func(_ http.ResponseWriter, request *http.Request) {
		io.Copy(io.Discard, request.Body) // else the server does not see the client go
		cancel()
		<-request.Context().Done()
		panic(http.ErrAbortHandler) // an answer could overtake the closing connection
	})
	client := newClient(t, a, nil)
	for range 2 { // during the call, and before it
		if result := client.Post(ctx, r.URL, nil, []byte("{}")); result.Code != CodeCanceled || !errors.Is(result.Cause, context.Canceled) {
			t.Errorf("%+v", result)
		}
	}
	if n := r.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestTimeoutWithoutDeadline(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, a, func(_ http.ResponseWriter, request *http.Request) {
		io.Copy(io.Discard, request.Body)
		<-request.Context().Done()
		panic(http.ErrAbortHandler)
	})
	client := newClient(t, a, func(c *Config) { c.Timeout = 100 * time.Millisecond })
	if result := client.Post(context.Background(), r.URL, nil, []byte("{}")); result.Code != CodeTimeout {
		t.Errorf("%+v", result)
	}
}

func TestBadCalls(t *testing.T) {
	a := newAuthority(t)
	client := newClient(t, a, nil)
	for raw, want := range map[string]string{
		"http://127.0.0.1/?token=hidden":         "starts with http://",
		"https://127.0.0.2/?token=hidden":        "public internet",
		"https://user:hidden@127.0.0.1/":         "user name",
		"https://example.com:bad/?token=hidden":  "syntax",
		"https://[::1]/?token=hidden":            "public internet",
		"https://2130706433/?token=hidden":       "usual form",
		"https://169.254.169.254/?token=hidden ": "white space",
	} {
		result := client.Post(within(t, patience), raw, nil, nil)
		if result.Code != CodeBlocked || !strings.Contains(result.Error, want) || strings.Contains(fmt.Sprintf("%+v %v", result, result.Cause), "hidden") {
			t.Errorf("%s: %+v", raw, result)
		}
	}
	addr := rawServer(t, func(net.Conn) { t.Error("dialled with a header that cannot be sent") })
	result := client.Post(within(t, patience), "https://"+addr, http.Header{"X-A": {"hidden\r\nx: y"}}, nil)
	if result.Code != CodeProtocol || strings.Contains(result.Cause.Error(), "hidden") {
		t.Errorf("%+v", result)
	}
}

func BenchmarkPost(b *testing.B) { benchmarkPost(b, func(*Client) {}) }

// BenchmarkPostAnew is the same where the connection has to be made each time, as
// it is for endpoints that hear of something now and then only.
func BenchmarkPostAnew(b *testing.B) { benchmarkPost(b, (*Client).CloseIdle) }

func benchmarkPost(b *testing.B, before func(*Client)) {
	a := newAuthority(b)
	r := newReceiver(b, a, func(w http.ResponseWriter, request *http.Request) { io.Copy(io.Discard, request.Body) })
	client := newClient(b, a, nil)
	ctx := within(b, time.Minute)
	header := http.Header{"Content-Type": {"application/json"}}
	body := []byte(`{"eventType":"openid4vc.issuance.completed","payload":{"openId4VcIssuanceId":"cmfwfjxdq003js601bmgy9tva"}}`)
	b.ReportAllocs()
	for b.Loop() {
		before(client)
		if result := client.Post(ctx, r.URL, header, body); result.StatusCode != 200 {
			b.Fatal(result.Cause)
		}
	}
}
