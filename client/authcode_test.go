package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

// begun runs f in a bubble with a login that was begun, and what the browser has brought back.
func begun(t *testing.T, f func(t *testing.T, s *clienttest.Server, alice *client.Session, p *client.Pending, back url.Values)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		alice := s.NewClient(web(nil)).Session("alice")
		p, err := alice.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		callback, err := s.Browse(t.Context(), p.URL)
		require.NoError(t, err)
		f(t, s, alice, p, callback.Query())
	})
}

func TestLoginBegunInOneProcessAndFinishedInAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := clienttest.New(t), tokenstore.NewMemory()
		p, err := s.NewClient(web(store)).Session("alice").Start(t.Context(), client.AuthCode{Params: url.Values{"prompt": {"consent"}}})
		require.NoError(t, err)
		query, err := url.Parse(p.URL)
		require.NoError(t, err)
		require.Equal(t, "consent", query.Query().Get("prompt"))
		require.Equal(t, "S256", query.Query().Get("code_challenge_method"))
		text, err := p.MarshalText()
		require.NoError(t, err)
		callback, err := s.Browse(t.Context(), p.URL)
		require.NoError(t, err)

		var read client.Pending
		require.NoError(t, read.UnmarshalText(text))
		two := web(store)
		two.AuthServerClient = s.HTTPClient("two")
		alice := s.NewClient(two).Session("alice")
		require.NoError(t, alice.Finish(t.Context(), &read, callback.Query()))
		status, err := alice.Status(t.Context())
		require.NoError(t, err)
		require.True(t, status.LoggedIn)
		require.Equal(t, "alice", status.Subject)
		require.Equal(t, []string{"openid", "read"}, status.Scopes)
		require.Len(t, s.Requests(), 1)
		require.Equal(t, "two", s.Requests()[0].Process)
	})
}

// Shows R6749-4.1.2-2, R6749-4.1.2.1-2, R9700-2.1-2, R9700-4.7.1-1, MCP25-SEC-4.
func TestCallbacksThatAreNotThisLogins(t *testing.T) {
	for name, spoil := range map[string]func(url.Values){
		"another state":      func(q url.Values) { q.Set("state", "forged") },
		"no state":           func(q url.Values) { q.Del("state") },
		"state twice":        func(q url.Values) { q.Add("state", q.Get("state")) },
		"another issuer":     func(q url.Values) { q.Set("iss", "https://evil.test") },
		"issuer missing":     func(q url.Values) { q.Del("iss") },
		"code twice":         func(q url.Values) { q.Add("code", "other") },
		"no code, no error":  func(q url.Values) { q.Del("code") },
		"error, other state": func(q url.Values) { q.Set("state", "forged"); q.Set("error", "access_denied") },
	} {
		t.Run(name, func(t *testing.T) {
			begun(t, func(t *testing.T, s *clienttest.Server, alice *client.Session, p *client.Pending, back url.Values) {
				spoil(back)
				require.ErrorIs(t, alice.Finish(t.Context(), p, back), client.ErrPending)
				require.Empty(t, s.Requests(), "nothing is sent")
			})
		})
	}
}

// Shows R6749-10.12-3.
func TestCallbackOfAnotherBrowsersLoginIsRefused(t *testing.T) {
	begun(t, func(t *testing.T, s *clienttest.Server, alice *client.Session, _ *client.Pending, back url.Values) {
		other, err := alice.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		require.ErrorIs(t, alice.Finish(t.Context(), other, back), client.ErrPending)
		require.Empty(t, s.Requests())
	})
}

func TestPendingOfAnotherSessionIsRefused(t *testing.T) {
	begun(t, func(t *testing.T, s *clienttest.Server, alice *client.Session, p *client.Pending, back url.Values) {
		bob := s.NewClient(web(nil)).Session("bob")
		require.ErrorIs(t, bob.Finish(t.Context(), p, back), client.ErrPending)
		require.ErrorIs(t, alice.Finish(t.Context(), nil, back), client.ErrPending)
		require.NoError(t, alice.Finish(t.Context(), p, back))
	})
}

func TestRefusalOfTheServerKeepsItsWords(t *testing.T) {
	begun(t, func(t *testing.T, s *clienttest.Server, alice *client.Session, p *client.Pending, back url.Values) {
		back.Del("code")
		back.Set("error", "access_denied")
		back.Set("error_description", "the person said \x00no")
		err := alice.Finish(t.Context(), p, back)
		e, ok := errors.AsType[*client.Error](err)
		require.True(t, ok)
		require.Equal(t, []string{"access_denied", "the person said  no"}, []string{e.Code, e.Description})
		require.NotErrorIs(t, err, client.ErrPending)
	})
}

// Shows R6749-4.1.2-1.
func TestACodeIsSentOnce(t *testing.T) {
	for name, fault := range map[string]clienttest.Fault{
		"503":         {Status: http.StatusServiceUnavailable},
		"answer lost": {LoseAnswer: true},
	} {
		t.Run(name, func(t *testing.T) {
			begun(t, func(t *testing.T, s *clienttest.Server, alice *client.Session, p *client.Pending, back url.Values) {
				s.Fail("/token", fault)
				require.Error(t, alice.Finish(t.Context(), p, back))
				require.Len(t, s.Requests(), 1)
			})
		})
	}
}

// unreached is a network on which some connections are refused before anything is sent.
type unreached struct {
	*desk
	left int // how many; below 0: all
}

func (r *unreached) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPost && req.URL.Path == "/token" && r.left != 0 {
		r.left--
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	return r.desk.RoundTrip(req)
}

// The person has done their part: a network that is away for a moment does not end the login.
func TestACodeThatWasNotSentIsSentLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newOffice()
		network := &unreached{desk: d, left: 3}
		s := d.web(t, func(c *client.Config) { c.AuthServerClient = &http.Client{Transport: network} })
		p, asked := begin(t, s, nil)
		require.NoError(t, s.Finish(t.Context(), p, back(asked)))
		require.Len(t, d.letters(), 1)
		require.ErrorIs(t, s.Finish(t.Context(), p, back(asked)), client.ErrPending)

		network.left = -1
		p, asked = begin(t, s, nil)
		before := time.Now()
		err := s.Finish(t.Context(), p, back(asked))
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		require.NotErrorIs(t, err, client.ErrPending)
		require.Equal(t, 30*time.Second, time.Since(before))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Error(t, s.Finish(ctx, p, back(asked)), "nor does a caller who leaves before it is sent")

		network.left = 0
		require.NoError(t, s.Finish(t.Context(), p, back(asked)), "the same login, finished again")
		require.ErrorIs(t, s.Finish(t.Context(), p, back(asked)), client.ErrPending, "but not twice")
		require.Len(t, d.letters(), 2)
	})
}

// Shows R9207-4-2.
func TestIDTokenThatIsNotThisLogins(t *testing.T) {
	for name, claims := range map[string]map[string]any{
		"another nonce":    {"nonce": "other"},
		"another issuer":   {"iss": "https://evil.test"},
		"another audience": {"aud": "other"},
		"no subject":       {"sub": nil},
	} {
		t.Run(name, func(t *testing.T) {
			begun(t, func(t *testing.T, s *clienttest.Server, alice *client.Session, p *client.Pending, back url.Values) {
				s.Change(func() { s.Policy.Claims = claims })
				require.Error(t, alice.Finish(t.Context(), p, back))
				_, err := alice.Token(t.Context())
				require.ErrorIs(t, err, client.ErrLoginRequired)
				require.Len(t, s.Revocations(), 2, "what nobody will use is taken back")
			})
		})
	}
}

func TestAnotherSubjectMustBeMeant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		session := s.NewClient(web(nil)).Session("mine")
		login := func(subject string, flow client.AuthCode) error {
			s.Change(func() { s.Policy.Subject = subject })
			p, err := session.Start(t.Context(), flow)
			require.NoError(t, err)
			callback, err := s.Browse(t.Context(), p.URL)
			require.NoError(t, err)
			text, err := p.MarshalText()
			require.NoError(t, err)
			kept := new(client.Pending)
			require.NoError(t, kept.UnmarshalText(text))
			return session.Finish(t.Context(), kept, callback.Query())
		}
		require.NoError(t, login("alice", client.AuthCode{}))
		require.ErrorIs(t, login("bob", client.AuthCode{}), client.ErrOtherSubject)
		status, err := session.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, "alice", status.Subject)
		require.NoError(t, login("alice", client.AuthCode{}))
		require.NoError(t, login("bob", client.AuthCode{Replace: true}))
		status, err = session.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, "bob", status.Subject)
	})
}

// TestAnotherSubjectMustBeMeantByFlows: as by a web backend.
func TestAnotherSubjectMustBeMeantByFlows(t *testing.T) {
	flows := func(t *testing.T, s *clienttest.Server, config client.Config, flow func(replace bool) client.Flow) {
		session := s.NewClient(config).Session("mine")
		login := func(subject string, replace bool) error {
			s.Change(func() { s.Policy.Subject = subject })
			return session.Login(t.Context(), flow(replace))
		}
		require.NoError(t, login("alice", false))
		require.ErrorIs(t, login("bob", false), client.ErrOtherSubject)
		status, err := session.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, "alice", status.Subject)
		require.NoError(t, login("bob", true))
		status, err = session.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, "bob", status.Subject)
	}
	t.Run("Browser", func(t *testing.T) {
		s := clienttest.New(t)
		flows(t, s, client.Config{Scopes: []string{"openid"}}, func(replace bool) client.Flow {
			return client.Browser{Open: s.Open, Replace: replace}
		})
	})
	t.Run("Device", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := clienttest.New(t)
			flows(t, s, client.Config{Scopes: []string{"openid"}}, func(replace bool) client.Flow {
				return client.Device{Replace: replace, Prompt: func(_ context.Context, v client.Verification) error { return s.Approve(v.UserCode) }}
			})
		})
	})
}

// Shows R8252-6-1, R9700-2.1.1-1.
func TestStartRefusesReservedParameters(t *testing.T) {
	for _, name := range []string{"state", "scope", "redirect_uri", "code_challenge"} {
		_, err := clienttest.New(t).NewClient(web(nil)).Session("").Start(t.Context(), client.AuthCode{Params: url.Values{name: {"x"}}})
		e, ok := errors.AsType[*client.ConfigError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, "AuthCode.Params", e.Field)
	}
}

func TestStartNeedsARedirectURL(t *testing.T) {
	_, err := open(t, good()).Session("").Start(t.Context(), client.AuthCode{})
	e, ok := errors.AsType[*client.ConfigError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "Config.RedirectURL", e.Field)
}

func TestPendingIsNotWrittenAsJSON(t *testing.T) {
	begun(t, func(t *testing.T, _ *clienttest.Server, _ *client.Session, p *client.Pending, _ url.Values) {
		_, err := json.Marshal(struct{ P *client.Pending }{p})
		require.Error(t, err)
		require.ErrorIs(t, new(client.Pending).UnmarshalText([]byte("e30")), client.ErrPending)
		require.ErrorIs(t, new(client.Pending).UnmarshalText([]byte("*")), client.ErrPending)
	})
}

func TestLoginThatCannotBeSavedIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := clienttest.New(t), newFaulty()
		alice := s.NewClient(web(store)).Session("alice")
		p, err := alice.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		callback, err := s.Browse(t.Context(), p.URL)
		require.NoError(t, err)
		store.set(failFrom(1))
		require.ErrorIs(t, alice.Finish(t.Context(), p, callback.Query()), errDisk)
		require.Zero(t, s.Grants(), "what cannot be kept is given back")
	})
}
