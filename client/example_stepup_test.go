package client_test

import (
	"context"
	"fmt"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
)

// An API wants a scope that the person has not granted yet: the person is asked for it, beside what was granted before, and
// the request is sent once more.
func ExampleStepUp() {
	ctx, t := context.Background(), new(example)
	defer t.end()
	provider := clienttest.New(t)
	api := provider.NewAPI("files.test")
	provider.Change(func() { api.Scope = "files.write" })
	person := provider.Open // plays a browser, and somebody who agrees to whatever it shows
	provider.Register("my-program", "", "none", "http://127.0.0.1/callback")
	alice := provider.NewClient(client.Config{
		ClientID: "my-program",
		Scopes:   []string{"files.read"},
		StepUp: func(ctx context.Context, s *client.Session, need client.StepUp) error {
			fmt.Println(need.Challenge.Code(), need.Scopes)
			return s.Login(ctx, client.Browser{Scopes: need.Scopes, Params: need.Params, Open: person})
		},
	}).Session("alice")
	if err := alice.Login(ctx, client.Browser{Open: person}); err != nil {
		panic(err)
	}

	resp, err := alice.Wrap(provider.HTTPClient("")).Get(api.URL)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output:
	// insufficient_scope [files.read files.write]
	// 200 OK
}

func ExampleStepUp_browser() {
	var config client.Config
	config.StepUp = func(ctx context.Context, s *client.Session, need client.StepUp) error {
		return s.Login(ctx, client.Browser{Scopes: need.Scopes, Params: need.Params})
	}
	_ = config
}
