package client_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
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

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/transport"
)

// possession is a server that binds tokens, an API, and what was sent to them.
type possession struct {
	t     *testing.T
	as    *clienttest.Server
	api   *clienttest.API
	store tokenstore.Store

	mu   sync.Mutex
	sent []provenRequest // guarded by mu
}

// provenRequest is a request as far as DPoP goes.
type provenRequest struct {
	path, grant, scheme string
	proofs              []string
	claims              map[string]any // of the first proof
	key                 string         // its thumbprint
}

func newPossession(t *testing.T) *possession {
	p := &possession{t: t, as: clienttest.New(t), store: tokenstore.NewMemory()}
	p.as.Policy.DPoP = true
	p.api = p.as.NewAPI("api.test")
	return p
}

// RoundTrip notes a request and passes it on.
func (p *possession) RoundTrip(req *http.Request) (*http.Response, error) {
	seen := provenRequest{path: req.URL.Path, proofs: req.Header.Values("DPoP")}
	seen.scheme, _, _ = strings.Cut(req.Header.Get("Authorization"), " ")
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, err
		}
		form, _ := url.ParseQuery(string(body))
		seen.grant = form.Get("grant_type")
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	if len(seen.proofs) > 0 {
		seen.claims, seen.key = readProof(p.t, seen.proofs[0])
	}
	p.mu.Lock()
	p.sent = append(p.sent, seen)
	p.mu.Unlock()
	return p.as.HTTPClient("").Transport.RoundTrip(req)
}

// readProof checks the signature of a proof.
func readProof(t *testing.T, proof string) (claims map[string]any, key string) {
	parsed, err := jose.ParseSignedCompact(proof, []jose.SignatureAlgorithm{jose.ES256, jose.ES384})
	if err != nil {
		t.Errorf("a proof is none: %v", err)
		return nil, ""
	}
	public := parsed.Signatures[0].Protected.JSONWebKey
	payload, err := parsed.Verify(public)
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		t.Errorf("a proof is wrong: %v", err)
	}
	sum, _ := public.Thumbprint(crypto.SHA256)
	return claims, base64.RawURLEncoding.EncodeToString(sum)
}

// seen gives the requests so far with this path, or all.
func (p *possession) seen(path string) []provenRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	var some []provenRequest
	for _, r := range p.sent {
		if path == "" || r.path == path {
			some = append(some, r)
		}
	}
	return some
}

func (p *possession) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = nil
}

// client is a process over the store.
func (p *possession) client(change func(*client.Config)) *client.Client {
	config := client.Config{
		Issuer: p.as.Issuer, ClientID: "app", ClientSecret: p.as.Config().ClientSecret, RedirectURL: "https://app.test/callback",
		Scopes: []string{"read"}, Store: p.store, DPoP: &client.DPoP{}, AuthServerClient: &http.Client{Transport: p},
	}
	if change != nil {
		change(&config)
	}
	return open(p.t, config)
}

// login logs alice in by a code.
func (p *possession) login(c *client.Client) *client.Session {
	p.t.Helper()
	alice := c.Session("alice")
	require.NoError(p.t, p.tryLogin(alice))
	return alice
}

func (p *possession) tryLogin(s *client.Session) error {
	pending, err := s.Start(p.t.Context(), client.AuthCode{})
	require.NoError(p.t, err)
	back, err := p.as.Browse(p.t.Context(), pending.URL)
	require.NoError(p.t, err)
	return s.Finish(p.t.Context(), pending, back.Query())
}

// get asks the API in the session's name.
func (p *possession) get(s *client.Session) int {
	p.t.Helper()
	resp, err := s.Wrap(&http.Client{Transport: p}).Get(p.api.URL + "/things?x=1")
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Body.Close())
	return resp.StatusCode
}

// record is alice's in the store, or that of a configured grant in her session.
func (p *possession) record() *record.Record {
	p.t.Helper()
	key := tokenstore.Key(p.as.Issuer, "app", "alice")
	if lister, ok := p.store.(tokenstore.Lister); ok {
		for stored, err := range lister.Keys(p.t.Context(), "") {
			require.NoError(p.t, err)
			if strings.HasSuffix(stored, "/alice") {
				key = stored
			}
		}
	}
	data, _, err := p.store.Load(p.t.Context(), key)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return nil
	}
	require.NoError(p.t, err)
	r, err := record.Decode(data)
	require.NoError(p.t, err)
	return r
}

func newP256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func thumbprint(t testing.TB, key crypto.Signer) string {
	t.Helper()
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	require.NoError(t, err)
	return base64.RawURLEncoding.EncodeToString(sum)
}

// inTime runs a test in a bubble.
func inTime(t *testing.T, f func(*testing.T, *possession)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newPossession(t)) })
}

func TestR9449_5_1(t *testing.T) {
	for name, run := range map[string]struct {
		grant string
		do    func(*testing.T, *possession)
		set   func(*client.Config)
	}{
		"authorization code": {grant: "authorization_code", do: func(_ *testing.T, p *possession) { p.login(p.client(nil)) }},
		"refresh": {grant: "refresh_token", do: func(t *testing.T, p *possession) {
			alice := p.login(p.client(nil))
			p.forget()
			_, err := alice.Renew(t.Context(), nil)
			require.NoError(t, err)
		}},
		"device": {grant: "urn:ietf:params:oauth:grant-type:device_code", do: func(t *testing.T, p *possession) {
			require.NoError(t, p.client(nil).Session("alice").Login(t.Context(), client.Device{
				Prompt: func(_ context.Context, v client.Verification) error { return p.as.Approve(v.UserCode) },
			}))
		}},
		"client credentials": {grant: "client_credentials", do: func(t *testing.T, p *possession) {
			token(t, p.client(func(c *client.Config) { c.Grant = client.ClientCredentials{} }).Session("alice"))
		}, set: func(c *client.Config) { c.Grant = client.ClientCredentials{} }},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, p *possession) {
				run.do(t, p)
				requests := p.seen("/token")
				require.Len(t, requests, 1)
				require.Equal(t, run.grant, requests[0].grant)
				require.Len(t, requests[0].proofs, 1)
				claims := requests[0].claims
				require.Equal(t, "POST", claims["htm"])
				require.Equal(t, p.as.Issuer+"/token", claims["htu"])
				require.NotContains(t, claims, "ath")

				alice := p.client(run.set).Session("alice") // another process
				got, err := alice.Token(t.Context())
				require.NoError(t, err)
				require.Equal(t, "DPoP", got.TokenType)
				require.Equal(t, 200, p.get(alice))
				asked := p.seen("/things")
				require.Len(t, asked, 1)
				require.Equal(t, "DPoP", asked[0].scheme)
				require.Equal(t, p.api.URL+"/things", asked[0].claims["htu"])
				sum := sha256.Sum256([]byte(got.AccessToken))
				require.Equal(t, base64.RawURLEncoding.EncodeToString(sum[:]), asked[0].claims["ath"])
				require.Equal(t, requests[0].key, asked[0].key)
			})
		})
	}
	for name, grant := range map[string]client.Grant{
		"JWT bearer": client.JWTBearer{Key: &client.Key{Signer: newP256(t)}, Issuer: "app"},
		"token exchange": client.TokenExchange{SubjectType: "urn:ietf:params:oauth:token-type:access_token", Subject: func(string) transport.Source {
			return client.TokenFunc(func(context.Context) (*oauth2.Token, error) {
				return &oauth2.Token{AccessToken: "subject token"}, nil
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, p *possession) {
				url := p.as.Handle("https://other.test", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					fmt.Fprint(w, `{"access_token":"AT","token_type":"DPoP","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`)
				}))
				c := p.client(func(c *client.Config) { c.Issuer, c.Endpoint.TokenURL, c.Grant = "", url+"/token", grant })
				require.Equal(t, "AT", token(t, c.Session("alice")))
				requests := p.seen("/token")
				require.Len(t, requests, 1)
				require.Len(t, requests[0].proofs, 1)
			})
		})
	}
	t.Run("no proof for a revocation or a device authorization", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			c := p.client(nil)
			require.NoError(t, p.login(c).Logout(t.Context()))
			require.NotEmpty(t, p.seen("/revoke"))
			for _, seen := range p.seen("/revoke") {
				require.Empty(t, seen.proofs)
			}
		})
	})
}

func TestR9449_5_2(t *testing.T) {
	t.Run("one key for a grant, in all processes", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			p.login(p.client(nil))
			key := p.record().DPoP.Thumbprint
			for range 3 {
				alice := p.client(nil).Session("alice")
				_, err := alice.Renew(t.Context(), nil)
				require.NoError(t, err)
				require.Equal(t, 200, p.get(alice))
				require.Equal(t, 200, p.get(alice.Resource(p.api.URL)))
			}
			for _, r := range p.seen("") {
				if len(r.proofs) > 0 {
					require.Equal(t, key, r.key)
				}
			}
			require.Len(t, p.as.Renewals(), 4, "the other resource's token is in the store")
			require.Equal(t, key, p.record().DPoP.Thumbprint)
		})
	})
	t.Run("another key for another grant", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			alice := p.login(p.client(nil))
			before := p.record().DPoP.Thumbprint
			require.NoError(t, p.tryLogin(alice))
			require.NotEqual(t, before, p.record().DPoP.Thumbprint)
			require.Equal(t, 200, p.get(alice))
		})
	})
	lost := map[string]func(*testing.T, *possession, *client.Config){
		"the program's key is another": func(t *testing.T, _ *possession, c *client.Config) {
			c.DPoP = &client.DPoP{Key: &client.Key{Signer: newP256(t)}}
		},
		"the program has none":              func(_ *testing.T, _ *possession, c *client.Config) { c.DPoP = nil },
		"the program makes keys of its own": func(_ *testing.T, _ *possession, c *client.Config) { c.DPoP = &client.DPoP{} },
	}
	for name, change := range lost {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, p *possession) {
				p.login(p.client(func(c *client.Config) { c.DPoP = &client.DPoP{Key: &client.Key{Signer: newP256(t)}} }))
				before := p.record()
				p.forget()
				alice := p.client(func(c *client.Config) { change(t, p, c) }).Session("alice")
				_, err := alice.Token(t.Context())
				require.ErrorIs(t, err, client.ErrLoginRequired)
				var failed *client.Error
				require.ErrorAs(t, err, &failed)
				require.Equal(t, "other key", failed.Cause)
				var field *client.ConfigError
				require.ErrorAs(t, err, &field)
				require.Equal(t, "Config.DPoP.Key", field.Field)
				require.Empty(t, p.seen("/token"), "the refresh token is not sent with another key's proof, or without one")
				require.Equal(t, before, p.record())
			})
		})
	}
	t.Run("a login mends it", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			p.login(p.client(func(c *client.Config) { c.DPoP = &client.DPoP{Key: &client.Key{Signer: newP256(t)}} }))
			require.Equal(t, 200, p.get(p.login(p.client(nil))))
		})
	})
	t.Run("a configured grant gets another key", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			for range 2 {
				key := newP256(t)
				s := p.client(func(c *client.Config) {
					c.DPoP, c.Grant = &client.DPoP{Key: &client.Key{Signer: key}}, client.ClientCredentials{}
				}).Session("alice")
				require.Equal(t, 200, p.get(s))
				require.Equal(t, thumbprint(t, key), p.record().DPoP.Thumbprint)
			}
		})
	})
}

// TestABoundGrantStaysBound in a Client that knows nothing of DPoP: its key is in the record.
func TestABoundGrantStaysBound(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		p.login(p.client(nil))
		alice := p.client(func(c *client.Config) { c.DPoP = nil }).Session("alice")
		require.Equal(t, 200, p.get(alice))
		_, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, 200, p.get(alice))
	})
}

// TestDPoPAtAServerThatHasNone costs no grant: without Config.DPoP it goes on as before.
func TestDPoPAtAServerThatHasNone(t *testing.T) {
	for name, key := range map[string]*client.Key{"a key of its own": nil, "the program's": {Signer: newP256(t)}} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, p *possession) {
				p.as.Policy.DPoP = false
				plain := func(c *client.Config) { c.DPoP = nil }
				p.login(p.client(plain))
				for range 2 {
					alice := p.client(func(c *client.Config) { c.DPoP = &client.DPoP{Key: key} }).Session("alice")
					_, err := alice.Token(t.Context())
					require.ErrorIs(t, err, transport.ErrToken)
					time.Sleep(time.Minute)
				}
				require.Equal(t, 200, p.get(p.client(plain).Session("alice")))
				require.Equal(t, "Bearer", p.seen("/things")[0].scheme)
				require.Empty(t, p.as.Reuses())
				another := p.client(func(c *client.Config) { c.DPoP = &client.DPoP{Key: &client.Key{Signer: newP256(t)}} }).Session("alice")
				p.as.Change(func() { p.as.Policy.DPoP = true })
				require.Equal(t, 200, p.get(another), "nothing was bound to the first key")
			})
		})
	}
}

// TestAGrantOfBeforeIsBoundByItsNextRenewal, which comes before its next use.
func TestAGrantOfBeforeIsBoundByItsNextRenewal(t *testing.T) {
	for name, key := range map[string]*client.Key{"a key of its own": nil, "the program's": {Signer: newP256(t)}} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, p *possession) {
				p.as.Policy.DPoP = false
				alice := p.login(p.client(func(c *client.Config) { c.DPoP = nil }))
				require.Equal(t, 200, p.get(alice))
				p.as.Change(func() { p.as.Policy.DPoP = true })
				p.forget()

				alice = p.client(func(c *client.Config) { c.DPoP = &client.DPoP{Key: key} }).Session("alice")
				require.Equal(t, 200, p.get(alice))
				require.Len(t, p.seen("/things"), 1, "the Bearer token was not used")
				require.Equal(t, "DPoP", p.seen("/things")[0].scheme)
				require.Equal(t, p.seen("/things")[0].key, p.record().DPoP.Thumbprint)

				alice = p.client(func(c *client.Config) { c.DPoP = &client.DPoP{Key: &client.Key{Signer: newP256(t)}} }).Session("alice")
				if _, err := alice.Renew(t.Context(), nil); key != nil {
					var failed *client.Error
					require.ErrorAs(t, err, &failed)
					require.Equal(t, "other key", failed.Cause, "by now it is bound")
				} else {
					require.NoError(t, err, "by the key in its record")
					require.Equal(t, 200, p.get(alice))
				}
			})
		})
	}
}

// Shows R9700-2.2.1-1.
func TestR9449_5_3(t *testing.T) {
	bearer := func(p *possession, yes bool) {
		p.as.Change(func() {
			p.as.Policy.Answer = nil
			if yes {
				p.as.Policy.Answer = map[string]any{"token_type": "Bearer"}
			}
		})
	}
	t.Run("login", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			bearer(p, true)
			err := p.tryLogin(p.client(nil).Session("alice"))
			require.ErrorIs(t, err, transport.ErrToken)
			require.Nil(t, p.record(), "nothing is stored")
			require.Zero(t, p.as.Grants(), "and nothing is left behind")
		})
	})
	t.Run("renewal", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			alice := p.login(p.client(nil))
			before := token(t, alice)
			bearer(p, true)
			_, err := alice.Renew(t.Context(), nil)
			require.ErrorIs(t, err, transport.ErrToken)
			require.NotErrorIs(t, err, client.ErrLoginRequired)
			require.NotEmpty(t, p.record().RefreshToken)
			require.Equal(t, before, token(t, p.client(nil).Session("alice")), "the discarded token is in nobody's hands")
			time.Sleep(2 * time.Hour)
			_, err = p.client(nil).Session("alice").Token(t.Context())
			require.ErrorIs(t, err, transport.ErrToken, "not even when the one before has ended")

			bearer(p, false)
			time.Sleep(time.Minute)
			require.Equal(t, 200, p.get(alice), "the refresh token that came along was kept")
			require.Empty(t, p.as.Reuses())
			for _, r := range p.seen("/things") {
				require.Equal(t, "DPoP", r.scheme)
			}
		})
	})
	t.Run("renewal that cannot be saved", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			store := &spied{Store: p.store, vault: &vault{kinds: map[string]map[string]bool{}}}
			p.store = store
			alice := p.login(p.client(nil))
			bearer(p, true)
			p.as.Fail("/token", clienttest.Fault{WaitAnswer: time.Second})
			time.AfterFunc(time.Second/2, func() { store.fail(errDisk) })
			_, err := alice.Renew(t.Context(), nil)
			require.ErrorIs(t, err, transport.ErrToken)
			bearer(p, false)
			store.fail(nil)
			time.Sleep(time.Minute)
			require.Equal(t, 200, p.get(alice))
			require.Empty(t, p.as.Reuses())
		})
	})
	t.Run("a Bearer token for who does not insist", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			p.login(p.client(nil))
			p.as.Change(func() { p.as.Policy.DPoP = false })
			server := &refusing{t: t, answers: []func(http.ResponseWriter){func(w http.ResponseWriter) {
				fmt.Fprint(w, `{"access_token":"AT","token_type":"Bearer","expires_in":3600}`)
			}}}
			address := p.as.Handle("https://other.test", server)
			alice := p.client(func(c *client.Config) { c.DPoP, c.Endpoint.TokenURL = nil, address+"/token" }).Session("alice")
			got, err := alice.Renew(t.Context(), nil)
			require.NoError(t, err)
			require.Equal(t, "Bearer", got.TokenType)
			require.Len(t, server.asked, 1)
			require.NotEmpty(t, server.asked[0], "the refresh token is bound, and goes with a proof")
			p.get(alice)
			require.Equal(t, "Bearer", p.seen("/things")[0].scheme)
			require.Empty(t, p.seen("/things")[0].proofs)
		})
	})
	t.Run("client credentials", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			bearer(p, true)
			_, err := p.client(func(c *client.Config) { c.Grant = client.ClientCredentials{} }).Session("alice").Token(t.Context())
			require.ErrorIs(t, err, transport.ErrToken)
		})
	})
	t.Run("a bound token that nobody asked for", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			p.as.Policy.DPoP, p.as.Policy.Answer = false, map[string]any{"token_type": "DPoP"}
			err := p.tryLogin(p.client(func(c *client.Config) { c.DPoP = nil }).Session("alice"))
			require.Error(t, err)
			require.Nil(t, p.record())
		})
	})
}

// refusing is a token endpoint that answers what it is told, one answer after the other, and then well.
type refusing struct {
	t       *testing.T
	answers []func(http.ResponseWriter)
	asked   []map[string]any // the claims of the proofs
	forms   []url.Values
}

func (r *refusing) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	claims, _ := readProof(r.t, req.Header.Get("DPoP"))
	_ = req.ParseForm()
	r.asked, r.forms = append(r.asked, claims), append(r.forms, req.PostForm)
	if n := len(r.asked) - 1; n < len(r.answers) {
		r.answers[n](w)
		return
	}
	fmt.Fprintf(w, `{"access_token":"AT%d","token_type":"dpop","refresh_token":"RT%d","expires_in":3600}`, len(r.asked), len(r.asked))
}

func (r *refusing) nonces() (all []any) {
	for _, claims := range r.asked {
		all = append(all, claims["nonce"])
	}
	return all
}

// refuses answers with an error code and nonces.
func refuses(code string, nonces ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for _, nonce := range nonces {
			w.Header().Add("DPoP-Nonce", nonce)
		}
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":%q}`, code)
	}
}

func gives(nonces ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for _, nonce := range nonces {
			w.Header().Add("DPoP-Nonce", nonce)
		}
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"DPoP","refresh_token":"RT","expires_in":3600}`, rand.Text())
	}
}

// adopt is a session with the refresh token RT0 at a server that gives these answers.
func (p *possession) adopt(answers ...func(http.ResponseWriter)) (*client.Session, *refusing) {
	p.t.Helper()
	server := &refusing{t: p.t, answers: answers}
	address := p.as.Handle("https://other.test", server)
	alice := p.client(func(c *client.Config) { c.Issuer, c.Endpoint.TokenURL = "", address+"/token" }).Session("alice")
	require.NoError(p.t, alice.Adopt(p.t.Context(), &oauth2.Token{RefreshToken: "RT0"}))
	return alice, server
}

func TestR9449_8_1(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []func(http.ResponseWriter)
		nonces  []any
		fails   bool
	}{
		{"once", []func(http.ResponseWriter){refuses("use_dpop_nonce", "n1")}, []any{nil, "n1"}, false},
		{"twice", []func(http.ResponseWriter){refuses("use_dpop_nonce", "n1"), refuses("use_dpop_nonce", "n2")}, []any{nil, "n1"}, true},
		{"the same again", []func(http.ResponseWriter){refuses("use_dpop_nonce", "n1"), refuses("use_dpop_nonce", "n1")}, []any{nil, "n1"}, true},
		{"without a nonce", []func(http.ResponseWriter){refuses("use_dpop_nonce")}, []any{nil}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, p *possession) {
				alice, server := p.adopt(tt.answers...)
				_, err := alice.Token(t.Context())
				require.Equal(t, tt.nonces, server.nonces())
				for _, form := range server.forms {
					require.Equal(t, "RT0", form.Get("refresh_token"), "refused before it was used")
				}
				if !tt.fails {
					require.NoError(t, err)
					return
				}
				var failed *client.Error
				require.ErrorAs(t, err, &failed)
				require.Equal(t, "use_dpop_nonce", failed.Code)
				require.NotErrorIs(t, err, client.ErrLoginRequired)
			})
		})
	}
	t.Run("a code", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			p.as.Policy.Nonce = "n1"
			alice := p.login(p.client(nil))
			require.Len(t, p.seen("/token"), 2)
			require.NotEqual(t, p.seen("/token")[0].claims["jti"], p.seen("/token")[1].claims["jti"])
			p.as.Change(func() { p.as.Policy.Nonce = "n2" })
			_, err := alice.Renew(t.Context(), nil)
			require.NoError(t, err)
			require.Len(t, p.seen("/token"), 4)
			require.Empty(t, p.as.Reuses())
		})
	})
}

func TestR9449_8_2(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		alice, server := p.adopt(refuses("use_dpop_nonce", "n1", "n2"), gives("n3", "n4"), gives())
		_, err := alice.Token(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute)
		for range 2 {
			_, err = alice.Renew(t.Context(), nil)
			require.NoError(t, err)
		}
		require.Equal(t, []any{nil, nil, nil}, server.nonces(), "of two nonces none is taken")
	})
}

func TestR9449_8_2_1(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		alice, server := p.adopt(gives("n1"), gives(), gives("n2"), refuses("invalid_scope", "n3"), gives())
		for range server.answers {
			_, _ = alice.Renew(t.Context(), nil)
			time.Sleep(2 * time.Minute)
		}
		require.Equal(t, []any{nil, "n1", "n1", "n2", "n3"}, server.nonces())
	})
}

func TestR9449_5_4(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		alice, server := p.adopt(refuses("invalid_dpop_proof"), refuses("invalid_dpop_proof"))
		_, err := alice.Token(t.Context())
		var failed *client.Error
		require.ErrorAs(t, err, &failed)
		require.Equal(t, "invalid_dpop_proof", failed.Code)
		require.NotErrorIs(t, err, client.ErrLoginRequired)
		require.Len(t, server.asked, 2, "a proof may have been too old once")
		status, err := alice.Status(t.Context())
		require.NoError(t, err)
		require.NoError(t, status.Failure, "the grant is not marked")
		time.Sleep(time.Minute)
		require.Equal(t, "AT3", token(t, alice))
		require.Equal(t, "RT0", server.forms[2].Get("refresh_token"))
	})
}

func TestR9449_4_3_1(t *testing.T) {
	const ahead = 20 * time.Second // less than what is corrected without a server's word
	// strict takes proofs of its own second only.
	strict := func(t *testing.T, good http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			now := time.Now().Add(ahead)
			w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
			claims, _ := readProof(t, r.Header.Get("DPoP"))
			if made := time.Unix(int64(claims["iat"].(float64)), 0); now.Sub(made).Abs() < 2*time.Second {
				good(w, r)
				return
			}
			w.Header().Set("WWW-Authenticate", `DPoP error="invalid_dpop_proof"`)
			if r.Method == http.MethodPost {
				refuses("invalid_dpop_proof")(w)
			} else {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}
	}
	inTime(t, func(t *testing.T, p *possession) {
		as := p.as.Handle("https://other.test", strict(t, func(w http.ResponseWriter, _ *http.Request) { gives()(w) }))
		rs := p.as.Handle("https://rs.test", strict(t, func(http.ResponseWriter, *http.Request) {}))
		alice := p.client(func(c *client.Config) { c.Issuer, c.Endpoint.TokenURL = "", as+"/token" }).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT0"}))
		for range 2 {
			resp, err := alice.Wrap(&http.Client{Transport: p}).Get(rs + "/things")
			require.NoError(t, err)
			require.Equal(t, 200, resp.StatusCode)
		}
		require.Len(t, p.seen("/token"), 2, "once with the local clock, once with the server's")
		require.Len(t, p.seen("/things"), 3, "and its clock is remembered")
	})
}

// Shows R9449-9-1, R9449-9-2.
//
// Nonces of the API, by all HTTP clients of a Client, and none of one kind of server at the other.
func TestNoncesOfAnAPI(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		p.as.Policy.Nonce, p.api.Nonce = "of-the-server", "of-the-API"
		c := p.client(nil)
		alice := p.login(c)
		require.Equal(t, 200, p.get(alice))
		require.Equal(t, 200, p.get(alice))
		require.Equal(t, 200, p.get(alice.Resource(p.api.URL)))
		var got []any
		for _, r := range p.seen("/things") {
			got = append(got, r.claims["nonce"])
		}
		require.Equal(t, []any{nil, "of-the-API", "of-the-API", "of-the-API"}, got)
		require.Len(t, p.as.Renewals(), 1, "for the other resource; none for a nonce")
	})
	t.Run("at one origin", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			server := &refusing{t: t, answers: []func(http.ResponseWriter){gives("of-the-server")}}
			var asked []any
			address := p.as.Handle("https://other.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					server.ServeHTTP(w, r)
					return
				}
				claims, _ := readProof(t, r.Header.Get("DPoP"))
				asked = append(asked, claims["nonce"])
				w.Header().Set("DPoP-Nonce", "of-the-API")
			}))
			alice := p.client(func(c *client.Config) { c.Issuer, c.Endpoint.TokenURL = "", address+"/token" }).Session("alice")
			require.NoError(t, alice.Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT0"}))
			for range 2 {
				_, err := alice.Wrap(&http.Client{Transport: p}).Get(address + "/things")
				require.NoError(t, err)
			}
			_, err := alice.Renew(t.Context(), nil)
			require.NoError(t, err)
			require.Equal(t, []any{nil, "of-the-API"}, asked)
			require.Equal(t, []any{nil, "of-the-server"}, server.nonces())
		})
	})
}

func TestR9449_10_1(t *testing.T) {
	own := newP256(t)
	for name, key := range map[string]*client.Key{"a key of its own": nil, "the program's": {Signer: own}} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, p *possession) {
				set := func(c *client.Config) { c.DPoP = &client.DPoP{Key: key} }
				pending, err := p.client(set).Session("alice").Start(t.Context(), client.AuthCode{})
				require.NoError(t, err)
				address, err := url.Parse(pending.URL)
				require.NoError(t, err)
				jkt := address.Query().Get("dpop_jkt")
				if key != nil {
					require.Equal(t, thumbprint(t, own), jkt)
				}

				text, err := pending.MarshalText() // as the other process of a web backend gets it
				require.NoError(t, err)
				var elsewhere client.Pending
				require.NoError(t, elsewhere.UnmarshalText(text))
				back, err := p.as.Browse(t.Context(), elsewhere.URL)
				require.NoError(t, err)
				require.NoError(t, p.client(set).Session("alice").Finish(t.Context(), &elsewhere, back.Query()))
				require.Equal(t, jkt, p.seen("/token")[0].key)
				require.Equal(t, jkt, p.record().DPoP.Thumbprint)
			})
		})
	}
	t.Run("it is finished by a process that knows nothing of DPoP", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			pending, err := p.client(nil).Session("alice").Start(t.Context(), client.AuthCode{})
			require.NoError(t, err)
			back, err := p.as.Browse(t.Context(), pending.URL)
			require.NoError(t, err)
			alice := p.client(func(c *client.Config) { c.DPoP = nil }).Session("alice")
			require.NoError(t, alice.Finish(t.Context(), pending, back.Query()))
			require.Equal(t, p.record().DPoP.Thumbprint, p.seen("/token")[0].key)
			require.Equal(t, 200, p.get(alice))
		})
	})
	t.Run("it is nobody else's to set", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			_, err := p.client(nil).Session("alice").Start(t.Context(), client.AuthCode{Params: url.Values{"dpop_jkt": {"x"}}})
			var field *client.ConfigError
			require.ErrorAs(t, err, &field)
		})
	})
	t.Run("a code is not redeemed with another key", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			pending, err := p.client(func(c *client.Config) { c.DPoP = &client.DPoP{Key: &client.Key{Signer: own}} }).Session("alice").Start(t.Context(), client.AuthCode{})
			require.NoError(t, err)
			back, err := p.as.Browse(t.Context(), pending.URL)
			require.NoError(t, err)
			err = p.client(nil).Session("alice").Finish(t.Context(), pending, back.Query())
			var field *client.ConfigError
			require.ErrorAs(t, err, &field)
			require.Equal(t, "Config.DPoP.Key", field.Field)
			require.Empty(t, p.seen("/token"))
		})
	})
}

func TestR9449_10_1_1(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		own := newP256(t)
		var pushed url.Values
		endpoint := p.as.Handle("https://par.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			pushed = r.PostForm
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"request_uri":"urn:example:1","expires_in":60}`)
		}))
		p.as.Policy.Metadata = map[string]any{"pushed_authorization_request_endpoint": endpoint + "/par"}
		c := p.client(func(c *client.Config) { c.DPoP = &client.DPoP{Key: &client.Key{Signer: own}} })
		pending, err := c.Session("alice").Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		require.Equal(t, []string{thumbprint(t, own)}, pushed["dpop_jkt"])
		require.NotContains(t, pending.URL, "dpop_jkt")
		require.Empty(t, p.seen("/par")[0].proofs, "one of both ways is enough, and then they cannot disagree")
	})
}

// service is a key that cannot be taken out.
type service struct{ crypto.Signer }

func TestR9449_11_4_1(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		key := newP256(t)
		alice := p.login(p.client(func(c *client.Config) { c.DPoP = &client.DPoP{Key: &client.Key{Signer: service{key}}} }))
		require.Equal(t, 200, p.get(alice))
		require.Equal(t, &record.Binding{Thumbprint: thumbprint(t, key), Bound: true}, p.record().DPoP)
	})
}

func TestR9449_5_1_1(t *testing.T) {
	offers := func(p *possession, algorithms ...string) {
		p.as.Policy.Metadata = map[string]any{"dpop_signing_alg_values_supported": algorithms}
	}
	t.Run("a key that the server takes is made", func(t *testing.T) {
		inTime(t, func(t *testing.T, p *possession) {
			offers(p, "RS256", "ES384")
			require.Equal(t, 200, p.get(p.login(p.client(nil))))
			require.Contains(t, string(p.record().DPoP.Key), `"P-384"`)
		})
	})
	for name, dpop := range map[string]*client.DPoP{
		"the program's key is not taken": {Key: &client.Key{Signer: newP256(t)}},
		"no key can be made":             {},
	} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, p *possession) {
				offers(p, "HS256")
				_, err := p.client(func(c *client.Config) { c.DPoP = dpop }).Session("alice").Start(t.Context(), client.AuthCode{})
				var field *client.ConfigError
				require.ErrorAs(t, err, &field)
			})
		})
	}
}

func TestAdoptingABoundToken(t *testing.T) {
	key := newP256(t)
	for _, tt := range []struct {
		name string
		dpop *client.DPoP
		ok   bool
	}{
		{"with the program's key", &client.DPoP{Key: &client.Key{Signer: key}}, true},
		{"with keys of the grants' own", &client.DPoP{}, false},
		{"without any", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inTime(t, func(t *testing.T, p *possession) {
				alice := p.client(func(c *client.Config) { c.DPoP = tt.dpop }).Session("alice")
				err := alice.Adopt(t.Context(), &oauth2.Token{AccessToken: "AT", TokenType: "DPoP", RefreshToken: "RT"})
				if !tt.ok {
					var field *client.ConfigError
					require.ErrorAs(t, err, &field)
					require.Equal(t, "Config.DPoP.Key", field.Field)
					require.Nil(t, p.record())
					return
				}
				require.NoError(t, err)
				got, err := alice.Token(t.Context())
				require.NoError(t, err)
				proof, err := alice.Prove(t.Context(), got, "GET", "https://api.test/", "")
				require.NoError(t, err)
				_, by := readProof(t, proof)
				require.Equal(t, thumbprint(t, key), by)

				elsewhere := p.client(func(c *client.Config) { c.DPoP = nil }).Session("alice")
				_, err = elsewhere.Renew(t.Context(), nil)
				require.ErrorIs(t, err, client.ErrLoginRequired)
				require.Empty(t, p.seen("/token"), "its refresh token is bound as well, and is not sent without a proof")
			})
		})
	}
}

func TestAdoptingATokenThatIsNotBound(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		alice := p.client(nil).Session("alice")
		require.ErrorIs(t, alice.Adopt(t.Context(), &oauth2.Token{AccessToken: "AT"}), transport.ErrToken)
		require.Nil(t, p.record())

		p.as.Policy.DPoP = false
		grant := p.as.Login("read")
		p.as.Change(func() { p.as.Policy.DPoP = true })
		require.NoError(t, alice.Adopt(t.Context(), grant))
		require.Equal(t, 200, p.get(alice), "its refresh token gets one that is bound")
		require.Len(t, p.seen("/things"), 1)
	})
}

// TestALoginBegunWithoutAKey by a process that knew nothing of DPoP is finished with one.
func TestALoginBegunWithoutAKey(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		pending, err := p.client(func(c *client.Config) { c.DPoP = nil }).Session("alice").Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		back, err := p.as.Browse(t.Context(), pending.URL)
		require.NoError(t, err)
		alice := p.client(nil).Session("alice")
		require.NoError(t, alice.Finish(t.Context(), pending, back.Query()))
		require.Equal(t, 200, p.get(alice))
	})
}

func TestBoundTokensHaveNoTokenSource(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		alice := p.login(p.client(nil))
		_, err := alice.TokenSource().Token()
		require.ErrorIs(t, err, errors.ErrUnsupported)
	})
}

func TestNoProofForABearerToken(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		p.as.Policy.DPoP = false
		alice := p.login(p.client(func(c *client.Config) { c.DPoP = nil }))
		got, err := alice.Token(t.Context())
		require.NoError(t, err)
		_, err = alice.Prove(t.Context(), got, "GET", "https://api.test/", "")
		require.ErrorIs(t, err, transport.ErrToken)
	})
}

// TestTheStoreIsReadAgainBeforeAnotherProof_D12: a holder of before has saved the successors meanwhile.
func TestTheStoreIsReadAgainBeforeAnotherProof_D12(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		key := tokenstore.Key("https://other.test/token", "app", "alice")
		alice, server := p.adopt(func(w http.ResponseWriter) {
			data, version, err := p.store.Load(t.Context(), key)
			require.NoError(t, err)
			r, err := record.Decode(data)
			require.NoError(t, err)
			r.Generation++
			r.RefreshToken = "RT of a late holder"
			r.Access = map[string]*record.Access{"": {Token: "AT of a late holder", Type: "DPoP"}}
			data, err = r.Encode()
			require.NoError(t, err)
			_, err = p.store.Swap(t.Context(), key, version, data)
			require.NoError(t, err)
			refuses("use_dpop_nonce", "n1")(w)
		})
		require.Equal(t, "AT of a late holder", token(t, alice))
		require.Len(t, server.asked, 1)
	})
}

func TestConfigNamesADPoPKeyThatWillNotDo(t *testing.T) {
	config := good()
	config.DPoP = &client.DPoP{Key: &client.Key{Signer: newP256(t), Algorithm: "RS256"}}
	_, err := client.New(config)
	var field *client.ConfigError
	require.ErrorAs(t, err, &field)
	require.Equal(t, "Config.DPoP.Key.Algorithm", field.Field)
	config.DPoP.Key = &client.Key{}
	_, err = client.New(config)
	require.ErrorAs(t, err, &field)
	require.Equal(t, "Config.DPoP.Key.Signer", field.Field)
}
