package clienttest

import (
	"context"
	"time"

	"github.com/evergrant/evergrant/client"
)

// closeLimit is how long the end of a test waits for a Client: as long as a renewal has for the token endpoint.
const closeLimit = 30 * time.Second

// NewClient returns a Client of this Server that the end of the test closes. What config leaves empty is the
// Server's: without Issuer and Endpoint.TokenURL its issuer, without ClientID the client of Server.Config with its
// secret, without AuthServerClient that of HTTPClient. The rest means what it always does; a nil Store is in
// memory.
//
// A Client's own requests reach the Server; those to APIs do by client.Session.Wrap with an HTTPClient. The test
// fails if config cannot be right, or if at its end there are tokens that the Store still does not take.
func (s *Server) NewClient(config client.Config) *client.Client {
	s.t.Helper()
	known := s.Config()
	if config.Issuer == "" && config.Endpoint.TokenURL == "" {
		config.Issuer = s.issuer()
	}
	if config.ClientID == "" {
		config.ClientID, config.ClientSecret = known.ClientID, known.ClientSecret
	}
	if config.AuthServerClient == nil {
		config.AuthServerClient = s.HTTPClient("")
	}
	c, err := client.New(config)
	if err != nil {
		s.t.Fatalf("clienttest: NewClient: %v", err)
	}
	s.t.Cleanup(func() {
		// The context of the test has ended by then.
		ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			s.t.Errorf("clienttest: %v", err)
		}
	})
	return c
}
