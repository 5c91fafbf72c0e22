package clienttest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
)

// A program whose token is revoked in the middle of its work. In a test, t is the test's own.
func ExampleServer_NewClient() {
	t := &standIn{}
	defer t.end()

	s := clienttest.New(t)
	api := s.NewAPI("api.test")
	alice := s.NewClient(client.Config{}).Session("alice")
	err := alice.Adopt(context.Background(), s.Login("read"))
	hc := alice.Wrap(s.HTTPClient(""))

	for range 2 {
		var resp *http.Response
		if resp, err = hc.Get(api.URL); err != nil {
			break
		}
		_ = resp.Body.Close()
		fmt.Println(resp.Status)
		s.RevokeAccessToken("")
	}
	fmt.Println(err, len(s.Renewals()))
	// Output:
	// 200 OK
	// 200 OK
	// <nil> 1
}

// A program that logs in with a browser. In a test, t is the test's own.
func ExampleServer_Open() {
	t := &standIn{}
	defer t.end()

	s := clienttest.New(t)
	alice := s.NewClient(client.Config{Scopes: []string{"read"}}).Session("alice")
	login := client.Browser{Open: s.Open} // instead of the system browser
	fmt.Println(alice.Login(context.Background(), login))

	status, err := alice.Status(context.Background())
	fmt.Println(status.LoggedIn, status.Scopes, err)
	// Output:
	// <nil>
	// true [read] <nil>
}

// A web backend: its two handlers begin and finish a login. In a test, t is the test's own.
func ExampleServer_Browse() {
	t := &standIn{}
	defer t.end()

	s := clienttest.New(t)
	alice := s.NewClient(client.Config{RedirectURL: "https://app.test/callback"}).Session("alice")
	var pending *client.Pending // in the browser's own web session
	backend := http.NewServeMux()
	backend.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		var err error
		if pending, err = alice.Start(r.Context(), client.AuthCode{}); err != nil {
			http.Error(w, "the login cannot be begun", http.StatusBadGateway)
			return
		}
		http.Redirect(w, r, pending.URL, http.StatusSeeOther)
	})
	backend.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) {
		if err := alice.Finish(r.Context(), pending, r.URL.Query()); err != nil {
			http.Error(w, "the login has failed", http.StatusForbidden)
			return
		}
		fmt.Fprint(w, "welcome")
	})
	visit := func(address string) *http.Response {
		w := httptest.NewRecorder()
		backend.ServeHTTP(w, httptest.NewRequest(http.MethodGet, address, nil))
		return w.Result()
	}

	toServer, err := visit("https://app.test/login").Location()
	if err != nil {
		panic(err)
	}
	back, err := s.Browse(context.Background(), toServer.String())
	if err != nil {
		panic(err)
	}
	fmt.Println(visit(back.String()).Status)
	// Output: 200 OK
}
