package clienttest_test

import (
	"context"
	"fmt"
	"net/http"

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
