package peers_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/bench/measure"
)

// jwt is an access token as long as many are.
var jwt = strings.Repeat("x", 900)

// stub answers everything with the least there is, if it comes with the token.
type stub struct{ anybody bool }

var errNoToken = errors.New("a request came without the token")

func (s stub) RoundTrip(req *http.Request) (*http.Response, error) {
	if v := req.Header["Authorization"]; !s.anybody && (len(v) != 1 || len(v[0]) != len("Bearer ")+len(jwt)) {
		return nil, errNoToken
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: req}, nil
}

// wearing gives a contestant the token jwt.
func wearing(t *testing.T, c contestant, base http.RoundTripper) *http.Client {
	as := newServer(t, c)
	as.Change(func() { as.Policy.Answer["access_token"] = jwt })
	return dress(t, c, as, base)
}

// typical is a request as programs make them.
func typical(t *testing.T, address string) *http.Request {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	req.Header = http.Header{
		"Accept": {"application/json"}, "User-Agent": {"program/1.0"}, "X-Request-Id": {"4f1c"},
		"Accept-Language": {"en"}, "If-None-Match": {`"x"`},
	}
	return req
}

func overhead(t *testing.T, s size) section {
	entrants := []contestant{plain, again, evergrant, xoauth2, google, googleTraced, msal}
	one := []measure.Way{{Name: "nothing: the stub alone", Do: sends(stub{true}, typical(t, "https://api.test/"))}}
	for _, c := range entrants {
		one = append(one, measure.Way{Name: c.name, Do: sends(wearing(t, c, stub{}).Transport, typical(t, "https://api.test/"))})
	}
	serial, err := measure.Contest(s.rounds, s.turn/2, one...)
	require.NoError(t, err)

	many := make([]measure.Way, len(one))
	for i, way := range one {
		many[i] = inParallel(runtime.GOMAXPROCS(0), 500, way)
	}
	parallel, err := measure.Contest(s.rounds, s.turn/2, many...)
	require.NoError(t, err)

	rows := table{head: []string{"", "serial", "× plain", "parallel", "× plain", "bytes", "allocations"}}
	for i, r := range serial {
		rows.add(r.Name, times(r), measure.Ratio(r, serial[1]), times(parallel[i]), measure.Ratio(parallel[i], parallel[1]),
			strconv.FormatUint(r.Bytes, 10), strconv.FormatUint(r.Allocs, 10))
	}
	ours, bare := serial[3], serial[0]
	shared := fmt.Sprintf("what the processors share, memory and the collector, slows the stub alone to %.2f × serial and plain to %.2f",
		measure.Quotient(parallel[0], bare), measure.Quotient(parallel[1], serial[1]))
	return section{
		title: "1. A request with a valid token, over a stub",
		text: "RoundTrip of a GET with five headers and a token of 900 bytes over a RoundTripper that does nothing: what the attaching costs. " +
			fmt.Sprintf("Parallel: %d goroutines, and the time is all of theirs by the number of requests.", runtime.GOMAXPROCS(0)),
		tables: append([]table{rows}, spent(t, "Evergrant in parallel", many[3].Do)...),
		figures: []figure{
			most("less than plain, × plain", measure.Quotient(ours, serial[1]), 1, ""),
			most("at most 3 allocations of its own", int(ours.Allocs)-int(bare.Allocs), 3, ""),
			most("at most 750 bytes of its own", int(ours.Bytes)-int(bare.Bytes), 750, ""),
			most("parallel no slower than serial, × serial", measure.Quotient(parallel[3], ours), 1, shared),
		},
	}
}

func times(r measure.Result) string {
	return measure.Show(r.Median) + " (" + measure.Show(r.Min) + "–" + measure.Show(r.Max) + ")"
}

// sends is one request, sent again and again.
func sends(rt http.RoundTripper, req *http.Request) func() error {
	return func() error {
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return errors.Join(err, resp.Body.Close())
	}
}

// inParallel is a way taken by several goroutines at once, each of them many times.
func inParallel(goroutines, each int, way measure.Way) measure.Way {
	return measure.Way{Name: way.Name, Times: goroutines * each, Do: func() error {
		var group sync.WaitGroup
		var failed atomic.Pointer[error]
		for range goroutines {
			group.Go(func() {
				for range each {
					if err := way.Do(); err != nil {
						failed.Store(&err)
						return
					}
				}
			})
		}
		group.Wait()
		if err := failed.Load(); err != nil {
			return *err
		}
		return nil
	}}
}

func loopback(t *testing.T, s size) section {
	done := section{
		title: "2. The same over loopback",
		text: "GET over kept connections to a net/http server in the same process, which counts; 16 goroutines in parallel. " +
			"HTTP/1.1 in plain text, HTTP/2 over TLS. The figures are those of further rounds, of plain, plain once more and Evergrant " +
			"alone; the noise is how far from 1 the ratio of plain once more may be there, by the 95 % interval of its median.",
	}
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		var accepted atomic.Int64
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+jwt {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			accepted.Add(1)
			_, _ = io.WriteString(w, `{"ok":true}`)
		}))
		if protocol == "HTTP/2" {
			server.EnableHTTP2 = true
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
		base := server.Client().Transport.(*http.Transport)
		base.MaxIdleConnsPerHost = 64

		var serial, parallel []measure.Way
		var sent atomic.Int64
		for _, c := range []contestant{plain, again, evergrant, xoauth2, google, msal} {
			send := sends(wearing(t, c, base).Transport, typical(t, server.URL))
			way := measure.Way{Name: c.name, Do: func() error { sent.Add(1); return send() }}
			serial, parallel = append(serial, way), append(parallel, inParallel(16, 16, way))
		}
		rows := table{head: []string{protocol, "serial", "× plain", "parallel", "× plain"}}
		alone, err := measure.Contest(s.rounds, s.turn, serial...)
		require.NoError(t, err)
		together, err := measure.Contest(s.rounds, s.turn, parallel...)
		require.NoError(t, err)
		for i, r := range alone {
			rows.add(r.Name, times(r), measure.Ratio(r, alone[0]), times(together[i]), measure.Ratio(together[i], together[0]))
		}
		done.tables = append(done.tables, rows)
		for i, ways := range [][]measure.Way{serial[:3], parallel[:3]} {
			r, err := measure.Contest(4*s.rounds, s.turn/2, ways...)
			require.NoError(t, err)
			noise := measure.Noise(r[1], r[0])
			want := fmt.Sprintf("%s %s: at most 1.03 × plain, and the noise of %.3f", protocol, []string{"serial", "parallel"}[i], noise)
			done.figures = append(done.figures, most(want, measure.Quotient(r[2], r[0]), 1.03+noise, ""))
		}
		done.tables = append(done.tables, spent(t, "Evergrant over "+protocol+", serial", serial[2].Do)...)
		require.Equal(t, sent.Load(), accepted.Load(), "every request was sent once, and had its token")
	}
	return done
}
