package interop_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/provider"
	"github.com/evergrant/evergrant/transport"
)

// bySource are the rows of which a server's source tells what it answers.
func (f *fixture) bySource(s *server) {
	r := f.recording
	s.own[pushed] = lacksMember("pushed_authorization_request_endpoint")
	s.own[mutualTLS] = lacksMethod("tls_client_auth", "self_signed_tls_client_auth")
	s.own[proofs] = lacksMember("dpop_signing_alg_values_supported")
	if r.Proofs {
		s.own[proofs] = f.showProofs
	}
	s.own[keyJWT] = lacksMethod("private_key_jwt")
	if r.Audiences != nil {
		s.own[keyJWT] = f.showAssertions
	}
	s.own[resources] = func(t *testing.T, s *server) verdict {
		v := lacksResources(t, s)
		v.words = r.IgnoresResource
		return v
	}
	if r.TargetRefused != nil {
		s.own[resources] = f.showTargets
	}
	if _, offered := r.Metadata["device_authorization_endpoint"]; !offered {
		s.own[device] = lacksMember("device_authorization_endpoint")
	}
	show := lacksOffer(exchangeGrant)
	switch {
	case r.Exchange != nil:
		show = f.showExchange
	case r.ExchangeRefused != nil:
		show = lacksGrant(exchangeGrant, url.Values{
			"subject_token": {"none"}, "subject_token_type": {accessTokenType},
		}, r.ExchangeRefused.code())
	}
	s.own[exchange] = func(t *testing.T, s *server) verdict {
		v := show(t, s)
		v.words = strings.TrimPrefix(v.words+", "+r.ExchangeNote, ", ")
		return v
	}
	if r.IDToken.AlgOfWeb != "" {
		s.own[identity] = f.showSecretAlgorithm
	}
	s.own[logout] = func(t *testing.T, s *server) verdict {
		v := showLogout(r.Logout.Query)(t, s)
		v.words = r.LogoutNote
		return v
	}
}

// lacksOffer wants the metadata not to offer a grant type, though it says which there are.
func lacksOffer(grantType string) func(*testing.T, *server) verdict {
	return func(t *testing.T, s *server) verdict {
		offered, ok := s.document(t)["grant_types_supported"].([]any)
		require.True(t, ok)
		require.Contains(t, offered, "authorization_code")
		require.NotContains(t, offered, grantType)
		return verdict{lacks, "its metadata offers no `" + grantType + "`"}
	}
}

// showProofs shows DPoP where no nonce is ever asked for.
func (f *fixture) showProofs(t *testing.T, s *server) verdict {
	session, w := s.login(t, person, func(c *client.Config) { c.DPoP = &client.DPoP{} })
	s.requireWorks(t, session)
	renew(t, session)
	s.requireWorks(t, session)
	token := current(t, session)
	require.Equal(t, "DPoP", token.TokenType)
	require.Zero(t, w.refused("use_dpop_nonce"))
	// Without the key the token is of no use.
	stolen := &oauth2.Token{AccessToken: token.AccessToken, TokenType: "Bearer"}
	thief := &transport.Transport{Source: fixedSource{stolen}, Base: f}
	require.Equal(t, f.recorded(f.recording.Access, "garbage").Status, get(t, &http.Client{Transport: thief}, s.api))
	return verdict{lacks, "DPoP works with it, but without nonces: it asks for none"}
}

// showAssertions shows private_key_jwt, with an assertion for whom the server wants one to be.
func (f *fixture) showAssertions(t *testing.T, s *server) verdict {
	if len(f.recording.Audiences) > 1 {
		return showClientCredentials(keyed)(t, s)
	}
	session, _ := s.open(t, keyed)
	_, err := session.Token(t.Context())
	refusal, ok := errors.AsType[*client.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "invalid_client", refusal.Code)
	s.clients[keyed] = with(s.clients[keyed], func(c *client.Config) { c.Provider = &provider.Provider{AssertionForEndpoint: true} })
	showClientCredentials(keyed)(t, s)
	return pass(assertionForEndpoint)
}

// showTargets shows resource indicators, and that a resource which nobody knows is refused without harm to the grant.
func (f *fixture) showTargets(t *testing.T, s *server) verdict {
	showResources(t, s, func(t *testing.T, session *client.Session) any {
		token := current(t, session).AccessToken
		s.requireWorks(t, session)
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.audiences[token]
	}, resource)
	session, _ := s.login(t, person)
	_, err := session.Resource("https://nobody.example").Token(t.Context())
	requireCode(t, err, *f.recording.TargetRefused)
	renew(t, session)
	return pass()
}

// showExchange shows token exchange, with what the server has to be sent beside.
func (f *fixture) showExchange(t *testing.T, s *server) verdict {
	subject, _ := s.login(t, web)
	exchanging := client.TokenExchange{
		Subject: func(string) transport.Source { return subject }, SubjectType: "access_token", RequestedType: "access_token",
	}
	without, _ := s.open(t, web, func(c *client.Config) { c.Grant = exchanging })
	_, err := without.Token(t.Context())
	refusal, ok := errors.AsType[*client.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "invalid_request", refusal.Code)
	exchanging.Params = url.Values{}
	for name, value := range f.recording.Exchange {
		exchanging.Params.Set(name, value)
	}
	session, _ := s.open(t, web, func(c *client.Config) { c.Grant = exchanging })
	s.requireWorks(t, session)
	require.NotEqual(t, current(t, subject).AccessToken, current(t, session).AccessToken)
	return pass()
}

// showSecretAlgorithm shows an id token under a signature, and under the client secret, where that is long enough.
func (f *fixture) showSecretAlgorithm(t *testing.T, s *server) verdict {
	showIDToken(t, s)
	session, _ := s.login(t, web, asksWho)
	var said struct{ Sub string }
	require.NoError(t, session.Claims(t.Context(), &said))
	require.Equal(t, account, said.Sub)
	short, _ := s.open(t, web, asksWho, func(c *client.Config) { c.ClientSecret = strings.Repeat("a", 63) })
	pending, err := short.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	require.ErrorIs(t, short.Finish(t.Context(), pending, s.signIn(t, pending.URL).Query()), client.ErrIDToken)
	return pass("with `" + f.recording.IDToken.AlgOfWeb + "`, which a client is registered for unless another is chosen, its secret has to be of 64 bytes " +
		"(RFC 7518 §3.2); else choose `" + f.recording.IDToken.Alg + "`")
}
