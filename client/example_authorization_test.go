package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/evergrant/evergrant/client"
)

// A web backend asks for one payment (RFC 9396), at an API (RFC 8707). The server takes requests beforehand (RFC 9126), as
// its metadata says: what is asked for does not pass through the person's browser.
func ExampleSession_Start() {
	server := pushServer()
	defer server.Close()
	c, err := client.New(client.Config{
		Issuer: server.URL, ClientID: "shop", RedirectURL: "https://shop.example/callback",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close(context.Background())

	pending, err := c.Session("alice").Resource("https://pay.example/api").Start(context.Background(), client.AuthCode{
		Params: url.Values{"authorization_details": {`[{"type":"payment","amount":"9.50"}]`}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	address, _ := url.Parse(pending.URL) // the browser is sent there
	fmt.Println("in the browser:", address.RawQuery)
	// Output:
	// pushed: [{"type":"payment","amount":"9.50"}] https://pay.example/api S256
	// in the browser: client_id=shop&request_uri=urn%3Aexample%3A1
}

// A program looks whether the person still has a session at the server, without showing anything.
func ExampleAuthCode() {
	signIn := func(w http.ResponseWriter, r *http.Request, s *client.Session, params url.Values) *client.Pending {
		pending, err := s.Start(r.Context(), client.AuthCode{Params: params})
		if err != nil {
			http.Error(w, "The login cannot be begun.", http.StatusBadGateway)
			return nil
		}
		http.Redirect(w, r, pending.URL, http.StatusSeeOther)
		return pending // goes into the browser's own web session
	}
	_ = func(w http.ResponseWriter, r *http.Request, s *client.Session) *client.Pending {
		return signIn(w, r, s, url.Values{"prompt": {"none"}})
	}
	_ = func(w http.ResponseWriter, r *http.Request, s *client.Session, pending *client.Pending) *client.Pending {
		err := s.Finish(r.Context(), pending, r.URL.Query())
		if errors.Is(err, client.ErrInteractionRequired) {
			return signIn(w, r, s, nil)
		}
		return nil
	}
}

// pushServer is an authorization server that takes pushed requests, and shows them.
func pushServer() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			fmt.Println("pushed:", r.PostFormValue("authorization_details"), r.PostFormValue("resource"), r.PostFormValue("code_challenge_method"))
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"request_uri":"urn:example:1","expires_in":60}`))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{
			"issuer": "http://" + r.Host, "authorization_endpoint": "http://" + r.Host + "/authorize", "token_endpoint": "http://" + r.Host + "/token",
			"pushed_authorization_request_endpoint": "http://" + r.Host + "/par",
		})
	}))
}
