package peers_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"runtime"
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
		Grant: "g", Generation: 1, Leases: 1, RefreshToken: "refresh", Scopes: []string{"read", "write"},
		Access: map[string]*record.Access{"": {Token: accessToken, Type: "Bearer", Issued: now, Expiry: now.Add(24 * time.Hour)}},
	}).Encode()
	require.NoError(t, err)
	return registry{grant: data}
}

const (
	accessToken = "access-token" // short, since its text is not to count
	users       = 20_000         // of the sessions, which stand for all: to give everybody a token takes minutes
)

// crowd is what the sessions of many accounts cost.
type crowd struct {
	made, found     time.Duration // each
	bare, used, fit int           // bytes each: unused, with a token, with http.Client and transport too
	goroutines      int           // more than before
	profile         []table       // of finding one, and of what they take up
}

func sessions(t *testing.T, s size) section {
	rows := table{head: []string{"Evergrant", "to make one", "to find one", "bytes each, unused", "with a token", "with an http.Client and a transport of its own", "goroutines"}}
	active := table{head: []string{"accounts, of which 1 % are active at a time", "megabytes before", "once so many were served", "megabytes then"}}
	var figures []figure
	var profile []table // of finding one among the most
	for _, n := range s.sessions {
		c := gather(t, n)
		profile = c.profile
		rows.add(fmt.Sprint(n), show(c.made), show(c.found), fmt.Sprint(c.bare), fmt.Sprint(c.used), fmt.Sprint(c.fit), fmt.Sprint(c.goroutines))
		who := fmt.Sprintf("%d sessions: ", n)
		figures = append(figures,
			most(who+"bytes of a session with its token", c.used, 512, ""),
			most(who+"bytes with an http.Client and a transport of its own", c.fit, 512, fmt.Sprintf(
				"an http.Client takes 48 of them, a transport the other %d. Nobody has to keep these: Session.HTTPClient makes them when they are needed", c.fit-c.used-48)),
			most(who+"at most 1 µs to find one", c.found, time.Microsecond, "the processor's caches are missed at each step: the map, the key's text, the weak pointer, the account"),
			most(who+"goroutines", c.goroutines, 0, ""))
	}
	accounts := s.sessions[len(s.sessions)-1]
	served := min(accounts, 5*users)
	before, then := serveInTurns(t, accounts, served)
	active.add(fmt.Sprint(accounts), fmt.Sprintf("%.1f", before), fmt.Sprint(served), fmt.Sprintf("%.1f", then))
	const some = 10_000
	others := table{head: []string{fmt.Sprintf("%d clients of", min(some, s.sessions[0])), "bytes each"}}
	for _, peer := range peerSessions(t) {
		others.add(peer.name, fmt.Sprintf("%.0f", bytesEach(min(some, s.sessions[0]), peer.make)))
	}
	return section{
		title: "7. Many sessions",
		text: "Bytes of the heap after a collection, by the number of sessions; the texts of keys and tokens apart. " +
			fmt.Sprintf("%d of them have got a token. ", min(users, s.sessions[0])) + "To find one is Client.Session with a key " +
			"drawn at random. Of the accounts that take turns, drawn at random, each makes a request when it becomes active, with a token from the store, and is no more held when another one takes its place. " +
			"An id token takes some 370 bytes more, beside its text: those of the map that oauth2.Token.Extra answers from. " +
			"The others are clients with a token that has not been renewed yet (Google's and MSAL's: without any).",
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
	c.fit = c.used + int(heap()-used)/some
	c.goroutines = runtime.NumGoroutine() - goroutines
	runtime.KeepAlive(held)
	runtime.KeepAlive(clients)
	c.profile = append(c.profile, kept(t, keys[:some])...)
	return c
}

// kept is, for the page alone, which functions have allocated what sessions take up.
func kept(t *testing.T, keys []string) []table {
	if output == "" {
		return nil
	}
	one := newClient(t)
	rows, err := measure.Memory(len(keys), func() any {
		clients := make([]*http.Client, len(keys))
		for i, key := range keys {
			s := one.Session(key)
			if _, err := s.Token(t.Context()); err != nil {
				t.Error(err)
			}
			clients[i] = s.Wrap(&http.Client{Transport: stub{true}})
		}
		return clients
	})
	require.NoError(t, err)
	return []table{{head: []string{fmt.Sprintf("what %d sessions take up, with http.Client, transport and a token", len(keys)), "bytes each"}, rows: rows}}
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

type peerSession struct {
	name string
	make func() any
}

func peerSessions(t *testing.T) []peerSession {
	config := &oauth2.Config{ClientID: clientID, Endpoint: oauth2.Endpoint{TokenURL: "https://as.test/token"}}
	secret, err := confidential.NewCredFromSecret(clientSecret)
	require.NoError(t, err)
	var wire http.RoundTripper = stub{true}
	hc := &http.Client{Transport: wire}
	return []peerSession{
		{"x/oauth2", func() any {
			token := &oauth2.Token{AccessToken: accessToken, RefreshToken: "refresh", Expiry: time.Now().Add(time.Hour)}
			return &http.Client{Transport: &oauth2.Transport{Source: config.TokenSource(context.Background(), token), Base: wire}}
		}},
		{"Google auth, without telemetry", func() any {
			provider, err := auth.New3LOTokenProvider(&auth.Options3LO{
				ClientID: clientID, ClientSecret: clientSecret, RefreshToken: "refresh", AuthURL: "https://as.test/authorize",
				TokenURL: "https://as.test/token", AuthStyle: auth.StyleInParams, Client: hc,
			})
			require.NoError(t, err)
			made, err := httptransport.NewClient(&httptransport.Options{
				Credentials:      auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: provider}),
				BaseRoundTripper: wire, DisableTelemetry: true,
			})
			require.NoError(t, err)
			return made
		}},
		{"MSAL", func() any {
			app, err := confidential.New("https://login.microsoftonline.com/tenant", clientID, secret, confidential.WithHTTPClient(hc), confidential.WithInstanceDiscovery(false))
			require.NoError(t, err)
			return &app
		}},
	}
}

func bytesEach(n int, one func() any) float64 {
	held := make([]any, n)
	before := heap()
	for i := range held {
		held[i] = one()
	}
	each := float64(heap()-before) / float64(n)
	runtime.KeepAlive(held)
	return each
}
