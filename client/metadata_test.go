package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
)

// publisher answers for an issuer, and counts how often its document is asked for.
type publisher struct {
	t *testing.T

	mu       sync.Mutex
	document map[string]any // guarded by mu
	control  string         // Cache-Control; guarded by mu
	failing  bool           // the document cannot be had; guarded by mu
	gone     bool           // nothing is at the token endpoint of before; guarded by mu
	slow     time.Duration  // guarded by mu
	hanging  bool           // no document comes; guarded by mu
	away     bool           // the host of the token endpoint of before cannot be reached; guarded by mu
	asked    int            // guarded by mu
	posts    []string       // guarded by mu
}

func newPublisher(t *testing.T) *publisher {
	return &publisher{t: t, document: map[string]any{"issuer": "https://as.test", "token_endpoint": "https://as.test/token"}}
}

func (r *publisher) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	slow := r.slow
	r.mu.Unlock()
	time.Sleep(slow)
	if req.Method == http.MethodPost && req.URL.Host == "as.test" && r.isAway() {
		return nil, errReset // before anything is sent
	}
	if req.Method == http.MethodGet && r.isHanging() {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	if req.Body != nil {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.Method == http.MethodPost {
		r.posts = append(r.posts, req.URL.String())
		if r.gone && req.URL.String() == "https://as.test/token" {
			return answer(http.StatusNotFound, nil, ""), nil
		}
		return answer(http.StatusOK, nil, fmt.Sprintf(`{"access_token":"AT%d","token_type":"Bearer","expires_in":60}`, len(r.posts))), nil
	}
	if !strings.HasSuffix(req.URL.Path, "/.well-known/oauth-authorization-server") {
		return answer(http.StatusNotFound, nil, ""), nil
	}
	r.asked++
	if r.failing {
		return nil, errReset
	}
	data, err := json.Marshal(r.document)
	return answer(http.StatusOK, http.Header{"Cache-Control": {r.control}}, string(data)), err
}

func (r *publisher) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *publisher) isAway() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.away
}

func (r *publisher) isHanging() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hanging
}

func (r *publisher) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *publisher) client(store tokenstore.Store, set func(*client.Config)) *client.Client {
	c := client.Config{Issuer: "https://as.test", ClientID: "app", Store: store, AuthServerClient: &http.Client{Transport: r}}
	if set != nil {
		set(&c)
	}
	return open(r.t, c)
}

// renewing runs f in a bubble with a session whose every use is a renewal.
func renewing(t *testing.T, f func(t *testing.T, r *publisher, renew func() error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newPublisher(t)
		s := r.client(nil, nil).Session("alice")
		require.NoError(t, s.Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT"}))
		f(t, r, func() error { _, err := s.Renew(t.Context(), nil); return err })
	})
}

// Metadata is kept within bounds, asked for again when an endpoint fails, and never dropped for want of news.
func TestR8414_3_2_2(t *testing.T) {
	t.Run("asked for once in its life", func(t *testing.T) {
		renewing(t, func(t *testing.T, r *publisher, renew func() error) {
			r.change(func() { r.control = "max-age=1800" })
			for range 29 {
				require.NoError(t, renew())
				time.Sleep(time.Minute)
			}
			require.Equal(t, 1, r.count())
			time.Sleep(2 * time.Minute)
			require.NoError(t, renew())
			require.Equal(t, 2, r.count())
		})
	})
	t.Run("what was known holds while the issuer cannot be asked, which it is not all the time", func(t *testing.T) {
		renewing(t, func(t *testing.T, r *publisher, renew func() error) {
			require.NoError(t, renew())
			r.change(func() { r.failing = true })
			time.Sleep(2 * time.Hour)
			for range 50 {
				require.NoError(t, renew())
				time.Sleep(time.Second)
			}
			require.Equal(t, 2, r.count())
			r.change(func() { r.failing, r.document["token_endpoint"] = false, "https://as.test/moved" })
			time.Sleep(time.Minute)
			require.NoError(t, renew())
			require.Equal(t, "https://as.test/moved", r.posts[len(r.posts)-1])
		})
	})
	t.Run("asked for again when the host of an endpoint cannot be reached", func(t *testing.T) {
		renewing(t, func(t *testing.T, r *publisher, renew func() error) {
			require.NoError(t, renew())
			time.Sleep(2 * time.Minute)
			r.change(func() { r.away, r.document["token_endpoint"] = true, "https://elsewhere.test/token" })
			require.ErrorIs(t, renew(), errReset)
			time.Sleep(time.Minute)
			require.NoError(t, renew())
			require.Equal(t, []string{"https://as.test/token", "https://elsewhere.test/token"}, r.posts)
			require.Equal(t, 2, r.count())
		})
	})
	t.Run("nor is an issuer that does not answer waited for without end", func(t *testing.T) {
		renewing(t, func(t *testing.T, r *publisher, renew func() error) {
			r.change(func() { r.hanging = true })
			began := time.Now()
			require.ErrorIs(t, renew(), context.DeadlineExceeded)
			require.Equal(t, 30*time.Second, time.Since(began))
			require.Empty(t, r.posts)

			r.change(func() { r.hanging = false })
			time.Sleep(time.Minute)
			require.NoError(t, renew())
			time.Sleep(2 * time.Hour)
			r.change(func() { r.hanging = true })
			began = time.Now()
			require.NoError(t, renew(), "what was known holds")
			require.Equal(t, 5*time.Second, time.Since(began))
		})
	})
	t.Run("asked for again when an endpoint is gone", func(t *testing.T) {
		renewing(t, func(t *testing.T, r *publisher, renew func() error) {
			require.NoError(t, renew())
			time.Sleep(2 * time.Minute)
			r.change(func() { r.gone, r.document["token_endpoint"] = true, "https://elsewhere.test/token" })
			require.Error(t, renew())
			time.Sleep(time.Minute)
			require.NoError(t, renew())
			require.Equal(t, []string{"https://as.test/token", "https://as.test/token", "https://elsewhere.test/token"}, r.posts)
		})
	})
	t.Run("asked for again when a login has not found its endpoint", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newPublisher(t)
			r.document["authorization_endpoint"], r.gone = "https://as.test/authorize", true
			s := r.client(nil, func(c *client.Config) { c.RedirectURL = "https://app.test/callback" }).Session("alice")
			p, asked := begin(t, s, nil)
			time.Sleep(2 * time.Minute)
			require.Error(t, s.Finish(t.Context(), p, back(asked)))
			r.change(func() { r.document["token_endpoint"] = "https://as.test/moved" })
			p, asked = begin(t, s, nil)
			require.NoError(t, s.Finish(t.Context(), p, back(asked)))
			require.Equal(t, 2, r.count())
		})
	})
	t.Run("not more than once a minute", func(t *testing.T) {
		renewing(t, func(t *testing.T, r *publisher, renew func() error) {
			r.change(func() { r.gone = true })
			for range 600 {
				require.Error(t, renew())
				time.Sleep(time.Second)
			}
			require.LessOrEqual(t, r.count(), 10)
			require.GreaterOrEqual(t, r.count(), 5)
		})
	})
}

// One failure is everybody's who has waited for it (I12).
func TestFailureToDiscoverIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newPublisher(t)
		r.failing, r.slow = true, time.Second
		c := r.client(nil, func(c *client.Config) { c.Grant = client.ClientCredentials{}; c.ClientSecret = "s" })
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				_, err := c.Session(fmt.Sprint(i)).Token(t.Context())
				if e, ok := errors.AsType[*client.Error](err); !ok || e.Op != "discover" {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		require.Less(t, time.Since(began), 10*time.Second)
		require.LessOrEqual(t, r.count(), 2)
		r.change(func() { r.failing = false })
		time.Sleep(time.Minute)
		_, err := c.Session("0").Token(t.Context())
		require.NoError(t, err, "it is not remembered for ever")
	})
}

// Shows R8414-5-1: where Config.Endpoint says it all, an issuer may have no metadata; one that cannot be asked may not.
func TestIssuerWithoutMetadata(t *testing.T) {
	given := func(c *client.Config) { c.Endpoint.TokenURL = "https://as.test/token" }
	for name, c := range map[string]struct {
		absent bool
		set    func(*client.Config)
		want   bool
	}{
		"given":                     {true, given, true},
		"not given":                 {true, nil, false},
		"given, but it is not seen": {false, given, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk()
			d.absent = c.absent
			transport := http.RoundTripper(d)
			if !c.absent {
				r := newPublisher(t)
				r.failing = true
				transport = r
			}
			s := open(t, d.config(func(config *client.Config) {
				config.AuthServerClient = &http.Client{Transport: transport}
				if c.set != nil {
					c.set(config)
				}
			})).Session("alice")
			require.NoError(t, s.Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT"}))
			_, err := s.Token(t.Context())
			require.Equal(t, c.want, err == nil, "%v", err)
		})
	}
}

// Shows R6749-10.4-1, MCP26-BIND-1, R6749-2.2-1: a stored refresh token stays with the issuer that gave it.
func TestChangedIssuerNeverGetsAStoredRefreshToken(t *testing.T) {
	store := tokenstore.NewMemory()
	one := newPublisher(t)
	s := one.client(store, nil).Session("alice")
	require.NoError(t, s.Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT"}))
	for name, set := range map[string]func(*client.Config){
		"another issuer":             func(c *client.Config) { c.Issuer = "https://evil.test" },
		"a token endpoint alone":     func(c *client.Config) { c.Issuer, c.Endpoint.TokenURL = "", "https://evil.test/token" },
		"another spelling":           func(c *client.Config) { c.Issuer = "https://as.test/" },
		"another client of the same": func(c *client.Config) { c.ClientID = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			evil := newPublisher(t)
			c := evil.client(store, set)
			evil.document["issuer"] = "https://evil.test"
			_, err := c.Session("alice").Token(t.Context())
			require.ErrorIs(t, err, client.ErrLoginRequired)
			require.Empty(t, evil.posts)
		})
	}
	t.Run("a document that turns into another issuer's", func(t *testing.T) { // MCP26-META-1
		synctest.Test(t, func(t *testing.T) {
			r := newPublisher(t)
			s := r.client(nil, nil).Session("alice")
			require.NoError(t, s.Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT"}))
			token(t, s)
			r.change(func() {
				r.document = map[string]any{"issuer": "https://evil.test", "token_endpoint": "https://evil.test/token"}
			})
			time.Sleep(2 * time.Hour)
			token(t, s)
			require.Equal(t, []string{"https://as.test/token", "https://as.test/token"}, r.posts)
		})
	})
	require.NotEmpty(t, token(t, s))
	require.Equal(t, []string{"https://as.test/token"}, one.posts)
}

// between lets a test say what is answered in the place of next, if anything.
type between struct {
	next   http.RoundTripper
	answer func(*http.Request) (*http.Response, error) // nil, nil: what next answers
}

func (b between) RoundTrip(req *http.Request) (*http.Response, error) {
	if resp, err := b.answer(req); resp != nil || err != nil {
		return resp, err
	}
	return b.next.RoundTrip(req)
}

// Who gives up while the issuer is asked gives up for himself alone.
func TestAnAbandonedQuestionIsNobodyElsesFailure_I4(t *testing.T) {
	asked := 0
	first := func(req *http.Request) (*http.Response, error) {
		if !strings.Contains(req.URL.Path, "/.well-known/") {
			return nil, nil
		}
		if asked++; asked > 1 {
			return nil, nil
		}
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	openID(t, func(t *testing.T, _ *provider, alice *client.Session) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun, ended := make(chan bool), make(chan error)
		go func() {
			close(begun)
			_, err := alice.Start(ctx, client.AuthCode{})
			ended <- err
		}()
		<-begun
		synctest.Wait()
		start := time.Now()
		_, err := alice.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		require.Equal(t, time.Second, time.Since(start))
		require.ErrorIs(t, <-ended, context.DeadlineExceeded)
	}, func(c *client.Config) {
		c.AuthServerClient = &http.Client{Transport: between{c.AuthServerClient.Transport, first}}
	})
}

// An issuer whose document has gone keeps what it has promised: with a token endpoint in the Config, too.
func TestAPromiseOutlastsTheDocument(t *testing.T) {
	gone := false
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		p.metadata["authorization_response_iss_parameter_supported"] = true
		begin := func() url.Values {
			pending, err := alice.Start(t.Context(), client.AuthCode{})
			require.NoError(t, err)
			require.ErrorIs(t, alice.Finish(t.Context(), pending, url.Values{"code": {"c"}, "state": {asks(t, pending).Get("state")}}), client.ErrPending)
			return asks(t, pending)
		}
		begin()
		gone = true
		time.Sleep(25 * time.Hour)
		begin()
		require.Zero(t, p.count("/token"))
	}, func(c *client.Config) {
		c.Endpoint.AuthURL, c.Endpoint.TokenURL = "https://as.test/authorize", "https://as.test/token"
		c.AuthServerClient = &http.Client{Transport: between{c.AuthServerClient.Transport, func(req *http.Request) (*http.Response, error) {
			if gone && strings.Contains(req.URL.Path, "/.well-known/") {
				return answer(http.StatusNotFound, nil, ""), nil
			}
			return nil, nil
		}}}
	})
}

// asks are the parameters of a login's authorization request.
func asks(t *testing.T, p *client.Pending) url.Values {
	t.Helper()
	address, err := url.Parse(p.URL)
	require.NoError(t, err)
	return address.Query()
}

// A server that hangs before the person is asked holds up nobody for ever, and nobody who has gone.
func TestWhatComesBeforeALoginHasItsTime(t *testing.T) {
	login := map[string]func(context.Context, *client.Session) error{
		"/par": func(ctx context.Context, s *client.Session) error {
			_, err := s.Start(ctx, client.AuthCode{})
			return err
		},
		"/device": func(ctx context.Context, s *client.Session) error {
			return s.Login(ctx, client.Device{Prompt: shown})
		},
	}
	for path, begin := range login {
		for name, limit := range map[string]time.Duration{"its own time": 30 * time.Second, "the caller's": 7 * time.Second} {
			t.Run(path+"/"+name, func(t *testing.T) {
				openID(t, func(t *testing.T, p *provider, alice *client.Session) {
					p.metadata["pushed_authorization_request_endpoint"] = "https://as.test/par"
					p.metadata["device_authorization_endpoint"] = "https://as.test/device"
					ctx := context.Background()
					if limit < 30*time.Second {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, limit)
						defer cancel()
					}
					begun := time.Now()
					require.ErrorIs(t, begin(ctx, alice), context.DeadlineExceeded)
					require.Equal(t, limit, time.Since(begun))
				}, func(c *client.Config) {
					c.AuthServerClient = &http.Client{Transport: mute{c.AuthServerClient.Transport, []string{path}}}
				})
			})
		}
	}
}
