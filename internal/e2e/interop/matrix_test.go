package interop_test

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
)

// column is a server, or what the client is used by.
type column struct {
	name  string
	start func(*testing.T) *server
}

var columns = []column{
	{"oidc-provider, http", startOIDCProvider},
	{"oidc-provider, https", startOIDCProviderTLS},
	{"zitadel op", startZitadel},
	{"glewlwyd", startGlewlwyd},
	{"django-oauth-toolkit", startDjango},
	{"Doorkeeper", startDoorkeeper},
	{"Google's API library", startGoogle},
	{"Dex (fixture)", startFixture("dex")},
	{"Ory Hydra (fixture)", startFixture("hydra")},
	{"LemonLDAP::NG (fixture)", startFixture("lemonldap")},
	{"better-auth (fixture)", startFixture("better-auth")},
}

// cells are the verdicts by column and row.
type cells struct {
	mu  sync.Mutex
	all map[string]map[string]verdict // guarded by mu
}

func (c *cells) put(column, row string, v verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[column] == nil {
		c.all[column] = map[string]verdict{}
	}
	c.all[column][row] = v
}

func TestMatrix(t *testing.T) {
	shown := &cells{all: map[string]map[string]verdict{}}
	t.Run("columns", func(t *testing.T) {
		t.Cleanup(http.DefaultClient.CloseIdleConnections)
		for _, c := range columns {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				s := c.start(t)
				for _, r := range rows {
					t.Run(r.name, func(t *testing.T) {
						show := r.show
						if own, ok := s.own[r.name]; ok {
							show = own
						}
						v := show(t, s)
						require.NotEmpty(t, v.outcome)
						require.True(t, v.outcome == passes || v.words != "", "%q has to be explained", v.outcome)
						t.Log(v)
						shown.put(c.name, r.name, v)
					})
				}
			})
		}
	})
	if !t.Failed() {
		requirePage(t, shown.all)
	}
}

// fixedSource is a transport.Source of one token.
type fixedSource struct{ token *oauth2.Token }

func (s fixedSource) Token(context.Context) (*oauth2.Token, error) { return s.token, nil }
func (s fixedSource) Renew(context.Context, *oauth2.Token) (*oauth2.Token, error) {
	return s.token, nil
}
