package client_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tidings/client"
)

// A stream that ends before its first event is taken up where it began, so that
// what is accepted meanwhile is not missed.
func TestAStreamIsTakenUpWhereItBegan(t *testing.T) {
	after := make(chan string, 2)
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/token") {
			fmt.Fprint(w, `{"access_token":"t","expires_in":300}`)
			return
		}
		from := r.Header.Get("Last-Event-ID")
		after <- from
		fmt.Fprint(w, ": hello\nid: here\n\n")
		if from != "" {
			fmt.Fprint(w, "id: next\ndata: {\"id\":\"next\"}\n\n")
		}
	}))
	defer far.Close()
	c, err := client.New(client.Config{URL: far.URL, ClientID: "c", ClientSecret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range c.FollowEvents(t.Context(), "") {
		if err != nil || e.ID != "next" {
			t.Errorf("the first event is %q, %v", e.ID, err)
		}
		break
	}
	if first, second := <-after, <-after; first != "" || second != "here" {
		t.Errorf("the stream began behind %q and was taken up behind %q", first, second)
	}
}
