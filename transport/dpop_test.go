package transport_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/transport"
)

// bound is a rotation whose proofs can be read.
type bound struct {
	*rotation
	mu     sync.Mutex
	proofs int
	err    error
}

// newBound is one whose tokens are bound to a key.
func newBound() *bound { return &bound{rotation: &rotation{kind: "DPoP"}} }

func (b *bound) Prove(_ context.Context, t *oauth2.Token, method, url, nonce string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.proofs++
	return strings.Join([]string{fmt.Sprint(b.proofs), t.AccessToken, method, url, nonce}, " "), b.err
}

// proofs are the DPoP headers of what was sent, under whatever spelling.
func (b *base) proofs() []string {
	all := []string{}
	for _, s := range b.sent {
		var values []string
		for name, given := range s.request.Header {
			if strings.EqualFold(name, "DPoP") {
				values = append(values, given...)
			}
		}
		all = append(all, strings.Join(values, " + "))
	}
	return all
}

// say is an answer with nonces.
func say(status int, challenge string, nonces ...string) *http.Response {
	resp := answer(status, "")
	if challenge != "" {
		resp.Header.Set("WWW-Authenticate", challenge)
	}
	resp.Header["Dpop-Nonce"] = nonces
	return resp
}

const (
	wantsNonce = `DPoP error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof"`
	badProof   = `DPoP error="invalid_dpop_proof", algs="ES256"`
	badToken   = `DPoP error="invalid_token", algs="ES256 PS256", colour="red"`
)

func TestR9449_7_1(t *testing.T) {
	b := &base{answers: []*http.Response{answer(200, "")}}
	tr := &transport.Transport{Source: newBound(), Base: b}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://api.example.com:443/things?q=1#part", nil)
	require.NoError(t, err)
	_, err = tr.RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, []string{"DPoP token-1"}, b.tokens())
	require.Equal(t, []string{"1 token-1 PUT https://api.example.com/things "}, b.proofs())
	require.Empty(t, req.Header, "the caller's request stays")

	t.Run("never without a proof, nor as a Bearer token", func(t *testing.T) {
		b := &base{answers: []*http.Response{answer(200, "")}}
		s := source{t: t, token: func(context.Context) (*oauth2.Token, error) {
			return &oauth2.Token{AccessToken: "s3cret", TokenType: "dpop"}, nil
		}}
		_, err := (&transport.Transport{Source: s, Base: b}).RoundTrip(get(t, api))
		require.ErrorIs(t, err, transport.ErrToken)
		require.NotContains(t, err.Error(), "s3cret")
		require.Empty(t, b.sent)
	})
	t.Run("no proof for a Bearer token", func(t *testing.T) {
		b := &base{answers: []*http.Response{say(401, wantsNonce, "n1"), answer(200, "")}}
		resp, err := (&transport.Transport{Source: &bound{rotation: &rotation{}}, Base: b}).RoundTrip(get(t, api))
		require.NoError(t, err)
		require.Equal(t, 401, resp.StatusCode)
		require.Equal(t, []string{""}, b.proofs())
		require.Equal(t, []string{"Bearer token-1"}, b.tokens())
	})
	t.Run("no proof, no request", func(t *testing.T) {
		gone := errors.New("the key service is away")
		b := &base{answers: []*http.Response{answer(200, "")}}
		req, body, _ := post(t, "content", false)
		_, err := (&transport.Transport{Source: &bound{rotation: &rotation{kind: "DPoP"}, err: gone}, Base: b}).RoundTrip(req)
		require.ErrorIs(t, err, gone)
		require.Empty(t, b.sent)
		body.requireClosedOnce(t)
	})
}

func TestR9449_2_1(t *testing.T) {
	for address, private := range map[string]bool{
		"https://api.example.com/":    true,
		"http://127.0.0.1:8080/":      true,
		"http://api.example.com/":     false,
		"http://api.example.com:443/": false,
	} {
		t.Run(address, func(t *testing.T) {
			u, err := url.Parse(address)
			require.NoError(t, err)
			b := &base{answers: []*http.Response{answer(200, "")}}
			tr := &transport.Transport{Source: newBound(), Base: b, Origins: []string{u.Scheme + "://" + u.Host}}
			_, err = tr.RoundTrip(get(t, address))
			if !private {
				require.ErrorIs(t, err, transport.ErrToken)
				require.Empty(t, b.sent)
				return
			}
			require.NoError(t, err)
			require.Len(t, b.sent, 1)
		})
	}
}

// A proof names the host as the server knows itself, which is as net/http spells it on the way.
func TestProofsAreForHostsInASCII(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"the address": func(r *http.Request) { r.URL.Host = "ap\u0130.example.com" },
		"the name":    func(r *http.Request) { r.Host = "ap\u0130.example.com" },
		"both":        func(r *http.Request) { r.URL.Host, r.Host = "b\u00fccher.example", "b\u00fccher.example" },
	} {
		t.Run(name, func(t *testing.T) {
			b := &base{answers: []*http.Response{say(200, "", "n-evil"), answer(200, "")}}
			tr := &transport.Transport{Source: newBound(), Base: b}
			req := get(t, "https://api.example.com/")
			change(req)
			_, err := tr.RoundTrip(req)
			require.ErrorIs(t, err, transport.ErrToken)
			require.ErrorContains(t, err, "punycode")
			require.Empty(t, b.sent)
			_, err = tr.RoundTrip(get(t, "https://api.example.com/"))
			require.NoError(t, err)
			require.Equal(t, []string{"1 token-1 GET https://api.example.com/ "}, b.proofs(), "no nonce of another host")
		})
	}
}

func TestR9449_4_1_1(t *testing.T) {
	for name, header := range map[string]http.Header{
		"one":               {"Dpop": {"mine"}},
		"two":               {"Dpop": {"mine", "mine too"}},
		"in other spelling": {"DPoP": {"mine"}, "dpop": {"mine too"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &base{answers: []*http.Response{answer(200, "")}}
			req := get(t, api)
			req.Header = header.Clone()
			_, err := (&transport.Transport{Source: newBound(), Base: b}).RoundTrip(req)
			require.NoError(t, err)
			require.Equal(t, []string{"1 token-1 GET " + api + " "}, b.proofs())
			require.Equal(t, header, req.Header)
		})
	}
	t.Run("a caller's own token keeps his own proof", func(t *testing.T) {
		b := &base{answers: []*http.Response{say(401, wantsNonce, "n1")}}
		req := get(t, api)
		req.Header.Set("Authorization", "DPoP mine")
		req.Header.Set("DPoP", "my proof")
		_, err := (&transport.Transport{Source: newBound(), Base: b}).RoundTrip(req)
		require.NoError(t, err)
		require.Equal(t, []string{"DPoP mine"}, b.tokens())
		require.Equal(t, []string{"my proof"}, b.proofs())
	})
}

// Shows R9449-7.1-1, R9449-7.2-1, R9449-7.3-1, R9449-8-2, R9449-9-1.
//
// What a server can say in a row: each request is sent once more for its token and once more for its proof, and never
// more than three times (I9).
func TestProofsAndTokens(t *testing.T) {
	bearer := `Bearer error="invalid_token"`
	for _, tt := range []struct {
		name    string
		answers []*http.Response
		want    []string // the proofs without their address, one for each send
		renewed int
		status  int
	}{
		{"R9449-9-1 a nonce is wanted", []*http.Response{say(401, wantsNonce, "n1"), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-1 GET n1"}, 0, 200},
		{"R9449-9-1 no nonce is given", []*http.Response{say(401, wantsNonce)},
			[]string{"1 token-1 GET "}, 0, 401},
		{"R9449-8-2 two are given", []*http.Response{say(401, wantsNonce, "n1", "n2")},
			[]string{"1 token-1 GET "}, 0, 401},
		{"a nonce is wanted again and again", []*http.Response{say(401, wantsNonce, "n1"), say(401, wantsNonce, "n2"), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-1 GET n1"}, 0, 401},
		{"R9449-7.1-1 the proof is bad", []*http.Response{say(401, badProof), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-1 GET "}, 0, 200},
		{"R9449-7.1-1 the proof is bad, and a nonce comes along", []*http.Response{say(401, badProof, "n1"), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-1 GET n1"}, 0, 200},
		{"every proof is bad", []*http.Response{say(401, badProof), say(401, badProof), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-1 GET "}, 0, 401},
		{"R9449-7.1-1 the token is bad", []*http.Response{say(401, badToken), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-2 GET "}, 1, 200},
		{"every token is bad", []*http.Response{say(401, badToken), say(401, badToken), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-2 GET "}, 1, 401},
		{"R9449-7.3-1 proof, then token", []*http.Response{say(401, wantsNonce, "n1"), say(401, badToken), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-1 GET n1", "3 token-2 GET n1"}, 1, 200},
		{"R9449-7.3-1 token, then proof", []*http.Response{say(401, badToken), say(401, wantsNonce, "n1"), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-2 GET ", "3 token-2 GET n1"}, 1, 200},
		{"both, and both again", []*http.Response{say(401, badToken), say(401, wantsNonce, "n1"), say(401, badToken), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-2 GET ", "3 token-2 GET n1"}, 1, 401},
		{"proof, token, proof", []*http.Response{say(401, wantsNonce, "n1"), say(401, badToken), say(401, wantsNonce, "n2"), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-1 GET n1", "3 token-2 GET n1"}, 1, 401},
		{"R9449-7.2-1 Bearer says the token, DPoP the nonce", []*http.Response{say(401, bearer+", "+wantsNonce, "n1"), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-1 GET n1"}, 0, 200},
		{"R9449-7.2-1 Bearer asks for a scope, DPoP rejects the token", []*http.Response{say(401, `Bearer error="insufficient_scope", `+badToken), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-2 GET "}, 1, 200},
		{"Bearer alone", []*http.Response{say(401, bearer), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-2 GET "}, 1, 200},
		{"Bearer alone asks for a scope", []*http.Response{say(401, `Bearer error="insufficient_scope"`)},
			[]string{"1 token-1 GET "}, 0, 401},
		{"Basic alone", []*http.Response{say(401, `Basic realm="x"`)},
			[]string{"1 token-1 GET "}, 0, 401},
		{"no challenge", []*http.Response{say(401, ""), say(200, "")},
			[]string{"1 token-1 GET ", "2 token-2 GET "}, 1, 200},
		{"a step-up", []*http.Response{say(401, `DPoP error="insufficient_user_authentication"`)},
			[]string{"1 token-1 GET "}, 0, 401},
		{"a 400 with the words", []*http.Response{say(400, wantsNonce, "n1")},
			[]string{"1 token-1 GET "}, 0, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, s := &base{answers: tt.answers}, newBound()
			resp, err := (&transport.Transport{Source: s, Base: b}).RoundTrip(get(t, api))
			require.NoError(t, err)
			require.Equal(t, tt.status, resp.StatusCode)
			var got []string
			for _, proof := range b.proofs() {
				got = append(got, strings.Replace(proof, " "+api, "", 1))
			}
			require.Equal(t, tt.want, got)
			require.Len(t, s.renewals(), tt.renewed)
			for i, answered := range tt.answers[:len(b.sent)] {
				if i < len(b.sent)-1 {
					bodyOf(answered).requireClosedOnce(t)
				} else {
					require.True(t, bodyOf(answered).isUntouched())
				}
			}
		})
	}
}

// told is a Source that is told of tokens that were rejected.
type told struct {
	*bound
	statuses []int
}

func (s *told) Replayed(status int) { s.statuses = append(s.statuses, status) }

// TestReplayedIsNotToldOfProofs: nobody has rejected a token.
func TestReplayedIsNotToldOfProofs(t *testing.T) {
	b := &base{answers: []*http.Response{say(401, wantsNonce, "n1"), say(401, badToken), say(200, "")}}
	s := &told{bound: newBound()}
	_, err := (&transport.Transport{Source: s, Base: b}).RoundTrip(get(t, api))
	require.NoError(t, err)
	require.Len(t, b.sent, 3)
	require.Equal(t, []int{401}, s.statuses)
}

func TestR9449_8_2_1(t *testing.T) {
	b := &base{answers: []*http.Response{
		say(200, "", "n1"), say(404, "", "n2"), say(200, ""), say(500, "", `not "one`), say(401, `DPoP error="insufficient_scope"`, "n3"), say(200, "", "n4", "n5"), say(200, ""),
	}}
	tr := &transport.Transport{Source: newBound(), Base: b}
	for range b.answers {
		_, err := tr.RoundTrip(get(t, api))
		require.NoError(t, err)
	}
	var got []string
	for _, proof := range b.proofs() {
		got = append(got, proof[strings.LastIndexByte(proof, ' ')+1:])
	}
	require.Equal(t, []string{"", "n1", "n2", "n2", "n2", "n3", "n3"}, got)
}

// A nonce goes to nobody but the origin that gave it.
func TestR9449_9_2(t *testing.T) {
	b := &base{answers: []*http.Response{say(200, "", "n1"), say(200, "")}}
	tr := &transport.Transport{Source: newBound(), Base: b}
	for _, address := range []string{"https://a.example/", "https://b.example/", "https://a.example:444/", "https://a.example/other"} {
		_, err := tr.RoundTrip(get(t, address))
		require.NoError(t, err)
	}
	require.Equal(t, []string{
		"1 token-1 GET https://a.example/ ", "2 token-1 GET https://b.example/ ", "3 token-1 GET https://a.example:444/ ", "4 token-1 GET https://a.example/other n1",
	}, b.proofs())
}

func TestR9449_7_3_2(t *testing.T) {
	to := map[string]string{
		"https://a.example/1": "https://a.example/2?x=1",
		"https://a.example/2": "https://b.example/3",
		"https://b.example/3": "https://a.example/4",
	}
	b := &base{answers: []*http.Response{answer(200, "")}}
	redirecting := roundTripper(func(req *http.Request) (*http.Response, error) {
		b.answers = []*http.Response{answer(200, "")}
		if next := to[req.URL.Scheme+"://"+req.URL.Host+req.URL.Path]; next != "" {
			b.answers[0].StatusCode = 302
			b.answers[0].Header.Set("Location", next)
		}
		return b.RoundTrip(req)
	})
	hc := &http.Client{Transport: &transport.Transport{Source: newBound(), Base: redirecting}}
	resp, err := hc.Get("https://a.example/1")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, []string{"1 token-1 GET https://a.example/1 ", "2 token-1 GET https://a.example/2 ", "", ""}, b.proofs())
	require.Equal(t, []string{"DPoP token-1", "DPoP token-1", "", ""}, b.tokens())
}

func TestR9449_7_1_2(t *testing.T) {
	b := &base{answers: []*http.Response{say(407, "", "n1"), say(200, "")}}
	b.answers[0].Header.Set("Proxy-Authenticate", wantsNonce)
	tr := &transport.Transport{Source: newBound(), Base: b}
	req := get(t, api)
	req.Header.Set("Proxy-Authorization", "Basic dTpw")
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	require.Equal(t, 407, resp.StatusCode)
	require.Len(t, b.sent, 1)
	require.Equal(t, []string{"Basic dTpw"}, b.sent[0].request.Header["Proxy-Authorization"])
}

// TestProofForABodyThatCannotBeHadAgain leaves the server's word to the caller, as for a rejected token (I8).
func TestProofForABodyThatCannotBeHadAgain(t *testing.T) {
	for name, rewinds := range map[string]bool{"once only": false, "again": true} {
		t.Run(name, func(t *testing.T) {
			b := &base{answers: []*http.Response{say(401, wantsNonce, "n1"), say(200, "")}}
			tr := &transport.Transport{Source: newBound(), Base: b}
			req, body, _ := post(t, "content", rewinds)
			resp, err := tr.RoundTrip(req)
			require.NoError(t, err)
			body.requireClosedOnce(t)
			if !rewinds {
				require.Equal(t, 401, resp.StatusCode)
				require.Len(t, b.sent, 1)
				return
			}
			require.Equal(t, 200, resp.StatusCode)
			require.Equal(t, []string{"content", "content"}, []string{b.sent[0].body, b.sent[1].body})
		})
	}
}

// TestNoncesUnderConcurrency has many requests at once learn from a server whose nonces are good for a while.
func TestNoncesUnderConcurrency(t *testing.T) {
	var mu sync.Mutex
	sent, good := 0, map[string]bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		sent++
		nonce := fmt.Sprintf("n%d", sent/10)
		w.Header().Set("DPoP-Nonce", nonce)
		given := r.Header.Get("DPoP")
		if !good[given[strings.LastIndexByte(given, ' ')+1:]] {
			w.Header().Set("WWW-Authenticate", wantsNonce)
			w.WriteHeader(401)
		}
		good[nonce] = true
	}))
	defer srv.Close()
	s := newBound()
	hc := &http.Client{Transport: &transport.Transport{Source: s, Base: srv.Client().Transport}}
	var requests sync.WaitGroup
	statuses := make(chan int, 200)
	for range cap(statuses) {
		requests.Go(func() {
			resp, err := hc.Get(srv.URL)
			if err == nil {
				_ = resp.Body.Close()
				statuses <- resp.StatusCode
			}
		})
	}
	requests.Wait()
	close(statuses)
	answered := 0
	for status := range statuses {
		require.Equal(t, 200, status)
		answered++
	}
	require.Equal(t, 200, answered)
	require.Empty(t, s.renewals())
}
