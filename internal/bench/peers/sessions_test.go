package peers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/httptransport"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/bench/measure"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// registry is a store in which everybody has the same grant, and which costs no memory itself.
type registry struct {
	tokenstore.Store // has no Swap: nothing is renewed here
	grant            []byte
}

func (r registry) Load(context.Context, string) ([]byte, tokenstore.Version, error) {
	return r.grant, "1", nil
}

func newRegistry(t *testing.T) registry {
	now := time.Now()
	data, err := (&record.Record{
		Grant: "g", Generation: 1, Leases: 1, RefreshToken: refreshToken, Scopes: []string{"read", "write"},
		Access: map[string]*record.Access{"": {Token: accessToken, Type: "Bearer", Issued: now, Expiry: now.Add(24 * time.Hour)}},
	}).Encode()
	require.NoError(t, err)
	return registry{grant: data}
}

const (
	accessToken  = "access-token" // short, since its text is not to count
	refreshToken = "refresh"
	users        = 20_000 // of the sessions, which stand for all: to give everybody a token takes minutes
)

// crowd is what the sessions of many accounts cost.
type crowd struct {
	made, found     time.Duration // each
	bare, used, fit int           // bytes each: unused, with a token, with http.Client and transport after a request
	wrap            int           // bytes of an http.Client and a transport before their first request
	goroutines      int           // more than before
	timers          int           // of those that were used
	profile         []table       // of finding one, and of what they take up
}

func sessions(t *testing.T, s size) section {
	rows := table{head: []string{"Evergrant", "to make one", "to find one", "bytes each, unused", "with http.Client and transport", "unused, with a token", "with all three, after a request", "goroutines", "timers"}}
	active := table{head: []string{"accounts, of which 1 % are active at a time", "megabytes before", "once so many were served", "megabytes then"}}
	var figures []figure
	var profile []table // of finding one among the most
	for _, n := range s.sessions {
		c := gather(t, n)
		profile = c.profile
		rows.add(fmt.Sprint(n), show(c.made), show(c.found), fmt.Sprint(c.bare), fmt.Sprint(c.bare+c.wrap), fmt.Sprint(c.used), fmt.Sprint(c.fit), fmt.Sprint(c.goroutines), fmt.Sprint(c.timers))
		who := fmt.Sprintf("%d sessions: ", n)
		figures = append(figures,
			most(who+"bytes with an http.Client and a transport of its own, unused, as x/oauth2's 384 are counted", c.bare+c.wrap, 512, ""),
			most(who+"bytes with a token, and no http.Client of its own", c.used, 512, ""),
			most(who+"bytes with an http.Client, a transport and a token, after a request", c.fit, 512, fmt.Sprintf(
				"an http.Client and a transport take %d of them, an oauth2.Token 112, the header field made of it %d. Nobody has to keep an http.Client: Session.HTTPClient makes one when it is needed. "+
					"x/oauth2 takes more than all of it for the same, as the table of clients shows", c.wrap, c.fit-c.used-c.wrap)),
			most(who+"at most 1 µs to find one", c.found, time.Microsecond, "the processor's caches are missed at each step: the map, the key's text, the weak pointer, the account"),
			most(who+"goroutines", c.goroutines, 0, ""),
			most(who+"timers", c.timers, 0, ""))
	}
	accounts := s.sessions[len(s.sessions)-1]
	served := min(accounts, 5*users)
	before, then := serveInTurns(t, accounts, served)
	active.add(fmt.Sprint(accounts), fmt.Sprintf("%.1f", before), fmt.Sprint(served), fmt.Sprintf("%.1f", then))
	some := min(10_000, s.sessions[0])
	others := table{head: []string{fmt.Sprintf("%d clients of", some), "bytes each, unused", "after a token request and a request"}}
	for _, way := range holders(t) {
		unused, used := bytesEach(t, some, way)
		others.add(way.name, fmt.Sprint(unused), fmt.Sprint(used))
	}
	return section{
		title: "7. Many sessions",
		text: "Bytes of the heap after a collection, by the number of sessions; the texts of keys and tokens apart. " +
			fmt.Sprintf("%d of them have got a token. ", min(users, s.sessions[0])) + "To find one is Client.Session with a key " +
			"drawn at random. Of the accounts that take turns, drawn at random, each makes a request when it becomes active, with a token from the store, and is no more held when another one takes its place. " +
			"An id token takes some 370 bytes more, beside its text: those of the map that oauth2.Token.Extra answers from. " +
			"The clients of all are http.Clients in a state to make requests, over a stub: unused they hold a refresh token, or where it lies.",
		tables:  append([]table{rows, active, others}, profile...),
		figures: figures,
	}
}

// gather makes n sessions and uses them.
func gather(t *testing.T, n int) (c crowd) {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("person %d", i)
	}
	goroutines := runtime.NumGoroutine()
	held, clients := make([]*client.Session, n), make([]*http.Client, n)
	empty := heap()
	one := newClient(t)
	began := time.Now()
	for i, key := range keys {
		held[i] = one.Session(key)
	}
	c.made = time.Since(began) / time.Duration(n)
	full := heap()
	c.bare = int(full-empty) / n

	var finds []time.Duration
	drawn := make([]string, 50_000)
	for range 5 {
		for i := range drawn {
			drawn[i] = keys[rand.N(n)]
		}
		runtime.GC()
		began = time.Now()
		for _, key := range drawn {
			_ = one.Session(key)
		}
		finds = append(finds, time.Since(began)/time.Duration(len(drawn)))
	}
	c.found, _, _ = measure.Middle(finds)
	c.profile = spent(t, fmt.Sprintf("finding one of %d", n), func() error {
		for _, key := range drawn {
			_ = one.Session(key)
		}
		return nil
	})

	some := min(n, users)
	full = heap()
	for _, s := range held[:some] {
		_, err := s.Token(t.Context())
		require.NoError(t, err)
	}
	used := heap()
	c.used = c.bare + int(used-full)/some - len(accessToken)
	for i, s := range held[:some] {
		clients[i] = s.Wrap(&http.Client{Transport: stub{true}})
	}
	c.wrap = int(heap()-used) / some
	req := typical(t, "https://api.test/")
	for _, hc := range clients[:some] {
		require.NoError(t, sends(hc.Transport, req)())
	}
	c.fit = c.used + int(heap()-used)/some - len("Bearer "+accessToken)
	c.goroutines = runtime.NumGoroutine() - goroutines
	runtime.KeepAlive(held)
	runtime.KeepAlive(clients)
	if output != "" { // else others make timers at the same time
		var taken table
		taken, c.timers = kept(t, keys[:some])
		c.profile = append(c.profile, taken)
	}
	return c
}

// kept is which functions have allocated what sessions take up, and how many timers are among it.
func kept(t *testing.T, keys []string) (taken table, timers int) {
	one := newClient(t)
	req := typical(t, "https://api.test/")
	all, err := measure.Memory(len(keys), func() any {
		clients := make([]*http.Client, len(keys))
		for i, key := range keys {
			clients[i] = one.Session(key).Wrap(&http.Client{Transport: stub{true}})
			if err := sends(clients[i].Transport, req)(); err != nil {
				t.Error(err)
			}
		}
		return clients
	})
	require.NoError(t, err)
	head := fmt.Sprintf("what %d sessions take up, with http.Client, transport and a token, after a request", len(keys))
	return table{[]string{head, "bytes each"}, all.Rows}, all.Timers
}

// serveInTurns serves some of the accounts, of which one in a hundred is active at a time. It returns the megabytes in use
// before and afterwards.
func serveInTurns(t *testing.T, accounts, served int) (before, then float64) {
	req := typical(t, "https://api.test/")
	active := make([]*http.Client, accounts/100)
	from := heap()
	one := newClient(t)
	for i := range served {
		hc := one.Session(fmt.Sprintf("person %d", rand.N(accounts))).Wrap(&http.Client{Transport: stub{true}})
		require.NoError(t, sends(hc.Transport, req)())
		active[i%len(active)] = hc
	}
	then = float64(heap()) / 1e6
	runtime.KeepAlive(active)
	return float64(from) / 1e6, then
}

func newClient(t *testing.T) *client.Client {
	c, err := client.New(client.Config{Endpoint: oauth2.Endpoint{TokenURL: "https://as.test/token"}, ClientID: clientID, Store: newRegistry(t)})
	require.NoError(t, err)
	return c
}

// heap is how much memory is in use once the collector finds no more to free: what a cleanup lets go of is found by the
// collection after it.
func heap() uint64 {
	var m runtime.MemStats
	for last, same := uint64(math.MaxUint64), 0; same < 3; same++ {
		runtime.GC()
		time.Sleep(time.Millisecond)
		runtime.ReadMemStats(&m)
		if m.HeapAlloc < last-1<<14 {
			same = 0
		}
		last = m.HeapAlloc
	}
	return m.HeapAlloc
}

// holder is a way to hold an account.
type holder struct {
	name  string
	texts int             // bytes of the tokens that it keeps once it is used
	open  func() any      // an http.Client, or what it takes to make one
	use   func(any) error // has the account get its first token, and make a request with it
}

// issuer is a token endpoint that gives everybody the same tokens, and costs no memory itself.
type issuer struct{ answer map[string]any }

func (i issuer) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasSuffix(req.URL.Path, "/openid-configuration") {
		return answered(req, map[string]any{"issuer": authority, "authorization_endpoint": authority + "/authorize", "token_endpoint": authority + "/token"})
	}
	return answered(req, i.answer)
}

func answered(req *http.Request, members map[string]any) (*http.Response, error) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	text, err := json.Marshal(members)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(text)), ContentLength: int64(len(text)), Request: req}, err
}

func holders(t *testing.T) []holder {
	config := &oauth2.Config{ClientID: clientID, ClientSecret: clientSecret, Endpoint: oauth2.Endpoint{TokenURL: "https://as.test/token", AuthStyle: oauth2.AuthStyleInParams}}
	secret, err := confidential.NewCredFromSecret(clientSecret)
	require.NoError(t, err)
	answer := map[string]any{"access_token": accessToken, "token_type": "Bearer", "expires_in": 3600, "refresh_token": refreshToken, "scope": "read write"}
	idToken := encoded(map[string]any{"alg": "none"}) + "." + encoded(map[string]any{"sub": "alice", "iss": authority, "aud": clientID}) + "."
	known := maps.Clone(answer)
	known["id_token"], known["client_info"] = idToken, encoded(map[string]any{"uid": "alice", "utid": "tenant"})
	hc, microsoft := &http.Client{Transport: issuer{answer}}, &http.Client{Transport: issuer{known}}
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, hc)
	var wire http.RoundTripper = stub{true}
	req := typical(t, "https://api.test/")
	request := func(opened any) error { return sends(opened.(*http.Client).Transport, req)() }

	ours, n := newClient(t), 0
	return []holder{
		{"Evergrant", len(accessToken + "Bearer " + accessToken), func() any {
			n++
			return ours.Session(fmt.Sprintf("person %d", n)).Wrap(&http.Client{Transport: wire})
		}, request},
		{"x/oauth2", len(accessToken + refreshToken), func() any {
			source := config.TokenSource(ctx, &oauth2.Token{RefreshToken: refreshToken})
			return &http.Client{Transport: &oauth2.Transport{Source: source, Base: wire}}
		}, request},
		{"Google auth, without telemetry", len(accessToken + refreshToken), func() any {
			provider, err := auth.New3LOTokenProvider(&auth.Options3LO{
				ClientID: clientID, ClientSecret: clientSecret, RefreshToken: refreshToken, AuthURL: "https://as.test/authorize",
				TokenURL: "https://as.test/token", AuthStyle: auth.StyleInParams, Client: hc,
			})
			require.NoError(t, err)
			made, err := httptransport.NewClient(&httptransport.Options{
				Credentials:      auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: provider}),
				BaseRoundTripper: wire, DisableTelemetry: true,
			})
			require.NoError(t, err)
			return made
		}, request},
		{"MSAL", len(accessToken + refreshToken + idToken), func() any {
			app, err := confidential.New("https://login.microsoftonline.com/tenant", clientID, secret, confidential.WithHTTPClient(microsoft), confidential.WithInstanceDiscovery(false))
			require.NoError(t, err)
			return &app
		}, func(opened any) error {
			_, err := opened.(*confidential.Client).AcquireTokenByAuthCode(t.Context(), "code", "http://127.0.0.1/callback", []string{"read"})
			return err
		}},
	}
}

// bytesEach is what each of n of a kind takes, unused and used.
func bytesEach(t *testing.T, n int, kind holder) (unused, used int) {
	held := make([]any, n)
	before := heap()
	for i := range held {
		held[i] = kind.open()
	}
	unused = int(heap()-before) / n
	for _, one := range held {
		require.NoError(t, kind.use(one))
	}
	used = int(heap()-before)/n - kind.texts
	runtime.KeepAlive(held)
	return unused, used
}
