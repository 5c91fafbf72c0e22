package interop_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/transport"
)

// adopted opens a session with a refresh token, RT-old, at a server that answers as scripted.
func adopted(t *testing.T, s *script, set ...func(*client.Config)) *client.Session {
	t.Helper()
	config := client.Config{
		Endpoint: oauth2.Endpoint{TokenURL: "https://as.example/token"}, ClientID: "app", ClientSecret: "a secret",
		AuthServerClient: &http.Client{Transport: s},
	}
	for _, change := range set {
		change(&config)
	}
	c, err := client.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	session := c.Session("alice")
	require.NoError(t, session.Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT-old"}))
	return session
}

// TestDeadRefreshTokens goes through what nine servers answer to a refresh token that is used up, or was never theirs.
func TestDeadRefreshTokens(t *testing.T) {
	for name, r := range recordings(t) {
		for _, a := range r.Refresh {
			t.Run(name+"/"+a.What, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &script{answers: []answer{a, a, good}}
					if a.Then == "served" {
						s.answers = []answer{a, good}
					}
					session := adopted(t, s)
					token, err := session.Token(t.Context())
					switch a.Then {
					case "served":
						require.NoError(t, err)
						require.Equal(t, "AT-new1", token.AccessToken)
						renew(t, session)
						require.Equal(t, 2, s.asked())
					case "login":
						requireCode(t, err, a)
						require.ErrorIs(t, err, client.ErrLoginRequired)
						requireNothingMore(t, session, s, 1, time.Hour)
					case "doubt":
						requireCode(t, err, a)
						require.NotErrorIs(t, err, client.ErrLoginRequired)
						requireNothingMore(t, session, s, 1, 29*time.Second)
						time.Sleep(11 * time.Second)
						_, err = session.Token(t.Context())
						requireCode(t, err, a)
						require.ErrorIs(t, err, client.ErrLoginRequired)
						requireNothingMore(t, session, s, 2, time.Minute)
					case "error":
						requireCode(t, err, a)
						require.NotErrorIs(t, err, client.ErrLoginRequired)
						require.LessOrEqual(t, s.asked(), 2, "one prompt replay at most")
						status, err := session.Status(t.Context())
						require.NoError(t, err)
						require.True(t, status.LoggedIn)
						s.mend()
						time.Sleep(2 * time.Minute)
						_, err = session.Token(t.Context())
						require.NoError(t, err)
					default:
						require.Fail(t, "the recording does not say what comes of it")
					}
				})
			})
		}
	}
}

// requireNothingMore wants a session to ask the server nothing for a time.
func requireNothingMore(t *testing.T, session *client.Session, s *script, asked int, span time.Duration) {
	t.Helper()
	for range 10 {
		_, err := session.Token(t.Context())
		require.Error(t, err)
		require.Equal(t, asked, s.asked())
		time.Sleep(span / 10)
	}
}

func requireCode(t *testing.T, err error, a answer) {
	t.Helper()
	refusal, ok := errors.AsType[*client.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, a.code(), refusal.Code)
	require.Equal(t, a.Status, refusal.StatusCode)
}

// TestBadAccessTokens goes through what the resources of nine servers answer to a token that is not good, or that they
// take for none.
func TestBadAccessTokens(t *testing.T) {
	for name, r := range recordings(t) {
		for _, a := range r.Access {
			t.Run(name+"/"+a.What, func(t *testing.T) {
				as := &script{answers: []answer{good}}
				session := adopted(t, as)
				before := current(t, session)
				resource := &resourceServer{refusal: a, bad: before.AccessToken}

				resp, err := session.Wrap(&http.Client{Transport: resource}).Get("https://api.example/")
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				if a.Then == "untouched" {
					require.Equal(t, a.Status, resp.StatusCode)
					require.Equal(t, 1, as.asked())
					// What a provider says in place of a 401 has to be told.
					resp, err = (&http.Client{Transport: &transport.Transport{
						Source: session, Base: resource, Rejected: func(r *http.Response) bool { return r.StatusCode == a.Status },
					}}).Get("https://api.example/")
					require.NoError(t, err)
					require.NoError(t, resp.Body.Close())
				}
				require.Equal(t, http.StatusOK, resp.StatusCode)
				require.Equal(t, 2, as.asked(), "one renewal")
				require.NotEqual(t, before.AccessToken, current(t, session).AccessToken)
			})
			t.Run(name+"/"+a.What+"/challenges", func(t *testing.T) {
				schemes := []string{}
				for _, c := range transport.Challenges(a.response(nil)) {
					schemes = append(schemes, c.Scheme)
				}
				if a.Schemes != nil {
					require.Len(t, schemes, len(a.Schemes))
					for i, scheme := range a.Schemes {
						require.True(t, strings.EqualFold(scheme, schemes[i]), "%v", schemes)
					}
				}
			})
		}
	}
}

// resourceServer refuses one access token.
type resourceServer struct {
	refusal answer
	bad     string
}

func (s *resourceServer) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Authorization") == "Bearer "+s.bad {
		return s.refusal.response(req), nil
	}
	return answer{Status: http.StatusOK}.response(req), nil
}

// TestClientAuthenticationFailures goes through what nine servers answer to wrong credentials. It is nobody's grant that
// ends by that, whatever the words.
func TestClientAuthenticationFailures(t *testing.T) {
	for name, r := range recordings(t) {
		for _, a := range r.Client {
			t.Run(name+"/"+a.What, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &script{answers: []answer{a}}
					session := adopted(t, s, func(c *client.Config) { c.AuthMethod, _, _ = strings.Cut(a.What, ",") })
					_, err := session.Token(t.Context())
					requireCode(t, err, a)
					require.NotErrorIs(t, err, client.ErrLoginRequired)
					if a.code() == "invalid_client" || a.code() == "unauthorized_client" {
						require.Equal(t, 1, s.asked(), "nothing is tried with a secret that is wrong")
					}
					// Once it is put right, the grant goes on.
					s.mend()
					time.Sleep(2 * time.Minute)
					_, err = session.Token(t.Context())
					require.NoError(t, err)
					require.Contains(t, s.forms[len(s.forms)-1], "refresh_token=RT-old")
				})
			})
		}
	}
}
