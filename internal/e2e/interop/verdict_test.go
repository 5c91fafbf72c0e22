package interop_test

import (
	"errors"
	"fmt"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/transport"
)

// verdict is a cell of the matrix.
type verdict struct {
	outcome outcome
	words   string // how it was shown, or what is wrong; of a pass it may be empty
}

type outcome string

const (
	passes outcome = "pass"
	lacks  outcome = "server lacks it"
	broken outcome = "defect"
)

func pass(words ...string) verdict {
	if len(words) > 0 {
		return verdict{passes, words[0]}
	}
	return verdict{outcome: passes}
}

// The rest of this file shows that a server lacks something, by its own word.

// lacksMember wants the metadata not to have a member.
func lacksMember(name string) func(*testing.T, *server) verdict {
	return func(t *testing.T, s *server) verdict {
		document := s.document(t)
		require.NotNil(t, document)
		require.NotContains(t, document, name)
		return verdict{lacks, "its metadata has no `" + name + "`"}
	}
}

// lacksLogout wants the client to know of no address to log out at.
func lacksLogout(t *testing.T, s *server) verdict {
	session, _ := s.login(t, person)
	_, err := session.EndSessionURL(t.Context(), nil)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	if s.metadata == "" {
		return verdict{lacks, "it has no metadata, and no OpenID Connect"}
	}
	return lacksMember("end_session_endpoint")(t, s)
}

// lacksMethod wants the metadata not to offer a method of client authentication.
func lacksMethod(names ...string) func(*testing.T, *server) verdict {
	return func(t *testing.T, s *server) verdict {
		offered, ok := s.document(t)["token_endpoint_auth_methods_supported"].([]any)
		require.True(t, ok)
		for _, name := range names {
			require.NotContains(t, offered, name)
		}
		return verdict{lacks, "its metadata offers no `" + names[0] + "`"}
	}
}

// lacksCertificates is lacksMethod for a server that could, were it not for where it listens.
func lacksCertificates(t *testing.T, s *server) verdict {
	v := lacksMethod("tls_client_auth", "self_signed_tls_client_auth")(t, s)
	v.words = "as it runs here, over plain http, " + v.words
	return v
}

// lacksGrant wants a grant type to be refused as such.
func lacksGrant(grantType string, params url.Values, codes ...string) func(*testing.T, *server) verdict {
	return func(t *testing.T, s *server) verdict {
		session, w := s.open(t, s.confidential(), func(c *client.Config) {
			c.Grant = client.ExtensionGrant{Type: grantType, Params: fixed(params)}
		})
		_, err := session.Token(t.Context())
		refusal, ok := errors.AsType[*client.Error](err)
		require.True(t, ok, "%v", err)
		require.Len(t, w.of(grantType), 1)
		require.Contains(t, codes, refusal.Code)
		return verdict{lacks, "it answers " + words(refusal)}
	}
}

// words are the server's, as a cell shows them.
func words(refusal *client.Error) string {
	if refusal.Code == "" {
		return fmt.Sprintf("an empty %d", refusal.StatusCode)
	}
	return fmt.Sprintf("%d `%s`", refusal.StatusCode, refusal.Code)
}

// lacksBinding wants the server to give a Bearer token to a client with a proof, which is not used.
func lacksBinding(t *testing.T, s *server) verdict {
	session, _ := s.open(t, person, func(c *client.Config) { c.DPoP = &client.DPoP{} })
	pending, err := session.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	err = session.Finish(t.Context(), pending, s.signIn(t, pending.URL).Query())
	require.ErrorIs(t, err, transport.ErrToken)
	return verdict{lacks, "it answers a proof with a Bearer token, which is not used"}
}

// lacksResources wants a token for a resource that nobody knows to be given like any other.
func lacksResources(t *testing.T, s *server) verdict {
	session, w := s.login(t, person)
	nowhere := session.Resource("https://nobody.example")
	current(t, nowhere)
	sent := w.of("refresh_token")
	require.Equal(t, "https://nobody.example", sent[len(sent)-1].form.Get("resource"))
	return verdict{lacks, "it ignores `resource`: it gives a token for one that nobody knows"}
}
