package client_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	profiles "github.com/evergrant/evergrant/client/provider"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/keychain"
	"github.com/evergrant/evergrant/tokenstore/seal"
	"github.com/evergrant/evergrant/transport"
)

// vault knows the secrets of a trial, by kind.
type vault struct {
	mu      sync.Mutex
	kinds   map[string]map[string]bool
	needles map[[ends]byte][]needle // by how they begin; nil: to be made
	begins  [1 << 16]bool           // by mark: whether a needle begins so
}

// needle is what would betray a secret of a kind.
type needle struct{ text, kind string }

const ends = 16 // characters that are enough to know a secret by, at either end

func (v *vault) note(kind, secret string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(secret) < ends || v.kinds[kind][secret] {
		return
	}
	if v.kinds[kind] == nil {
		v.kinds[kind] = map[string]bool{}
	}
	v.kinds[kind][secret], v.needles = true, nil
}

// noteKey notes a private key, given as in a JWK.
func (v *vault) noteKey(d string) {
	number, _ := base64.RawURLEncoding.DecodeString(d)
	v.note("DPoP key", d)
	v.note("DPoP key", string(number))
	v.note("DPoP key", new(big.Int).SetBytes(number).String()) // as fmt would show it
}

// betrayed gives the kinds of secrets that text shows, whole or by one end, in any encoding.
func (v *vault) betrayed(text string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.needles == nil {
		v.needles = map[[ends]byte][]needle{}
		for kind, secrets := range v.kinds {
			for secret := range secrets {
				for _, end := range []string{secret[:ends], secret[len(secret)-ends:]} {
					for _, shape := range shapes(end) {
						begin := [ends]byte([]byte(shape))
						v.needles[begin] = append(v.needles[begin], needle{shape, kind})
						v.begins[mark(shape)] = true
					}
				}
			}
		}
	}
	kinds := map[string]bool{}
	for at := range max(0, len(text)-ends+1) {
		if !v.begins[mark(text[at:])] {
			continue
		}
		for _, n := range v.needles[[ends]byte([]byte(text[at:at+ends]))] {
			if strings.HasPrefix(text[at:], n.text) {
				kinds[n.kind] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(kinds))
}

// mark is a number made of how text begins, to find with few looks that no needle begins so.
func mark(text string) uint16 {
	return uint16((uint32(text[0]) | uint32(text[1])<<8 | uint32(text[2])<<16 | uint32(text[3])<<24) * 2654435761 >> 16)
}

// shapes are what a part of a secret looks like when it is printed or encoded.
func shapes(part string) []string {
	quoted, _ := json.Marshal(part) // a string always can
	numbers := fmt.Sprint([]byte(part))
	all := []string{
		part, url.PathEscape(part), strings.Trim(string(quoted), `"`), strings.Trim(fmt.Sprintf("%q", part), `"`),
		fmt.Sprintf("%x", part), fmt.Sprintf("%X", part), fmt.Sprintf("% x", part),
		strings.Trim(numbers, "[]"), strings.Trim(fmt.Sprintf("%#v", []byte(part)), "[]byte{}"),
	}
	for _, text := range []string{part, url.QueryEscape(part)} {
		all = append(all, text)
		for before := range 3 { // base64 depends on where in a longer text the part begins
			for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				encoded := encoding.EncodeToString(append(make([]byte, before), text...))
				if (before+len(text))%3 != 0 {
					encoded = encoded[:len(encoded)-1]
				}
				all = append(all, encoded[(before*4+2)/3:])
			}
		}
	}
	return all
}

// tap is a way to the servers that notes the secrets which pass. With say, servers answer nothing but what they
// were told.
type tap struct {
	base  http.RoundTripper
	vault *vault

	mu    sync.Mutex
	say   func(words string) (*http.Response, error) // guarded by mu, as is what follows
	word  int                                        // which of the words of a request is said
	words int                                        // how many the longest request had
}

func (p *tap) RoundTrip(req *http.Request) (*http.Response, error) {
	p.query(req.URL.Query())
	passed := req.Clone(req.Context())
	var sent []byte
	if req.Body != nil {
		var err error
		sent, err = io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, err
		}
		passed.Body = io.NopCloser(bytes.NewReader(sent))
	}
	words := p.said(req, string(sent))
	p.mu.Lock()
	say, word := p.say, p.word
	p.words = max(p.words, len(words))
	p.mu.Unlock()
	if say != nil && len(words) > 0 {
		if req.Method == http.MethodPost {
			return say(words[word%len(words)])
		}
		return answer(401, http.Header{"Www-Authenticate": {`Bearer error_description="` + words[word%len(words)] + `"`}}, ""), nil
	}
	resp, err := p.base.RoundTrip(passed)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(got), endOf{err}))
	p.received(resp, got)
	return resp, nil
}

// endOf is a body that ends with an error, or without.
type endOf struct{ err error }

func (e endOf) Read([]byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	return 0, io.EOF
}

// said notes the secrets in a request and gives what a server could say back.
func (p *tap) said(req *http.Request, body string) []string {
	authorization := req.Header.Get("Authorization")
	if token := req.Header.Get("X-Access-Token"); token != "" {
		authorization = "Bearer " + token
	}
	if authorization == "" && body == "" {
		return nil
	}
	words := []string{body, authorization}
	switch scheme, credentials, _ := strings.Cut(authorization, " "); scheme {
	case "Basic":
		pair, _ := base64.StdEncoding.DecodeString(credentials)
		_, password, _ := strings.Cut(string(pair), ":")
		password, _ = url.QueryUnescape(password)
		p.vault.note("client secret", password)
		words = append(words, credentials, string(pair), password)
	case "Bearer", "DPoP":
		p.vault.note("access token", credentials)
		words = append(words, credentials)
	}
	if proof := req.Header.Get("DPoP"); proof != "" {
		p.vault.note("proof", proof)
		words = append(words, proof)
	}
	form, _ := url.ParseQuery(body)
	var members map[string]string
	if json.Unmarshal([]byte(body), &members) == nil {
		form = url.Values{}
		for name, value := range members {
			form.Set(name, value)
		}
	}
	p.query(form)
	for _, name := range slices.Sorted(maps.Keys(form)) {
		switch name {
		case "code", "code_verifier", "refresh_token", "device_code", "token", "client_secret",
			"client_assertion", "assertion", "subject_token", "actor_token":
			words = append(words, form.Get(name), url.QueryEscape(form.Get(name)), base64.StdEncoding.EncodeToString([]byte(form.Get(name))))
		}
	}
	return slices.DeleteFunc(words, func(word string) bool { return word == "" })
}

func (p *tap) query(values url.Values) {
	for name, kind := range map[string]string{
		"code": "code", "code_verifier": "verifier", "state": "state", "nonce": "nonce", "refresh_token": "refresh token",
		"device_code": "device code", "client_secret": "client secret", "client_assertion": "assertion", "assertion": "assertion",
		"subject_token": "subject token", "actor_token": "actor token",
	} {
		p.vault.note(kind, values.Get(name))
	}
}

func (p *tap) received(resp *http.Response, body []byte) {
	if to, err := resp.Location(); err == nil {
		p.query(to.Query())
	}
	var members map[string]any
	_ = json.Unmarshal(body, &members)
	for name, kind := range map[string]string{
		"access_token": "access token", "refresh_token": "refresh token", "id_token": "id token", "device_code": "device code",
		"client_secret": "client secret", "registration_access_token": "registration token",
	} {
		text, _ := members[name].(string)
		p.vault.note(kind, text)
	}
}

// spied is a store that notes versions, and fails when told.
type spied struct {
	tokenstore.Store
	vault *vault

	mu     sync.Mutex
	broken error // guarded by mu
}

func (s *spied) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

func (s *spied) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

func (s *spied) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	if err := s.failure(); err != nil {
		return nil, "", err
	}
	value, version, err := s.Store.Load(ctx, key)
	s.vault.note("version", string(version))
	return value, version, err
}

func (s *spied) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	if err := s.failure(); err != nil {
		return "", err
	}
	var stored struct {
		DPoP struct{ JWK struct{ D string } }
	}
	if json.Unmarshal(value, &stored) == nil {
		s.vault.noteKey(stored.DPoP.JWK.D)
	}
	version, err := s.Store.Swap(ctx, key, old, value)
	s.vault.note("version", string(version))
	return version, err
}

// sight counts what was looked at, and which kinds of secrets there were: who has seen nothing has proved nothing.
type sight struct{ shown, secrets map[string]int }

// trial is one client, one server and what goes wrong between them.
type trial struct {
	t       *testing.T
	sight   sight
	as      *clienttest.Server
	api     *clienttest.API
	vault   *vault
	tap     *tap
	store   *spied
	config  client.Config
	client  *client.Client
	session *client.Session
	arm     func(*trial) // makes things go wrong from now on
	stepUp  func(context.Context, client.StepUp) error
	still   bool // nothing of the client runs
	log     *journal
}

// journal is what the client has told of.
type journal struct {
	mu     sync.Mutex
	events []client.Event  // guarded by mu
	log    strings.Builder // guarded by mu
}

func (j *journal) write(e client.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
	client.LogEvents(slog.New(slog.NewTextHandler(&j.log, &slog.HandlerOptions{Level: slog.LevelDebug})))(e)
}

// read looks at all that was told.
func (j *journal) read(x *trial) {
	j.mu.Lock()
	defer j.mu.Unlock()
	x.require(j.log.String(), j)
	for _, e := range j.events {
		x.sight.shown["event "+e.Kind]++
		x.show(e)
		x.err("event", e.Err)
	}
}

const secretOfClient = "SENTINEL: %&=/+~ÿ of the \"CLIENT\"="

func newTrial(t *testing.T, seen sight, arm func(*trial), set ...func(*trial)) *trial {
	x := &trial{t: t, sight: seen, as: clienttest.New(t), vault: &vault{kinds: map[string]map[string]bool{}}, arm: arm, log: &journal{}}
	x.api = x.as.NewAPI("api.test")
	x.as.Register("app", secretOfClient, "client_secret_basic", "http://127.0.0.1/callback", "https://app.test/callback")
	x.tap = &tap{base: x.as.HTTPClient("").Transport, vault: x.vault}
	x.store = &spied{Store: tokenstore.NewMemory(), vault: x.vault}
	x.vault.note("client secret", secretOfClient)
	x.config = client.Config{
		Issuer: x.as.Issuer, ClientID: "app", ClientSecret: secretOfClient, Scopes: []string{"openid", "read"},
		RedirectURL: "https://app.test/callback", Store: x.store, AuthServerClient: &http.Client{Transport: x.tap},
		OnEvent: x.log.write,
	}
	for _, f := range set {
		f(x)
	}
	x.client = open(t, x.config)
	x.session = x.client.Session("alice")
	return x
}

// err looks at an error and all that it wraps.
func (x *trial) err(op string, err error) {
	if err == nil {
		return
	}
	x.sight.shown["error of "+op]++
	x.show(err)
	var walk func(error)
	walk = func(err error) {
		x.require(bare(err), err)
		switch wrapping := err.(type) {
		case interface{ Unwrap() error }:
			if inner := wrapping.Unwrap(); inner != nil {
				walk(inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range wrapping.Unwrap() {
				walk(inner)
			}
		}
	}
	walk(err)
}

// show looks at a value of ours and at a pointer to it, on their own and inside other values.
func (x *trial) show(v any) {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer {
		rv = reflect.New(rv.Type())
		rv.Elem().Set(reflect.ValueOf(v))
	}
	x.sight.shown[rv.Type().Elem().String()]++
	all := []any{rv.Interface()}
	switch v.(type) {
	case *client.Client, *client.Session, *transport.Transport, *tokenstore.Memory, *file.Store, *keychain.Store, *keychain.Either, *seal.Box: // not to be copied
	default:
		all = append(all, rv.Elem().Interface())
	}
	for _, v := range all {
		for _, held := range []any{v, struct{ Field any }{v}, []any{v}, map[string]any{"key": v}} {
			x.require(bare(held), held)
		}
		if x.busy(v) {
			continue
		}
		hidden := bare(struct{ field any }{v})
		switch v.(type) {
		case client.Config, *client.Config, client.Registration, *client.Registration: // a copy in somebody's unexported field is out of reach
		case client.Pending, *client.Pending: // its URL is not secret
			x.require(hidden, v, "state", "nonce")
		default:
			x.require(hidden, v)
		}
	}
}

// busy reports whether fmt, which takes no locks, must not read v's unexported fields.
func (x *trial) busy(v any) bool {
	switch v.(type) {
	case *client.Client, *client.Session:
		return !x.still
	}
	return false
}

// bare is everything that v looks like in logs.
func bare(v any) string {
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		fmt.Fprintf(&out, verb+"\n", v)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("message", "key", v, slog.Group("group", "key", v))
	}
	text, err := json.Marshal(v)
	fmt.Fprintf(&out, "%s %v", text, err)
	return out.String()
}

func (x *trial) require(text string, of any, except ...string) {
	x.t.Helper()
	betrayed := slices.DeleteFunc(x.vault.betrayed(text), func(kind string) bool { return slices.Contains(except, kind) })
	require.Empty(x.t, betrayed, "a %T shows it: %s", of, text)
}

// end looks at what is left and closes the client.
func (x *trial) end() {
	status, err := x.session.Status(x.t.Context())
	x.err("Status", err)
	x.err("Status.Failure", status.Failure)
	x.show(status)
	x.store.fail(nil)
	x.tap.mu.Lock()
	x.tap.say = nil
	x.tap.mu.Unlock()
	x.as.Heal()
	x.err("Close", x.client.Close(x.t.Context()))
	x.log.read(x)
	x.show(x.client)
	x.show(x.session)
	x.show(x.config)
	for kind, secrets := range x.vault.kinds {
		x.sight.secrets[kind] += len(secrets)
	}
}

// adopt gives the session a grant without a login.
func (x *trial) adopt() {
	grant := x.as.Login("openid", "read")
	x.vault.note("access token", grant.AccessToken)
	x.vault.note("refresh token", grant.RefreshToken)
	require.NoError(x.t, x.session.Adopt(x.t.Context(), grant))
}

// get has the session's HTTP client ask the API.
func (x *trial) get(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, x.api.URL+"/me", nil)
	require.NoError(x.t, err)
	hc := x.session.Wrap(&http.Client{Transport: x.tap})
	resp, err := hc.Do(req)
	if err == nil {
		_ = resp.Body.Close()
		for _, challenge := range transport.Challenges(resp) {
			challenge.Params = nil // the resource server's own words, as they are
			x.show(challenge)
		}
	}
	x.show(hc.Transport)
	return err
}

// act is one thing that a program does.
type act struct {
	name string
	real bool // over sockets of this machine, which a bubble does not hold
	set  func(*trial)
	do   func(ctx context.Context, x *trial) error
}

var acts = []act{
	{name: "Login Browser", real: true, set: onLoopback, do: func(ctx context.Context, x *trial) error {
		return x.session.Login(ctx, x.browser(func(address string) error {
			resp, err := http.Get(address)
			if err == nil {
				_ = resp.Body.Close()
			}
			return err
		}))
	}},
	{name: "Login Browser pasted", real: true, set: onLoopback, do: func(ctx context.Context, x *trial) error {
		reader, writer := io.Pipe()
		flow := x.browser(func(address string) error {
			go fmt.Fprintln(writer, address)
			return nil
		})
		flow.Input = reader
		defer reader.Close()
		return x.session.Login(ctx, flow)
	}},
	{name: "Login Device", do: func(ctx context.Context, x *trial) error {
		flow := client.Device{Prompt: func(_ context.Context, v client.Verification) error {
			x.show(v)
			x.arm(x)
			return x.as.Approve(v.UserCode)
		}}
		x.show(flow)
		return x.session.Login(ctx, flow)
	}},
	{name: "Login Device begun", do: func(ctx context.Context, x *trial) error {
		x.arm(x)
		return x.session.Login(ctx, client.Device{Prompt: func(_ context.Context, v client.Verification) error { return x.as.Approve(v.UserCode) }})
	}},
	{name: "Finish", do: func(ctx context.Context, x *trial) error {
		p, back := x.begin(ctx)
		x.arm(x)
		return x.session.Finish(ctx, p, back)
	}},
	{name: "Start with a pushed request", set: withPushing, do: func(ctx context.Context, x *trial) error {
		x.arm(x)
		p, err := x.session.Start(ctx, client.AuthCode{Params: url.Values{"login_hint": {"alice"}, "resource": {"https://api.test"}}})
		if err == nil {
			x.show(p)
		}
		return err
	}},
	{name: "Token", do: func(ctx context.Context, x *trial) error {
		x.adopt()
		time.Sleep(2 * time.Hour)
		x.arm(x)
		_, err := x.session.Token(ctx)
		return err
	}},
	{name: "Renew", do: func(ctx context.Context, x *trial) error {
		x.adopt()
		x.arm(x)
		_, err := x.session.Renew(ctx, nil)
		return err
	}},
	{name: "HTTPClient", do: func(ctx context.Context, x *trial) error {
		x.adopt()
		x.as.RevokeAccessToken("")
		x.arm(x)
		return x.get(ctx)
	}},
	{name: "StepUp", do: func(ctx context.Context, x *trial) (err error) {
		x.adopt()
		x.as.Change(func() { x.api.Scope = "write" })
		x.stepUp = func(ctx context.Context, need client.StepUp) error {
			x.show(need)
			p, back := x.begin(ctx)
			x.arm(x)
			err = x.session.Finish(ctx, p, back)
			return err
		}
		x.err("HTTPClient", x.get(ctx))
		return err
	}, set: func(x *trial) {
		x.config.Scopes = append(x.config.Scopes, "write")
		x.config.StepUp = func(ctx context.Context, _ *client.Session, need client.StepUp) error { return x.stepUp(ctx, need) }
	}},
	{name: "Logout", do: func(ctx context.Context, x *trial) error {
		x.adopt()
		x.arm(x)
		return x.session.Logout(ctx)
	}},
	{name: "ClientCredentials", do: func(ctx context.Context, x *trial) error {
		x.arm(x)
		_, err := x.session.Token(ctx)
		return err
	}, set: func(x *trial) { x.config.Grant = client.ClientCredentials{} }},
	{name: "a Provider of many oddities", set: func(x *trial) {
		x.tap.base = &oddities{next: x.tap.base}
		x.config.Provider = &profiles.Provider{
			RawBasic: true, RevokeByBearer: true, Request: profiles.Request{JSON: true},
			Answer: profiles.Answer{Members: map[string]string{"error_description": "error"}, Errors: map[string]string{"access_denied": "invalid_grant"}},
			API:    profiles.API{Hosts: []string{"api.test"}, Header: "X-Access-Token: {token}"},
		}
		x.show(x.config.Provider)
	}, do: func(ctx context.Context, x *trial) error {
		x.adopt()
		x.arm(x)
		_, err := x.session.Renew(ctx, nil)
		return errors.Join(err, x.get(ctx), x.session.Logout(ctx))
	}},
	{name: "private_key_jwt", set: withKey, do: renewAndLogout},
	{name: "ClientAssertion", set: func(x *trial) {
		x.config.ClientSecret, x.config.AuthMethod, x.config.ClientAssertion = "", "private_key_jwt", func(context.Context) (string, error) {
			assertion := "SENTINEL: \"of+the%PLATFORM=" + rand.Text()
			x.vault.note("assertion", assertion)
			return assertion, nil
		}
		x.tap.base = &translator{next: x.tap.base}
	}, do: renewAndLogout},
	{name: "client_secret_jwt", set: func(x *trial) {
		x.config.AuthMethod = "client_secret_jwt"
		x.tap.base = &translator{next: x.tap.base}
	}, do: renewAndLogout},
	{name: "DPoP", set: withProofs(nil), do: func(ctx context.Context, x *trial) error {
		p, back := x.begin(ctx)
		x.arm(x)
		if err := x.session.Finish(ctx, p, back); err != nil {
			return err
		}
		_, err := x.session.Renew(ctx, nil)
		return errors.Join(err, x.get(ctx), x.session.Logout(ctx))
	}},
	{name: "DPoP begun", set: withProofs(nil), do: func(ctx context.Context, x *trial) error {
		p, back := x.begin(ctx)
		require.NoError(x.t, x.session.Finish(ctx, p, back))
		x.arm(x)
		_, err := x.session.Renew(ctx, nil)
		_, bound := x.session.TokenSource().Token()
		x.err("TokenSource", bound)
		return errors.Join(err, x.get(ctx))
	}},
	{name: "DPoP with the program's key", set: func(x *trial) {
		key := newKey(x.t)
		seed, err := key.Bytes()
		require.NoError(x.t, err)
		x.vault.noteKey(base64.RawURLEncoding.EncodeToString(seed))
		withProofs(&client.Key{Signer: key})(x)
	}, do: askOnce},
	{name: "Registration", set: withResource, do: func(ctx context.Context, x *trial) error {
		x.arm(x)
		_, err := x.session.Start(ctx, client.AuthCode{})
		return err
	}},
	{name: "Registration used", set: withResource, do: func(ctx context.Context, x *trial) error {
		p, back := x.begin(ctx)
		require.NoError(x.t, x.session.Finish(ctx, p, back))
		x.arm(x)
		_, err := x.session.Renew(ctx, nil)
		return errors.Join(err, x.get(ctx), x.session.Logout(ctx))
	}},
	{name: "JWTBearer", set: func(x *trial) {
		withKey(x)
		x.config.Grant = client.JWTBearer{Subject: "alice"}
	}, do: askOnce},
	{name: "TokenExchange", set: func(x *trial) {
		x.tap.base = &translator{next: x.tap.base}
		token := func(text string) func(string) transport.Source {
			return func(string) transport.Source {
				return client.TokenFunc(func(context.Context) (*oauth2.Token, error) { return &oauth2.Token{AccessToken: text}, nil })
			}
		}
		x.config.Grant = client.TokenExchange{
			Subject: token("SENTINEL-of-the-subject"), SubjectType: "jwt", Actor: token("SENTINEL-of-the-actor"), ActorType: "jwt",
		}
		x.show(x.config.Grant)
	}, do: askOnce},
}

// withProofs has tokens bound, by servers that want nonces.
func withProofs(key *client.Key) func(*trial) {
	return func(x *trial) {
		x.as.Policy.DPoP, x.as.Policy.Nonce, x.api.Nonce = true, "nonce-of-the-server", "nonce-of-the-API"
		x.config.DPoP = &client.DPoP{Key: key}
		if key != nil {
			x.config.Grant = client.ClientCredentials{}
		}
		x.show(*x.config.DPoP)
	}
}

func askOnce(ctx context.Context, x *trial) error {
	x.arm(x)
	_, err := x.session.Token(ctx)
	return err
}

func renewAndLogout(ctx context.Context, x *trial) error {
	x.adopt()
	x.arm(x)
	_, err := x.session.Renew(ctx, nil)
	return errors.Join(err, x.session.Logout(ctx))
}

// withKey gives the client a key in place of its secret.
func withKey(x *trial) {
	key := newKey(x.t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(x.t, err)
	seed, err := key.Bytes()
	require.NoError(x.t, err)
	x.vault.note("private key", string(der))
	x.vault.note("private key", string(seed))
	x.vault.note("private key", new(big.Int).SetBytes(seed).String()) // as fmt would show it
	x.config.ClientSecret, x.config.ClientKey = "", &client.Key{Signer: key, ID: "key 1"}
	x.config.AuthMethod = "private_key_jwt"
	x.tap.base = &translator{next: x.tap.base}
	x.show(*x.config.ClientKey)
	x.show(client.JWTBearer{Key: x.config.ClientKey})
}

// translator stands before a server that knows clients by their secret and grants of a few types: what is signed
// becomes a secret, and other grants those of the client.
type translator struct{ next http.RoundTripper }

func (p *translator) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost {
		return p.next.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	form, _ := url.ParseQuery(string(body))
	if form.Has("client_assertion") {
		form.Del("client_assertion")
		form.Del("client_assertion_type")
		req.SetBasicAuth(url.QueryEscape(form.Get("client_id")), url.QueryEscape(secretOfClient))
	}
	exchange := strings.HasSuffix(form.Get("grant_type"), ":token-exchange")
	if exchange || strings.HasSuffix(form.Get("grant_type"), ":jwt-bearer") {
		form = url.Values{"grant_type": {"client_credentials"}}
	}
	text := form.Encode()
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	resp, err := p.next.RoundTrip(req)
	if err != nil || !exchange || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	got, err := io.ReadAll(resp.Body)
	if err == nil && bytes.HasPrefix(got, []byte("{")) {
		got = append([]byte(`{"issued_token_type":"urn:ietf:params:oauth:token-type:access_token",`), got[1:]...)
		resp.ContentLength = int64(len(got))
		resp.Header.Del("Content-Length")
	}
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(got), endOf{err}))
	return resp, nil
}

// oddities stands before a server that has none: it undoes what a profile demands.
type oddities struct{ next http.RoundTripper }

func (o *oddities) RoundTrip(req *http.Request) (*http.Response, error) {
	if token := req.Header.Get("X-Access-Token"); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
		return o.next.RoundTrip(req)
	}
	if req.Method != http.MethodPost {
		return o.next.RoundTrip(req)
	}
	form := url.Values{}
	if token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer "); ok {
		form.Set("token", token)
	} else if req.Body != nil {
		var members map[string]string
		if err := json.NewDecoder(req.Body).Decode(&members); err != nil {
			return nil, err
		}
		for name, value := range members {
			form.Set(name, value)
		}
	}
	text := form.Encode()
	req.SetBasicAuth("app", url.QueryEscape(secretOfClient))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	return o.next.RoundTrip(req)
}

// withPushing has the server take pushed requests.
func withPushing(x *trial) {
	x.as.Change(func() {
		x.as.Policy.Metadata = map[string]any{"pushed_authorization_request_endpoint": x.as.Issuer + "/par"}
	})
	x.tap.base = pushing{x.tap.base}
}

// pushing stands before a server that takes no pushed requests, and takes them.
type pushing struct{ next http.RoundTripper }

func (p pushing) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "/par") {
		return p.next.RoundTrip(req)
	}
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return nil, err
	}
	return answer(http.StatusCreated, nil, `{"request_uri":"urn:example:1","expires_in":60}`), nil
}

func onLoopback(x *trial) { x.config.RedirectURL = "" }

// browser is a flow whose person agrees; the browser goes back by return.
func (x *trial) browser(back func(address string) error) client.Browser {
	flow := client.Browser{Output: io.Discard}
	flow.Open = func(address string) error {
		to, err := x.as.Browse(x.t.Context(), address)
		if err != nil {
			return err
		}
		asked, _ := url.Parse(address)
		x.tap.query(asked.Query())
		x.tap.query(to.Query())
		x.arm(x)
		return back(to.String())
	}
	x.show(flow)
	return flow
}

// begin has a person agree in a web backend.
func (x *trial) begin(ctx context.Context) (*client.Pending, url.Values) {
	p, err := x.session.Start(ctx, client.AuthCode{})
	require.NoError(x.t, err)
	back, err := x.as.Browse(ctx, p.URL)
	require.NoError(x.t, err)
	asked, err := url.Parse(p.URL)
	require.NoError(x.t, err)
	x.tap.query(asked.Query())
	x.tap.query(back.Query())
	text, err := p.MarshalText()
	require.NoError(x.t, err)
	inside, err := base64.RawURLEncoding.DecodeString(string(text))
	require.NoError(x.t, err)
	var members struct{ Verifier, Key string }
	require.NoError(x.t, json.Unmarshal(inside, &members))
	x.vault.note("verifier", members.Verifier)
	var key struct{ D string }
	_ = json.Unmarshal([]byte(members.Key), &key)
	x.vault.noteKey(key.D)
	again := new(client.Pending)
	require.NoError(x.t, again.UnmarshalText(text))
	x.show(p)
	x.show(again)
	x.err("UnmarshalText", again.UnmarshalText(text[:len(text)-5]))
	return p, back.Query()
}

// run runs f in a bubble, or over real sockets.
func run(t *testing.T, name string, real bool, f func(*testing.T)) {
	t.Run(name, func(t *testing.T) {
		if real {
			f(t)
		} else {
			synctest.Test(t, f)
		}
	})
}

// failures are the rows of the failure table and more, as they come over the network.
var failures = map[string]clienttest.Fault{
	"no connection":       {Unreachable: true},
	"lost request":        {LoseRequest: true},
	"lost answer":         {LoseAnswer: true},
	"slow":                {WaitAnswer: time.Minute},
	"cut short":           {CutBody: true},
	"busy":                {Status: 503, Header: http.Header{"Retry-After": {"3600"}}},
	"too many":            {Status: 429},
	"gateway":             {Status: 502, Body: "<html>"},
	"page":                {Status: 200, Body: "<html>"},
	"not JSON":            {Status: 200, Body: `{"access_token":`},
	"no token":            {Status: 200, Body: `{}`},
	"invalid_grant":       {Status: 400, Body: `{"error":"invalid_grant","error_description":"gone"}`},
	"invalid_request":     {Status: 400, Body: `{"error":"invalid_request"}`},
	"empty refusal":       {Status: 400},
	"firewall":            {Status: 403, Body: "<html>"},
	"invalid_client":      {Status: 401, Body: `{"error":"invalid_client"}`},
	"invalid_scope":       {Status: 400, Body: `{"error":"invalid_scope"}`},
	"unauthorized_client": {Status: 400, Body: `{"error":"unauthorized_client"}`},
	"not found":           {Status: 404},
	"redirect":            {Status: 307, Header: http.Header{"Location": {"https://elsewhere.test/token"}}},
	"another type":        {Status: 200, Body: `{"access_token":"SENTINEL-of-another-type","token_type":"SENTINEL-of-another-type"}`},
}

// echoes are the ways in which a server says what it was told, or a network does.
var echoes = map[string]func(said string) (*http.Response, error){
	"error_description": func(said string) (*http.Response, error) {
		return answer(400, nil, refusal(map[string]string{"error": "invalid_grant", "error_description": said})), nil
	},
	"error": func(said string) (*http.Response, error) {
		return answer(400, nil, refusal(map[string]string{"error": said})), nil
	},
	"error_uri": func(said string) (*http.Response, error) {
		return answer(401, nil, refusal(map[string]string{"error": "invalid_client", "error_uri": said})), nil
	},
	"token_type": func(said string) (*http.Response, error) {
		return answer(200, nil, refusal(map[string]string{"access_token": "other", "token_type": said, "device_code": "d", "user_code": said})), nil
	},
	"page": func(said string) (*http.Response, error) { return answer(502, nil, "<html>"+said), nil },
	"Location": func(said string) (*http.Response, error) {
		return answer(307, http.Header{"Location": {"https://elsewhere.test/" + said}, "Retry-After": {said}}, said), nil
	},
	"network": func(said string) (*http.Response, error) { return nil, errors.New("cannot send " + said) },
}

// withResource has the program know the address of the API alone, register there with a token for that, and get a secret.
func withResource(x *trial) {
	const initial = "SENTINEL-of-those-who-may-register"
	x.vault.note("registration token", initial)
	x.as.Policy.Registration, x.as.Policy.Management, x.as.Policy.InitialAccessToken = true, true, initial
	x.as.Policy.Metadata = map[string]any{"token_endpoint_auth_methods_supported": []string{"client_secret_post"}}
	x.config.ClientID, x.config.ClientSecret, x.config.Scopes = "", "", []string{"openid", "read"}
	x.config.Resource, x.config.LocalNetwork = x.api.URL, true
	x.config.Registration = &client.Registration{Name: "app", AccessToken: initial}
	x.show(x.config.Registration)
}

func refusal(members map[string]string) string {
	text, _ := json.Marshal(members) // strings always can
	return string(text)
}

// TestSecretsAreNeverShown_I10 lets everything succeed and fail that this package does, and looks for the secrets
// of the trial in every error and every value.
// Shows R6749-10.1-1, R6750-5.3-1.
func TestSecretsAreNeverShown_I10(t *testing.T) {
	if underRace {
		t.Skip("is about what is shown, takes minutes under the race detector, and runs without it in the same `make test`")
	}
	seen := sight{shown: map[string]int{}, secrets: map[string]int{}}
	healthy := func(*trial) {}
	for _, a := range acts {
		run(t, a.name+"/succeeds", a.real, func(t *testing.T) {
			x := newTrial(t, seen, healthy, orNothing(a.set))
			require.NoError(t, a.do(t.Context(), x))
			x.end()
		})
		for name, fault := range failures {
			if a.real && fault.WaitAnswer > 0 {
				continue // in real time
			}
			run(t, a.name+"/"+name, a.real, func(t *testing.T) {
				x := newTrial(t, seen, func(x *trial) {
					x.vault.note("access token", "SENTINEL-of-another-type")
					for _, endpoint := range []string{"/token", "/revoke", "/device_authorization", "/register"} {
						x.as.Fail(endpoint, slices.Repeat([]clienttest.Fault{fault}, 50)...)
					}
				}, orNothing(a.set))
				x.err(a.name, a.do(t.Context(), x))
				x.end()
			})
		}
		for name, say := range echoes {
			for word, words := 0, 1; word < words; word++ {
				run(t, fmt.Sprintf("%s/echo in %s/%d", a.name, name, word), a.real, func(t *testing.T) {
					x := newTrial(t, seen, func(x *trial) {
						x.tap.mu.Lock()
						defer x.tap.mu.Unlock()
						x.tap.say, x.tap.word, x.tap.words = say, word, 0
					}, orNothing(a.set))
					x.err(a.name, a.do(t.Context(), x))
					words = x.tap.words
					x.end()
				})
			}
		}
		run(t, a.name+"/cancelled", a.real, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			x := newTrial(t, seen, func(*trial) { cancel() }, orNothing(a.set))
			x.err(a.name, a.do(ctx, x))
			x.end()
		})
		run(t, a.name+"/store fails", a.real, func(t *testing.T) {
			x := newTrial(t, seen, func(x *trial) { x.store.fail(errDisk) }, orNothing(a.set))
			err := a.do(t.Context(), x)
			require.Error(t, err)
			x.err(a.name, err)
			x.end()
		})
	}
	strayCallbacks(t, seen)
	openIDConnect(t, seen)
	damagedStores(t, seen)
	theRest(t, seen)
	requireAllKinds(t, seen)
}

// requireAllKinds fails if something that this test is about was not there to be looked at.
func requireAllKinds(t *testing.T, seen sight) {
	for _, a := range acts {
		require.NotZero(t, seen.shown["error of "+a.name], a.name)
	}
	for _, op := range []string{"Start", "Adopt", "Keys", "Close", "Status", "Status.Failure", "UnmarshalText", "New", "FromOAuth2", "file", "keychain", "closed"} {
		require.NotZero(t, seen.shown["error of "+op], op)
	}
	for _, kind := range []string{
		"login", "logout", "renewed", "rotated", "rejected", "replayed", "lost answer", "failed", "save failed", "saved", "step-up", "login required",
	} {
		require.NotZero(t, seen.shown["event "+kind], kind)
	}
	for _, kind := range []string{
		"client secret", "refresh token", "access token", "id token", "code", "verifier", "device code", "state", "nonce", "version", "sealing key",
		"assertion", "private key", "subject token", "actor token", "proof", "DPoP key", "registration token",
	} {
		require.NotZero(t, seen.secrets[kind], kind)
	}
	for _, name := range exportedTypes(t) {
		require.NotZero(t, seen.shown[name], "no %s was looked at", name)
	}
}

func orNothing(set func(*trial)) func(*trial) {
	if set == nil {
		return func(*trial) {}
	}
	return set
}

// strayCallbacks brings callbacks to Finish that do not do, with words of the login in them.
func strayCallbacks(t *testing.T, seen sight) {
	for name, change := range map[string]func(x *trial, back url.Values){
		"another state":  func(_ *trial, back url.Values) { back.Set("state", back.Get("state")+"x") },
		"another issuer": func(_ *trial, back url.Values) { back.Set("iss", "https://other.test/?"+back.Get("code")) },
		"no issuer":      func(_ *trial, back url.Values) { back.Del("iss") },
		"no code":        func(_ *trial, back url.Values) { back.Del("code") },
		"two codes":      func(_ *trial, back url.Values) { back.Add("code", back.Get("code")) },
		"another code":   func(_ *trial, back url.Values) { back.Set("code", "another code than the one given") },
		"state in error": func(_ *trial, back url.Values) { back.Set("error", "no "+back.Get("state")) },
		"code in error": func(_ *trial, back url.Values) {
			back.Set("error", "no")
			back.Set("error_description", back.Get("code"))
		},
		"state in words": func(_ *trial, back url.Values) {
			back.Set("error", "no")
			back.Set("error_description", back.Get("state"))
		},
		"state in a link": func(_ *trial, back url.Values) {
			back.Set("error", "no")
			back.Set("error_uri", "https://as.test/?"+back.Get("state"))
		},
		"another nonce": func(x *trial, _ url.Values) {
			x.as.Change(func() { x.as.Policy.Claims = map[string]any{"nonce": "other"} })
		},
		"for another": func(x *trial, _ url.Values) {
			x.as.Change(func() { x.as.Policy.Claims = map[string]any{"aud": "other"} })
		},
		"from another": func(x *trial, _ url.Values) {
			x.as.Change(func() { x.as.Policy.Claims = map[string]any{"iss": "other"} })
		},
		"no id token": func(x *trial, _ url.Values) {
			x.as.Change(func() { x.as.Policy.Answer = map[string]any{"id_token": secretOfClient} })
		},
		"a broken one": func(x *trial, _ url.Values) {
			x.as.Change(func() { x.as.Policy.Answer = map[string]any{"id_token": "a." + secretOfClient + ".c"} })
		},
		"not a JWS of the issuer's": func(x *trial, _ url.Values) {
			x.as.Change(func() {
				x.as.Policy.Claims = map[string]any{"aud": []string{"app", secretOfClient}, "iss": secretOfClient}
			})
		},
		"claims of other types": func(x *trial, _ url.Values) {
			x.as.Change(func() { x.as.Policy.Claims = map[string]any{"iat": secretOfClient} })
		},
		"a key document with a secret": func(x *trial, _ url.Values) {
			x.as.Change(func() {
				x.as.Policy.Metadata = map[string]any{"jwks_uri": "https://as.test/jwks?" + url.QueryEscape(secretOfClient)}
			})
			x.as.Fail("/jwks", slices.Repeat([]clienttest.Fault{{Status: http.StatusInternalServerError}}, 100)...)
		},
	} {
		run(t, "Finish/"+name, false, func(t *testing.T) {
			x := newTrial(t, seen, nil)
			p, back := x.begin(t.Context())
			change(x, back)
			err := x.session.Finish(t.Context(), p, back)
			require.Error(t, err)
			x.err("Finish", err)
			x.end()
		})
	}
	run(t, "Finish/twice and elsewhere", false, func(t *testing.T) {
		x := newTrial(t, seen, nil)
		p, back := x.begin(t.Context())
		elsewhere := x.client.Session("bob").Finish(t.Context(), p, back)
		require.ErrorIs(t, elsewhere, client.ErrPending)
		x.err("Finish", elsewhere)
		require.NoError(t, x.session.Finish(t.Context(), p, back))
		again := x.session.Finish(t.Context(), p, back)
		require.Error(t, again)
		x.err("Finish", again)
		x.as.Change(func() { x.as.Policy.Subject = "mallory" })
		p, back = x.begin(t.Context())
		other := x.session.Finish(t.Context(), p, back)
		require.ErrorIs(t, other, client.ErrOtherSubject)
		x.err("Finish", other)
		x.end()
	})
}

// openIDConnect has claims, UserInfo and the end of a session go wrong.
func openIDConnect(t *testing.T, seen sight) {
	run(t, "OpenID", false, func(t *testing.T) {
		x := newTrial(t, seen, nil)
		api := x.as.NewAPI("me.test")
		x.as.Change(func() {
			x.as.Policy.Metadata = map[string]any{"userinfo_endpoint": api.URL + "/me", "end_session_endpoint": "https://as.test/end"}
		})
		p, back := x.begin(t.Context())
		require.NoError(t, x.session.Finish(t.Context(), p, back))
		require.NoError(t, x.session.UserInfo(t.Context(), new(any)))
		_, err := x.session.EndSessionURL(t.Context(), url.Values{"id_token_hint": {secretOfClient}})
		require.Error(t, err)
		x.err("EndSessionURL", err)
		err = x.session.Claims(t.Context(), new(int))
		require.Error(t, err)
		x.err("Claims", err)
		for _, kind := range []string{"application/json", "application/jwt"} {
			for _, body := range []string{"%s", `{"sub":"%s"}`, `{"sub":"alice","n":"%s"}`, "a.%s.c"} {
				x.as.Change(func() {
					api.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						w.Header().Set("Content-Type", kind)
						fmt.Fprintf(w, body, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
					})
				})
				var into struct {
					N int `json:"n"`
				}
				err = x.session.UserInfo(t.Context(), &into)
				require.Error(t, err)
				x.err("UserInfo", err)
			}
		}
		for _, answer := range []string{"%[1]s", `{"active":"%[1]s"}`, `{"active":true,"n":"%[1]s"}`, `{"error":"%[1]s","error_description":"%[2]s"}`} {
			address := x.as.Handle("https://introspect.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				_, secret, _ := r.BasicAuth()
				fmt.Fprintf(w, answer, r.PostForm.Get("token"), secret)
			}))
			x.as.Change(func() { x.as.Policy.Metadata["introspection_endpoint"] = address })
			time.Sleep(2 * time.Hour)
			var into struct {
				N int `json:"n"`
			}
			_, err := x.session.Introspect(t.Context(), &into)
			require.Error(t, err)
			x.err("Introspect", err)
		}
		x.as.Change(func() { api.RejectAll = true; api.Challenge = secretOfClient })
		err = x.session.UserInfo(t.Context(), new(any))
		require.Error(t, err)
		x.err("UserInfo", err)
		x.as.Change(func() { x.as.Policy.Claims = map[string]any{"iss": secretOfClient, "sub": "mallory"} })
		_, err = x.session.Renew(t.Context(), nil)
		require.NoError(t, err, "the id token alone is refused")
		x.end()
	})
}

// damagedStores keeps grants in the stores of this module, spoils them, and asks for them.
func damagedStores(t *testing.T, seen sight) {
	key := []byte("SENTINEL-of-the-sealing-key-0123")
	sealed := func(x *trial, key []byte, dir string) tokenstore.Store {
		x.vault.note("sealing key", string(key))
		options := file.Options{Key: seal.RawKey(key)}
		store, err := file.New(dir, options)
		require.NoError(x.t, err)
		x.show(options)
		x.show(options.Key)
		x.show(store)
		return store
	}
	ask := func(x *trial, op string) {
		_, err := x.session.Token(x.t.Context())
		require.Error(x.t, err)
		x.err(op, err)
		_, err = x.session.Status(x.t.Context())
		x.err(op, err)
		x.err(op, x.session.Logout(x.t.Context()))
		x.err(op, x.session.Adopt(x.t.Context(), x.as.Login()))
		x.end()
	}
	for name, spoil := range map[string]func(whole string) string{
		"not JSON": func(whole string) string { return "x" + whole },
		"cut":      func(whole string) string { return whole[:len(whole)*2/3] },
		"newer":    func(whole string) string { return strings.Replace(whole, "1", "99", 1) },
		"no time": func(whole string) string {
			return strings.Replace(whole, `"issued":"`, `"issued":"SENTINEL-of-a-damaged-one `, 1)
		},
		"mistyped": func(whole string) string { return strings.Replace(whole, `"refresh_token":`, `"access":`, 1) },
	} {
		run(t, "Memory/"+name, false, func(t *testing.T) {
			x := newTrial(t, seen, nil)
			x.vault.note("access token", "SENTINEL-of-a-damaged-one")
			x.adopt()
			key := tokenstore.Key(x.as.Issuer, "app", "alice")
			value, version, err := x.store.Load(t.Context(), key)
			require.NoError(t, err)
			_, err = x.store.Swap(t.Context(), key, version, []byte(spoil(string(value))))
			require.NoError(t, err)
			time.Sleep(2 * time.Hour)
			ask(x, "Token")
		})
	}
	for name, spoil := range map[string]func(x *trial, dir string){
		"another key": func(x *trial, dir string) { x.store.Store = sealed(x, []byte("SENTINEL-of-another-key-01234567"), dir) },
		"damaged": func(x *trial, dir string) {
			names, err := filepath.Glob(filepath.Join(dir, "*.grant"))
			require.NoError(x.t, err)
			require.Len(x.t, names, 1)
			whole, err := os.ReadFile(names[0])
			require.NoError(x.t, err)
			require.NoError(x.t, os.WriteFile(names[0], whole[:len(whole)-1], 0o600))
		},
	} {
		run(t, "file/"+name, true, func(t *testing.T) {
			dir := t.TempDir()
			x := newTrial(t, seen, nil, func(x *trial) { x.store.Store = sealed(x, key, dir) })
			x.as.Change(func() { x.as.Policy.Lifetime = time.Second })
			x.adopt()
			spoil(x, dir)
			require.NoError(t, x.client.Close(t.Context())) // what is in memory would still do
			x.client = open(t, x.config)
			x.session = x.client.Session("alice")
			ask(x, "file")
		})
	}
	for name, broken := range map[string]error{"works": nil, "broken": errDisk} {
		run(t, "keychain/"+name, true, func(t *testing.T) {
			keyring.MockInit()
			options := keychain.Options{Dir: t.TempDir()}
			store, err := keychain.New("evergrant test", options)
			require.NoError(t, err)
			either := store.OrElse(tokenstore.NewMemory())
			x := newTrial(t, seen, nil, func(x *trial) { x.store.Store = either })
			x.show(options)
			x.adopt()
			key, err := store.Key(t.Context(), true)
			require.NoError(t, err)
			x.vault.note("sealing key", string(key))
			x.show(store)
			x.show(either)
			if broken != nil {
				keyring.MockInitWithError(broken)
				require.NoError(t, x.client.Close(t.Context()))
				x.client = open(t, x.config)
				x.session = x.client.Session("alice")
				ask(x, "keychain")
				return
			}
			x.end()
		})
	}
}

// theRest is what needs no failing server.
func theRest(t *testing.T, seen sight) {
	run(t, "values and refusals", false, func(t *testing.T) {
		x := newTrial(t, seen, nil)
		x.adopt()
		x.show(x.store.Store)
		key := []byte("a sealing key of thirty-two byte")
		x.vault.note("sealing key", string(key))
		box, err := seal.NewBox(seal.RawKey(key))
		require.NoError(t, err)
		x.show(box)
		x.show(client.AuthCode{})
		x.show(client.ClientCredentials{})
		x.show(client.ExtensionGrant{})
		x.show(client.TokenFunc(nil))
		x.show(&client.ConfigError{Field: "Config.ClientID", Reason: "is empty"})
		x.show(&client.Error{Op: "login", Err: io.EOF})
		wrong := x.config
		wrong.ClientID, wrong.Scopes, wrong.Endpoint.TokenURL = "", []string{""}, "https://app:"+url.QueryEscape(secretOfClient)+"@as.test/token"
		_, err = client.New(wrong)
		require.Error(t, err)
		x.err("New", err)
		x.show(wrong)
		plain := x.config
		plain.AuthServerClient, plain.Store, plain.OnEvent = nil, nil, nil // with them it has no JSON of its own
		x.show(plain)
		_, err = client.FromOAuth2(&oauth2.Config{ClientSecret: secretOfClient}, x.store)
		require.Error(t, err)
		x.err("FromOAuth2", err)
		x.err("Adopt", x.session.Adopt(t.Context(), nil))
		_, err = x.session.Start(t.Context(), client.AuthCode{Params: url.Values{"state": {"x"}}})
		require.Error(t, err)
		x.err("Start", err)
		for _, err := range x.client.Keys(t.Context()) { // spied cannot list
			x.err("Keys", err)
		}
		x.as.Change(func() { x.api.RejectAll = true })
		require.NoError(t, x.get(t.Context()))
		fresh, err := x.session.Renew(t.Context(), nil)
		require.NoError(t, err)
		for range 3 {
			if fresh, err = x.session.Renew(t.Context(), fresh); err != nil {
				break
			}
		}
		require.ErrorIs(t, err, transport.ErrRejected)
		x.err("Renew", err)
		x.as.KillAll()
		_, err = x.session.Renew(t.Context(), nil)
		require.ErrorIs(t, err, client.ErrLoginRequired)
		x.err("Renew", err)
		x.end()
	})
	run(t, "tokens not saved yet", false, func(t *testing.T) {
		x := newTrial(t, seen, nil)
		x.adopt()
		x.as.Fail("/token", clienttest.Fault{WaitAnswer: time.Second})
		done := make(chan error)
		go func() { done <- second(x.session.Renew(t.Context(), nil)) }()
		synctest.Wait()
		x.store.fail(errDisk)
		require.NoError(t, <-done)
		synctest.Wait()
		x.still = true
		x.show(x.session)
		x.still = false
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := x.client.Close(ctx)
		require.ErrorContains(t, err, "unsaved")
		x.err("Close", err)
		x.store.fail(nil)
		x.end()
	})
	run(t, "tokens saved after all", false, func(t *testing.T) {
		x := newTrial(t, seen, nil)
		x.adopt()
		x.as.Fail("/token", clienttest.Fault{WaitAnswer: time.Second})
		time.AfterFunc(time.Second/2, func() { x.store.fail(errDisk) })
		require.NoError(t, second(x.session.Renew(t.Context(), nil)))
		x.store.fail(nil)
		time.Sleep(time.Minute)
		x.end()
	})
	run(t, "closed with work left", false, func(t *testing.T) {
		x := newTrial(t, seen, nil)
		x.adopt()
		x.as.Fail("/token", clienttest.Fault{WaitAnswer: time.Minute})
		go func() { _, _ = x.session.Renew(t.Context(), nil) }()
		synctest.Wait()
		x.still = true
		x.show(x.session) // in the middle of a renewal
		x.show(x.client)
		x.still = false
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := x.client.Close(ctx)
		require.Error(t, err)
		x.err("Close", err)
		synctest.Wait()
		for _, err := range []error{
			x.get(t.Context()), second(x.session.Token(t.Context())), second(x.session.Renew(t.Context(), nil)), second(x.session.Status(t.Context())),
			x.session.Logout(t.Context()), x.session.Adopt(t.Context(), x.as.Login()), x.session.Login(t.Context(), client.Browser{}),
			second(x.session.TokenSource().Token()),
		} {
			require.ErrorIs(t, err, client.ErrClosed)
			x.err("closed", err)
		}
		x.end()
	})
}

// exportedTypes are the structs that these packages export, as %T writes them.
func exportedTypes(t *testing.T) (names []string) {
	for _, dir := range []string{".", "../transport", "../tokenstore", "../tokenstore/file", "../tokenstore/keychain", "../tokenstore/seal"} {
		paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
		require.NoError(t, err)
		for _, path := range paths {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			source, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			ast.Inspect(source, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if _, isStruct := structOf(spec, ok); isStruct && spec.Name.IsExported() {
					names = append(names, source.Name.Name+"."+spec.Name.Name)
				}
				return true
			})
		}
	}
	require.Contains(t, names, "client.Config")
	return names
}

func structOf(spec *ast.TypeSpec, ok bool) (*ast.StructType, bool) {
	if !ok {
		return nil, false
	}
	s, isStruct := spec.Type.(*ast.StructType)
	return s, isStruct
}

// A vault that knows nothing by sight would let everything pass.
func TestVaultKnowsSecretsBySight(t *testing.T) {
	v := vault{kinds: map[string]map[string]bool{}}
	const token = "a-token+with/some=signs-and-an-end"
	v.note("token", token)
	for _, text := range []string{
		token, "before " + token + " after", token[:ends], token[len(token)-ends:], url.QueryEscape(token), fmt.Sprintf("%x", token),
		fmt.Sprint([]byte(token)), base64.StdEncoding.EncodeToString([]byte("x" + token)),
	} {
		require.Equal(t, []string{"token"}, v.betrayed(text), text)
	}
	require.Empty(t, v.betrayed(token[:ends-1]))
	require.Empty(t, v.betrayed(""))
}
