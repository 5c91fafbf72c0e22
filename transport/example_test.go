package transport_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/transport"
)

// tickets is a Source for an API whose tokens can be had without asking anybody. A session of package
// client is one that asks an authorization server, and shares the work among all who wait.
type tickets struct{ last atomic.Pointer[oauth2.Token] }

func (s *tickets) Token(context.Context) (*oauth2.Token, error) { return s.last.Load(), nil }

func (s *tickets) Renew(_ context.Context, rejected *oauth2.Token) (*oauth2.Token, error) {
	s.last.CompareAndSwap(rejected, &oauth2.Token{AccessToken: "ticket-2"})
	return s.last.Load(), nil
}

func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("asked with", r.Header.Get("Authorization"))
		if r.Header.Get("Authorization") != "Bearer ticket-2" {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "welcome")
	}))
	defer server.Close()

	source := new(tickets)
	source.last.Store(&oauth2.Token{AccessToken: "ticket-1"})
	hc := &http.Client{Transport: &transport.Transport{Source: source}}
	defer hc.CloseIdleConnections()

	resp, err := hc.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	content, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(content))
	// Output:
	// asked with Bearer ticket-1
	// asked with Bearer ticket-2
	// 200 welcome
}

func ExampleChallenges() {
	resp := &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{
		"Www-Authenticate": {`Bearer error="insufficient_user_authentication", acr_values="gold silver", max_age=300, scope="pay"`},
	}}
	for _, c := range transport.Challenges(resp) {
		if c.IsStepUp() {
			age, _ := c.MaxAge()
			fmt.Println("log in again:", c.Code(), c.Scopes(), c.ACRValues(), age)
		}
	}
	// Output: log in again: insufficient_user_authentication [pay] [gold silver] 5m0s
}
