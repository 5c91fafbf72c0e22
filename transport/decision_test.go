package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/transport"
)

// Which answers reject the token (I9, RFC 6750 §3, RFC 9449 §7, RFC 9470 §3).
// Shows R6749-7.2-1, R6750-3-6, R6750-3.1-1, R6750-3.1-2, R6750-3.1-3, R9470-3-1, R9728-5.4-1, O21-5.3.1-1.
func TestAnswers(t *testing.T) {
	tests := []struct {
		name       string
		status     int
		challenges []string
		rejects    bool
	}{
		{"401 without a challenge", 401, nil, true},
		{"401 bare Bearer", 401, []string{"Bearer"}, true},
		{"401 with a realm only", 401, []string{`Bearer realm="api"`}, true},
		{"401 invalid_token", 401, []string{`Bearer error="invalid_token"`}, true},
		{"401 scheme in another case", 401, []string{`bEARER error="invalid_token"`}, true},
		{"401 error that no RFC knows", 401, []string{`Bearer error="request_unauthorized",error_description="…"`}, true},
		{"401 no scheme, nothing quoted", 401, []string{"error=invalid_request,error_description=Access token not found"}, true},
		{"401 garbage", 401, []string{`=,;"`}, true},
		{"401 Bearer among others", 401, []string{`Negotiate YII=, Bearer realm="x", error="invalid_token"`}, true},
		{"401 Bearer in a second header", 401, []string{`Basic realm="x"`, "Bearer"}, true},
		{"401 DPoP invalid_token", 401, []string{`DPoP error="invalid_token", algs="ES256"`}, true},
		{"401 Bearer and DPoP on offer", 401, []string{`Bearer realm="x"`, `DPoP realm="x", algs="ES256"`}, true},
		{"401 OAuth for Bearer", 401, []string{`OAuth realm="x"`}, true},
		{"401 Basic", 401, []string{`Basic realm="x"`}, false},
		{"401 Basic that speaks of Bearer", 401, []string{`Basic realm="a, Bearer error=\"invalid_token\""`}, false},
		{"401 Negotiate and NTLM", 401, []string{"Negotiate", "NTLM"}, false},
		{"401 Digest", 401, []string{`Digest realm="x", nonce="y", qop="auth, auth-int"`}, false},
		{"401 insufficient_user_authentication", 401, []string{`Bearer error="insufficient_user_authentication", acr_values="gold", max_age=5`}, false},
		{"401 insufficient_claims", 401, []string{`Bearer realm="", error="insufficient_claims", claims="e30="`}, false},
		{"401 insufficient_scope", 401, []string{`Bearer error="insufficient_scope", scope="a"`}, false},
		{"401 insufficient_scope without a scheme", 401, []string{`error=insufficient_scope scope="a b"`}, false},
		{"401 use_dpop_nonce", 401, []string{`DPoP error="use_dpop_nonce"`}, false},
		{"401 use_dpop_nonce beside Bearer", 401, []string{"Bearer", `DPoP error="use_dpop_nonce"`}, false},
		{"401 invalid_dpop_proof", 401, []string{`DPoP error="invalid_dpop_proof"`}, false},
		{"403 insufficient_scope", 403, []string{`Bearer error="insufficient_scope", scope="a"`}, false},
		{"403 invalid_token", 403, []string{`Bearer error="invalid_token"`}, false},
		{"400 invalid_token", 400, []string{`Bearer error="invalid_token"`}, false},
		{"407", 407, []string{"Bearer"}, false},
		{"200 with a challenge", 200, []string{`Bearer error="invalid_token"`}, false},
		{"302", 302, nil, false},
		{"500", 500, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first, second := answer(tt.status, "first", tt.challenges...), answer(201, "second")
			b := &base{answers: []*http.Response{first, second}}
			s := &rotation{}
			resp, err := (&transport.Transport{Source: s, Base: b}).RoundTrip(get(t, api))
			require.NoError(t, err)
			if !tt.rejects {
				require.Same(t, first, resp)
				require.True(t, bodyOf(first).isUntouched())
				require.Equal(t, []string{"Bearer token-1"}, b.tokens())
				require.Empty(t, s.renewals())
				return
			}
			require.Same(t, second, resp)
			require.Equal(t, []string{"Bearer token-1", "Bearer token-2"}, b.tokens())
			require.Equal(t, []string{"token-1"}, s.renewals())
			bodyOf(first).requireClosedOnce(t)
			require.Zero(t, bodyOf(first).content.Len(), "drained, for the connection's sake")
			require.True(t, bodyOf(second).isUntouched())
		})
	}
}

// A server that rejects fresh tokens gets two requests, and its word reaches the caller (I9).
// Shows R6750-3.1-4.
func TestSecondAnswerIsFinal(t *testing.T) {
	second := answer(401, "still no", "Bearer")
	b := &base{answers: []*http.Response{answer(401, "no", "Bearer"), second}}
	s := &rotation{}
	resp, err := (&transport.Transport{Source: s, Base: b}).RoundTrip(get(t, api))
	require.NoError(t, err)
	require.Same(t, second, resp)
	require.Equal(t, "still no", read(t, resp))
	require.Len(t, b.sent, 2)
	require.Len(t, s.renewals(), 1)
}

// Shows R6750-3.1-6.
func TestLateRejectionUsesReplacement(t *testing.T) {
	s := &rotation{}
	b := &base{answers: []*http.Response{answer(401, ""), answer(200, "")}}
	replacing := roundTripper(func(req *http.Request) (*http.Response, error) {
		if len(b.sent) == 0 { // somebody else renews meanwhile
			old, _ := s.Token(req.Context())
			_, _ = s.Renew(req.Context(), old)
		}
		return b.RoundTrip(req)
	})
	resp, err := (&transport.Transport{Source: s, Base: replacing}).RoundTrip(get(t, api))
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, []string{"Bearer token-1", "Bearer token-2"}, b.tokens())
	require.Equal(t, 2, s.minted)
}

var errOutage = errors.New("the authorization server is away")

func TestRenewOutcomes(t *testing.T) {
	tests := []struct {
		name   string
		token  *oauth2.Token
		err    error
		want   error // nil: the first answer, whole
		unsaid string
	}{
		{name: "rejects fresh tokens", err: fmt.Errorf("resting: %w", transport.ErrRejected)},
		{name: "same pointer", token: rejected},
		{name: "same access token", token: &oauth2.Token{AccessToken: "first", TokenType: "Bearer"}},
		{name: "outage", err: errOutage, want: errOutage},
		{name: "wrapped outage", err: fmt.Errorf("renew: %w", errOutage), want: errOutage},
		{name: "cancelled", err: context.Canceled, want: context.Canceled},
		{name: "nothing", want: transport.ErrToken},
		{name: "another type", token: &oauth2.Token{AccessToken: "s3cret", TokenType: "DPoP"}, want: transport.ErrToken, unsaid: "s3cret"},
		{name: "not for a header", token: &oauth2.Token{AccessToken: "s3cret\r\nX: y"}, want: transport.ErrToken, unsaid: "s3cret"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first := answer(401, "first")
			b := &base{answers: []*http.Response{first}}
			var told *oauth2.Token
			s := source{t,
				func(context.Context) (*oauth2.Token, error) { return rejected, nil },
				func(_ context.Context, r *oauth2.Token) (*oauth2.Token, error) { told = r; return tt.token, tt.err },
			}
			resp, err := (&transport.Transport{Source: s, Base: b}).RoundTrip(get(t, api))
			require.Same(t, rejected, told)
			require.Len(t, b.sent, 1)
			if tt.want == nil {
				require.NoError(t, err)
				require.Same(t, first, resp)
				require.True(t, bodyOf(first).isUntouched())
				return
			}
			require.ErrorIs(t, err, tt.want)
			require.Nil(t, resp)
			bodyOf(first).requireClosedOnce(t)
			if tt.unsaid != "" {
				require.NotContains(t, err.Error(), tt.unsaid)
			}
		})
	}
}

var rejected = &oauth2.Token{AccessToken: "first"}

// The caller's context reaches the Source, and what it answers reaches the caller.
func TestCancellationDuringRenewal(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the caller has left")
	first := answer(401, "first")
	s := source{t, nil, func(ctx context.Context, _ *oauth2.Token) (*oauth2.Token, error) {
		cancel(gone)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}}
	req := get(t, api).WithContext(ctx)
	resp, err := (&transport.Transport{Source: s, Base: &base{answers: []*http.Response{first}}}).RoundTrip(req)
	require.ErrorIs(t, err, gone)
	require.Nil(t, resp)
	bodyOf(first).requireClosedOnce(t)
}

// Shows R6749-5.1-2, R6749-7.1-1, R6750-2.1-1, MCP25-TOK-1.
func TestTokens(t *testing.T) {
	tests := []struct {
		name  string
		token *oauth2.Token
		want  string // empty: ErrToken
	}{
		{"no type", &oauth2.Token{AccessToken: "abc"}, "Bearer abc"},
		{"Bearer", &oauth2.Token{AccessToken: "abc", TokenType: "Bearer"}, "Bearer abc"},
		{"bearer", &oauth2.Token{AccessToken: "abc", TokenType: "bearer"}, "Bearer abc"},
		{"BEARER", &oauth2.Token{AccessToken: "abc", TokenType: "BEARER"}, "Bearer abc"},
		{"odd characters", &oauth2.Token{AccessToken: `00D!a|b:c"d~=`}, `Bearer 00D!a|b:c"d~=`},
		{"long", &oauth2.Token{AccessToken: strings.Repeat("x", 10_000)}, "Bearer " + strings.Repeat("x", 10_000)},
		{"DPoP from no Prover", &oauth2.Token{AccessToken: "s3cret", TokenType: "DPoP"}, ""},
		{"MAC", &oauth2.Token{AccessToken: "s3cret", TokenType: "mac"}, ""},
		{"N_A", &oauth2.Token{AccessToken: "s3cret", TokenType: "N_A"}, ""},
		{"type with a space", &oauth2.Token{AccessToken: "s3cret", TokenType: "Bearer "}, ""},
		{"fields swapped", &oauth2.Token{AccessToken: "Bearer", TokenType: "s3cret"}, ""},
		{"none", nil, ""},
		{"empty", &oauth2.Token{TokenType: "Bearer"}, ""},
		{"space", &oauth2.Token{AccessToken: "s3cret s3cret"}, ""},
		{"line break", &oauth2.Token{AccessToken: "s3cret\nX-Admin: 1"}, ""},
		{"NUL", &oauth2.Token{AccessToken: "s3cret\x00"}, ""},
		{"DEL", &oauth2.Token{AccessToken: "s3cret\x7f"}, ""},
		{"beyond ASCII", &oauth2.Token{AccessToken: "s3cret\u00e9"}, ""},
		{"not UTF-8", &oauth2.Token{AccessToken: "s3cret\xff"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &base{answers: []*http.Response{answer(200, "")}}
			s := source{t: t, token: func(context.Context) (*oauth2.Token, error) { return tt.token, nil }}
			_, err := (&transport.Transport{Source: s, Base: b}).RoundTrip(get(t, api))
			if tt.want == "" {
				require.ErrorIs(t, err, transport.ErrToken)
				require.NotContains(t, err.Error(), "s3cret")
				require.Empty(t, b.sent)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []string{tt.want}, b.tokens())
		})
	}
}

// Tokens are remembered by pointer: one after the other, and back again, each is sent as it is.
func TestHeaderFollowsToken(t *testing.T) {
	one, two := &oauth2.Token{AccessToken: "one"}, &oauth2.Token{AccessToken: "two"}
	order := []*oauth2.Token{one, one, two, one, two, two}
	i := -1
	s := source{t: t, token: func(context.Context) (*oauth2.Token, error) { i++; return order[i], nil }}
	b := &base{answers: []*http.Response{answer(200, "")}}
	tr := &transport.Transport{Source: s, Base: b}
	for range order {
		_, err := tr.RoundTrip(get(t, api))
		require.NoError(t, err)
	}
	require.Equal(t, []string{"Bearer one", "Bearer one", "Bearer two", "Bearer one", "Bearer two", "Bearer two"}, b.tokens())
}

// A request with a header of the caller's own is nobody else's business (RFC 6750 §2).
// Shows R6750-2-1.
func TestCallersOwnAuthorization(t *testing.T) {
	tests := map[string]http.Header{
		"value":              {"Authorization": {"Basic dTpw"}},
		"lower-case key":     {"authorization": {"Basic dTpw"}},
		"other spelling":     {"AUTHORIZATION": {"Basic dTpw"}},
		"empty value":        {"Authorization": {""}},
		"key without values": {"Authorization": nil},
	}
	for name, header := range tests {
		t.Run(name, func(t *testing.T) {
			rejecting := answer(401, "no", "Bearer")
			b := &base{answers: []*http.Response{rejecting}}
			tr := &transport.Transport{
				Source:   source{t: t, token: func(context.Context) (*oauth2.Token, error) { panic("asked") }},
				Base:     b,
				Rejected: func(*http.Response) bool { panic("asked") },
			}
			req := get(t, api)
			req.Header = header.Clone()
			resp, err := tr.RoundTrip(req)
			require.NoError(t, err)
			require.Same(t, rejecting, resp)
			require.Len(t, b.sent, 1)
			require.Same(t, req, b.sent[0].request)
			require.Equal(t, header, req.Header)
		})
	}
}

func TestRejectedRecognises(t *testing.T) {
	inBody := func(resp *http.Response) bool {
		all, _ := io.ReadAll(resp.Body)
		return strings.Contains(string(all), "token_revoked")
	}
	byStatus := func(resp *http.Response) bool { return resp.StatusCode == 403 }
	tests := []struct {
		name     string
		rejected func(*http.Response) bool
		first    *http.Response
		sends    int
	}{
		{"403", byStatus, answer(403, "{}"), 2},
		{"403 not asked for", inBody, answer(403, "{}"), 1},
		{"400 with an error inside", inBody, answer(400, `{"error":"token_revoked"}`), 2},
		{"200 with an error inside", inBody, answer(200, `{"ok":false,"error":"token_revoked"}`), 2},
		{"200", inBody, answer(200, `{"ok":true}`), 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			original := bodyOf(tt.first)
			content := make([]byte, original.content.Len())
			_, _ = original.content.ReadAt(content, 0)
			b := &base{answers: []*http.Response{tt.first, answer(200, "second")}}
			s := &rotation{}
			tr := &transport.Transport{Source: s, Base: b, Rejected: tt.rejected}
			resp, err := tr.RoundTrip(get(t, api))
			require.NoError(t, err)
			require.Len(t, b.sent, tt.sends)
			require.Len(t, s.renewals(), tt.sends-1)
			want := string(content)
			if tt.sends == 2 {
				want = "second"
			}
			require.Equal(t, want, read(t, resp))
			original.requireClosedOnce(t)
		})
	}
}

// refusals is a rotation that is told of renewed tokens that were rejected as well.
type refusals struct {
	rotation
	refused []string
}

func (r *refusals) Refused(t *oauth2.Token) { r.refused = append(r.refused, t.AccessToken) }

// A Source learns that a renewed token was rejected as well, whichever way the server says so. Shows I9.
func TestRefusedIsTold(t *testing.T) {
	forbidden := func(resp *http.Response) bool { return resp.StatusCode == 403 }
	for name, tt := range map[string]struct {
		first, second int
		want          []string
	}{
		"401 twice":        {401, 401, []string{"token-2"}},
		"403 twice":        {403, 403, []string{"token-2"}},
		"403 after a 401":  {401, 403, []string{"token-2"}},
		"200 after a 403":  {403, 200, nil},
		"404 after a 401":  {401, 404, nil},
		"200 at the first": {200, 403, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := &refusals{}
			b := &base{answers: []*http.Response{answer(tt.first, "first"), answer(tt.second, "second")}}
			tr := &transport.Transport{Source: s, Base: b, Rejected: forbidden}
			resp, err := tr.RoundTrip(get(t, api))
			require.NoError(t, err)
			require.Equal(t, tt.want, s.refused)
			if tt.first == 200 {
				require.Equal(t, "first", read(t, resp))
				return
			}
			require.Equal(t, "second", read(t, resp))
			require.Len(t, b.sent, 2)
		})
	}
}

func TestRejectedIsNotAskedAbout401(t *testing.T) {
	b := &base{answers: []*http.Response{answer(401, "", "Basic")}}
	tr := &transport.Transport{Source: source{t: t}, Base: b, Rejected: func(*http.Response) bool { panic("asked") }}
	resp, err := tr.RoundTrip(get(t, api))
	require.NoError(t, err)
	require.Equal(t, 401, resp.StatusCode)
}

func TestRejectedIsNotAskedWithoutToken(t *testing.T) {
	b := &base{answers: []*http.Response{answer(403, "")}}
	tr := &transport.Transport{Source: source{t: t}, Base: b, Origins: []string{}, Rejected: func(*http.Response) bool { panic("asked") }}
	_, err := tr.RoundTrip(get(t, api))
	require.NoError(t, err)
	require.Equal(t, []string{""}, b.tokens())
}

// What Rejected does to the body does not show.
func TestRejectedBody(t *testing.T) {
	const limit = 64 << 10
	long := strings.Repeat("0123456789abcdef", limit/8)
	looks := map[string]func(*testing.T, io.ReadCloser){
		"nothing": func(*testing.T, io.ReadCloser) {},
		"some": func(t *testing.T, b io.ReadCloser) {
			_, err := io.ReadFull(b, make([]byte, 100))
			require.NoError(t, err)
		},
		"all": func(t *testing.T, b io.ReadCloser) {
			all, err := io.ReadAll(b)
			require.NoError(t, err)
			require.Equal(t, long[:limit], string(all))
		},
		"closing": func(t *testing.T, b io.ReadCloser) {
			_, _ = b.Read(make([]byte, 1))
			require.NoError(t, b.Close())
		},
	}
	for name, look := range looks {
		t.Run(name, func(t *testing.T) {
			resp := answer(200, long)
			original := bodyOf(resp)
			tr := &transport.Transport{Source: source{t: t}, Base: &base{answers: []*http.Response{resp}},
				Rejected: func(resp *http.Response) bool { look(t, resp.Body); return false }}
			got, err := tr.RoundTrip(get(t, api))
			require.NoError(t, err)
			if name == "nothing" {
				require.Same(t, original, got.Body)
			}
			require.Equal(t, long, read(t, got))
			original.requireClosedOnce(t)
		})
	}
}

// A body that breaks off does so for the caller too, though Rejected met the error first.
func TestRejectedBodyError(t *testing.T) {
	broken := errors.New("the connection broke")
	resp := answer(200, "")
	resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), &failsOnce{broken}))
	tr := &transport.Transport{Source: source{t: t}, Base: &base{answers: []*http.Response{resp}},
		Rejected: func(resp *http.Response) bool { _, _ = io.ReadAll(resp.Body); return false }}
	got, err := tr.RoundTrip(get(t, api))
	require.NoError(t, err)
	all, err := io.ReadAll(got.Body)
	require.ErrorIs(t, err, broken)
	require.Equal(t, "half", string(all))
}

type failsOnce struct{ err error }

func (f *failsOnce) Read([]byte) (int, error) {
	err := f.err
	f.err = io.EOF
	return 0, err
}

// replays is a source that wants to know of every request that is sent again.
type replays struct {
	transport.Source
	told []int
}

func (r *replays) Replayed(status int) { r.told = append(r.told, status) }

func TestReplayedIsTold(t *testing.T) {
	b := &base{answers: []*http.Response{answer(401, ""), answer(201, ""), answer(200, "")}}
	s := &replays{Source: &rotation{}}
	rt := &transport.Transport{Source: s, Base: b}
	_, err := rt.RoundTrip(get(t, api))
	require.NoError(t, err)
	require.Equal(t, []int{401}, s.told)
	_, err = rt.RoundTrip(get(t, api))
	require.NoError(t, err)
	require.Equal(t, []int{401}, s.told, "nothing was sent again")
}
