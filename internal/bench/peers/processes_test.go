package peers_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/internal/bench/measure"
	"github.com/evergrant/evergrant/internal/postgresd"
	"github.com/evergrant/evergrant/internal/redisd"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/redisstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
)

const (
	shareTask = "EVERGRANT_BENCH_SHARE" // the task of this binary as one of the processes, as JSON
	replicas  = 8
	life      = time.Second // of a token
)

// task is what a process is told: where the grant lies, in one of these, and whose servers it is for.
type task struct {
	Dir, Redis, PostgreSQL string
	Token                  *oauth2.Token // for x/oauth2 instead, which has no store
	Endpoint               oauth2.Endpoint
	API                    string
}

// shareGrant makes a request for each line that it is sent, and answers with how long it took.
func shareGrant(text string) {
	var order task
	err := json.Unmarshal([]byte(text), &order)
	var hc *http.Client
	if err == nil {
		hc, err = order.client()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		began := time.Now()
		if err := call(context.Background(), hc, order.API); err != nil {
			fmt.Fprintln(os.Stderr, err)
			fmt.Println("failed")
			continue
		}
		fmt.Println(time.Since(began).Nanoseconds())
	}
}

func (k task) client() (*http.Client, error) {
	config := &oauth2.Config{ClientID: clientID, ClientSecret: clientSecret, Endpoint: k.Endpoint}
	if k.Token != nil {
		return config.Client(context.Background(), k.Token), nil
	}
	store, err := k.store(context.Background())
	if err != nil {
		return nil, err
	}
	c, err := client.FromOAuth2(config, store)
	if err != nil {
		return nil, err
	}
	return c.Session("alice").HTTPClient(), nil
}

func (k task) store(ctx context.Context) (tokenstore.Store, error) {
	switch {
	case k.Redis != "":
		return redisstore.New(redis.NewClient(&redis.Options{Addr: k.Redis}), redisstore.Options{Plaintext: true})
	case k.PostgreSQL != "":
		db, err := sql.Open("pgx", k.PostgreSQL)
		if err != nil {
			return nil, err
		}
		store, err := sqlstore.New(db, sqlstore.Options{Plaintext: true})
		if err != nil {
			return nil, err
		}
		return store, store.Migrate(ctx)
	}
	return file.New(k.Dir, file.Options{Plaintext: true})
}

func processes(t *testing.T, s size) section {
	endpoint := 2 * s.endpoint
	rows := table{head: []string{fmt.Sprintf("%d processes, %d ages of the grant", replicas, s.ages), "token requests", "requests failed", "the quickest of an age", "the slowest of an age"}}
	var figures []figure
	add := func(name string, order task, ours bool) {
		o := share(t, order, s.ages, endpoint)
		quickest, slowest := "", ""
		if len(o.slowest) > 0 {
			quickest, slowest = span(o.quickest), span(o.slowest)
		}
		rows.add(name, fmt.Sprint(o.requests), fmt.Sprintf("%d of %d", o.failed, replicas*s.ages), quickest, slowest)
		if ours {
			require.Zero(t, o.failed, "requests of Evergrant failed")
			middle, _, _ := measure.Middle(o.slowest)
			figures = append(figures,
				exactly(name+": token requests", []int{o.requests}, s.ages),
				most(name+": the slowest waits at most 100 ms longer than the endpoint takes", middle-endpoint, 100*time.Millisecond, ""))
		}
	}
	add("Evergrant, file store", task{Dir: t.TempDir()}, true)
	missing := ""
	if output != "" {
		server, err := redisd.Open()
		if err == nil {
			t.Cleanup(func() { require.NoError(t, server.Close()) })
			add("Evergrant, Redis", task{Redis: server.Addr}, true)
		} else {
			require.ErrorIs(t, err, redisd.ErrNotInstalled)
			missing += " Redis is not installed here."
		}
		cluster, err := postgresd.Open()
		if err == nil {
			t.Cleanup(func() { require.NoError(t, cluster.Close()) })
			add("Evergrant, PostgreSQL", task{PostgreSQL: cluster.DSN()}, true)
		} else {
			require.ErrorIs(t, err, postgresd.ErrNotInstalled)
			missing += " PostgreSQL is not installed here."
		}
	}
	add("x/oauth2, each given the same token at its start", task{Token: &oauth2.Token{}}, false)
	return section{
		title: "8. Processes that share a grant",
		text: fmt.Sprintf("All processes make a request at the same moment, when the token they share has ended. A token request takes %v, a token lasts %v. "+
			"x/oauth2 and Google's library have no store: what comes of that is shown by x/oauth2, whose grant ends in the first age. "+
			"MSAL leaves it to the program to store its cache and to lock it, and is not measured here.", endpoint, life) + missing,
		tables: []table{rows}, figures: figures,
	}
}

// shared is what came of a grant that processes share.
type shared struct {
	requests, failed  int
	quickest, slowest []time.Duration // of each age in which all were answered
}

func share(t *testing.T, order task, ages int, endpoint time.Duration) (o shared) {
	as := clienttest.New(t)
	as.Listen()
	as.Register(clientID, clientSecret, "client_secret_post")
	as.Policy.KeepAccessToken = true
	as.Policy.Lifetime = life
	order.API, order.Endpoint = as.NewAPI("api.test").URL, as.Config().Endpoint
	order.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	login := as.Login()
	if order.Token != nil {
		order.Token = login
	} else {
		adopt(t, order, login)
	}
	text, err := json.Marshal(order)
	require.NoError(t, err)
	children := make([]*child, replicas)
	for i := range children {
		children[i] = startChild(t, string(text))
	}
	as.Fail("/token", slices.Repeat([]clienttest.Fault{{WaitAnswer: endpoint}}, 1000)...)
	for range ages {
		time.Sleep(life + 100*time.Millisecond)
		var times []time.Duration
		for _, c := range children {
			c.ask(t)
		}
		for _, c := range children {
			if took, ok := c.answer(t); ok {
				times = append(times, took)
			} else {
				o.failed++
			}
		}
		if len(times) == replicas {
			o.quickest, o.slowest = append(o.quickest, slices.Min(times)), append(o.slowest, slices.Max(times))
		}
	}
	o.requests = len(as.Requests())
	return o
}

// adopt lays a grant into the store.
func adopt(t *testing.T, order task, token *oauth2.Token) {
	store, err := order.store(t.Context())
	require.NoError(t, err)
	c, err := client.FromOAuth2(&oauth2.Config{ClientID: clientID, ClientSecret: clientSecret, Endpoint: order.Endpoint}, store)
	require.NoError(t, err)
	require.NoError(t, c.Session("alice").Adopt(t.Context(), token))
	require.NoError(t, c.Close(t.Context()))
}

type child struct {
	in  io.Writer
	out *bufio.Reader
}

func startChild(t *testing.T, text string) *child {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), shareTask+"="+text)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() }) // the end of the test's context has killed it
	return &child{in, bufio.NewReader(out)}
}

func (c *child) ask(t *testing.T) {
	_, err := io.WriteString(c.in, "\n")
	require.NoError(t, err)
}

func (c *child) answer(t *testing.T) (time.Duration, bool) {
	line, err := c.out.ReadString('\n')
	require.NoError(t, err)
	n, err := strconv.ParseInt(line[:len(line)-1], 10, 64)
	return time.Duration(n), err == nil
}
