package transport_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/transport"
)

const (
	wantsScope = `Bearer error="insufficient_scope", scope="files.write"`
	wantsLogin = `Bearer error="insufficient_user_authentication", acr_values="gold", max_age=5`
)

// Shows R9470-3-1, R6750-3.1-2.
func TestTypedChallenges(t *testing.T) {
	one := func(header string) transport.Challenge {
		all := transport.Challenges(&http.Response{Header: http.Header{"Www-Authenticate": {header}}})
		require.Len(t, all, 1)
		return all[0]
	}
	t.Run("insufficient_scope", func(t *testing.T) {
		c := one(`Bearer error="insufficient_scope", scope="a  b:c", resource_metadata="https://api.example.com/.well-known/oauth-protected-resource"`)
		require.Equal(t, "insufficient_scope", c.Code())
		require.Equal(t, []string{"a", "b:c"}, c.Scopes())
		require.Equal(t, "https://api.example.com/.well-known/oauth-protected-resource", c.ResourceMetadata())
	})
	t.Run("insufficient_user_authentication", func(t *testing.T) {
		c := one(`DPoP error="insufficient_user_authentication", acr_values="gold silver", max_age="300", scope="pay"`)
		age, ok := c.MaxAge()
		require.True(t, ok)
		require.Equal(t, 5*time.Minute, age)
		require.Equal(t, []string{"gold", "silver"}, c.ACRValues())
		require.Equal(t, []string{"pay"}, c.Scopes())
	})
	t.Run("nothing said", func(t *testing.T) {
		c := one(`Bearer realm="x", scope="", acr_values=" ", claims=""`)
		_, ok := c.MaxAge()
		claims, err := c.Claims()
		require.False(t, ok)
		require.NoError(t, err)
		require.Nil(t, claims)
		require.Nil(t, c.Scopes())
		require.Nil(t, c.ACRValues())
		require.Empty(t, c.Code()+c.ResourceMetadata())
		require.Zero(t, transport.Challenge{}.Code(), "the zero Challenge, too, can be asked")
	})
	t.Run("what is no scope", func(t *testing.T) {
		require.Equal(t, []string{"a", "b"}, one(`Bearer scope="a \"x\" sch\\on ü b"`).Scopes())
		require.Nil(t, one(`Bearer scope="\"\""`).Scopes())
	})
}

// TestMaxAge: R9470-3-2 has numbers, and leaves what is none to be ignored.
func TestMaxAge(t *testing.T) {
	for _, row := range []struct {
		name, value string
		want        time.Duration
		ok          bool
	}{
		{"R9470-3-2 quoted", `"5"`, 5 * time.Second, true},
		{"R9470-3-2 a token", `5`, 5 * time.Second, true},
		{"at once", `0`, 0, true},
		{"a lifetime", `2147483647`, 2147483647 * time.Second, true},
		{"negative", `-1`, 0, false},
		{"a word", `x`, 0, false},
		{"a fraction", `1.5`, 0, false},
		{"a sign", `"+5"`, 0, false},
		{"beyond all bounds", `99999999999999999999`, 0, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, ok := transport.Challenges(&http.Response{Header: http.Header{"Www-Authenticate": {"Bearer max_age=" + row.value}}})[0].MaxAge()
			require.Equal(t, row.ok, ok)
			if ok {
				require.Equal(t, row.want, got)
			}
		})
	}
}

func TestClaims(t *testing.T) {
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1?>"}}}`
	for name, encoded := range map[string]string{
		"Base64":                    "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzE/PiJ9fX0=",
		"Base64 without padding":    "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzE/PiJ9fX0",
		"Base64url":                 "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzE_PiJ9fX0=",
		"Base64url without padding": "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzE_PiJ9fX0",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := asked("Bearer", "claims", encoded).Claims()
			require.NoError(t, err)
			require.Equal(t, json.RawMessage(claims), got)
		})
	}
	for name, encoded := range map[string]string{
		"not Base64": "{}", "not JSON": "eHl6", "an array": "W10=", "null": "bnVsbA==", "cut short": "eyJhY2Nlc3Nf", "two objects": "e317fQ==",
	} {
		t.Run(name, func(t *testing.T) {
			got, err := asked("Bearer", "claims", encoded).Claims()
			require.Error(t, err)
			require.Nil(t, got)
			require.NotContains(t, err.Error(), encoded)
		})
	}
}

// stepper is a Source that can be asked for more.
type stepper struct {
	transport.Source
	stepUp func(ctx context.Context, t *oauth2.Token, asked transport.Challenge) (*oauth2.Token, error)
	asked  []string // tokens and scopes
}

func (s *stepper) StepUp(ctx context.Context, t *oauth2.Token, asked transport.Challenge) (*oauth2.Token, error) {
	s.asked = append(s.asked, t.AccessToken+" "+asked.Code())
	return s.stepUp(ctx, t, asked)
}

// gives is a step-up that brings tokens named up-1, up-2 …
func gives(kind string) func(context.Context, *oauth2.Token, transport.Challenge) (*oauth2.Token, error) {
	n := 0
	return func(context.Context, *oauth2.Token, transport.Challenge) (*oauth2.Token, error) {
		n++
		return &oauth2.Token{AccessToken: "up-" + string(rune('0'+n)), TokenType: kind}, nil
	}
}

// Which answers are brought to a Source that can make step-ups, and what becomes of the request (I9).
func TestStepUps(t *testing.T) {
	for _, row := range []struct {
		name    string
		bound   bool
		answers []*http.Response
		asked   []string
		tokens  []string
		status  int
	}{
		{"403 insufficient_scope", false, []*http.Response{answer(403, "", wantsScope), answer(200, "")},
			[]string{"token-1 insufficient_scope"}, []string{"Bearer token-1", "Bearer up-1"}, 200},
		{"401 insufficient_user_authentication", false, []*http.Response{answer(401, "", wantsLogin), answer(200, "")},
			[]string{"token-1 insufficient_user_authentication"}, []string{"Bearer token-1", "Bearer up-1"}, 200},
		{"401 insufficient_claims", false, []*http.Response{answer(401, "", `Bearer error="insufficient_claims", claims="e30="`), answer(200, "")},
			[]string{"token-1 insufficient_claims"}, []string{"Bearer token-1", "Bearer up-1"}, 200},
		{"the first of several", false, []*http.Response{answer(403, "", `Basic realm="x"`, "Bearer", wantsLogin, wantsScope), answer(200, "")},
			[]string{"token-1 insufficient_user_authentication"}, []string{"Bearer token-1", "Bearer up-1"}, 200},
		{"once for a request", false, []*http.Response{answer(403, "", wantsScope), answer(403, "", wantsLogin)},
			[]string{"token-1 insufficient_scope"}, []string{"Bearer token-1", "Bearer up-1"}, 403},
		{"after a rejection", false, []*http.Response{answer(401, ""), answer(403, "", wantsScope), answer(403, "", wantsScope)},
			[]string{"token-2 insufficient_scope"}, []string{"Bearer token-1", "Bearer token-2", "Bearer up-1"}, 403},
		{"403 without a challenge", false, []*http.Response{answer(403, "")}, nil, []string{"Bearer token-1"}, 403},
		{"403 of another scheme", false, []*http.Response{answer(403, "", `Basic error="insufficient_scope"`)}, nil, []string{"Bearer token-1"}, 403},
		{"403 invalid_token", false, []*http.Response{answer(403, "", `Bearer error="invalid_token"`)}, nil, []string{"Bearer token-1"}, 403},
		{"404", false, []*http.Response{answer(404, "", wantsScope)}, nil, []string{"Bearer token-1"}, 404},
		{"200", false, []*http.Response{answer(200, "", wantsScope)}, nil, []string{"Bearer token-1"}, 200},
		{"bound", true, []*http.Response{say(403, `DPoP error="insufficient_scope"`), say(401, wantsNonce, "n"), say(403, `DPoP error="insufficient_scope"`)},
			[]string{"token-1 insufficient_scope"}, []string{"DPoP token-1", "DPoP up-1", "DPoP up-1"}, 403},
		{"three sends in all", true, []*http.Response{say(401, wantsNonce, "n"), say(401, badToken), say(403, `DPoP error="insufficient_scope"`)},
			nil, []string{"DPoP token-1", "DPoP token-1", "DPoP token-2"}, 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			kind := ""
			if row.bound {
				kind = "DPoP"
			}
			inner := &bound{rotation: &rotation{kind: kind}}
			s := &struct {
				*stepper
				transport.Prover
			}{&stepper{Source: inner, stepUp: gives(kind)}, inner}
			b := &base{answers: row.answers}
			resp, err := (&transport.Transport{Source: s, Base: b}).RoundTrip(get(t, api))
			require.NoError(t, err)
			require.Equal(t, row.status, resp.StatusCode)
			require.Equal(t, row.asked, s.asked)
			require.Equal(t, row.tokens, b.tokens())
			last := len(row.tokens) - 1
			require.True(t, bodyOf(row.answers[last]).isUntouched())
			for _, before := range row.answers[:last] {
				bodyOf(before).requireClosedOnce(t)
			}
		})
	}
}

// What a caller gets where a step-up brings nothing, and how the body of the request fares (I8).
// TestStepUpThatBringsNothing shows R6750-3.1-2.
func TestStepUpThatBringsNothing(t *testing.T) {
	const google = `{"error":{"code":403,"status":"PERMISSION_DENIED","details":[{"reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}]}}`
	for _, row := range []struct {
		name  string
		token *oauth2.Token
		err   error
	}{
		{name: "nothing"},
		{name: "the same token", token: &oauth2.Token{AccessToken: "first"}},
		{name: "an error", err: context.Canceled},
		{name: "a token that cannot be sent", token: &oauth2.Token{AccessToken: "no good"}, err: transport.ErrToken},
	} {
		t.Run(row.name, func(t *testing.T) {
			first := answer(403, google, `Bearer realm="https://accounts.google.com/", error="insufficient_scope", scope="https://www.googleapis.com/auth/drive"`)
			b := &base{answers: []*http.Response{first}}
			s := &stepper{Source: source{t: t}, stepUp: func(context.Context, *oauth2.Token, transport.Challenge) (*oauth2.Token, error) {
				if row.err == transport.ErrToken {
					return row.token, nil
				}
				return row.token, row.err
			}}
			req, body, _ := post(t, "content", true)
			resp, err := (&transport.Transport{Source: s, Base: b}).RoundTrip(req)
			require.Len(t, s.asked, 1)
			require.Len(t, b.sent, 1)
			body.requireClosedOnce(t)
			if row.err != nil {
				require.ErrorIs(t, err, row.err)
				require.Nil(t, resp)
				require.Equal(t, 1, bodyOf(first).closings())
				return
			}
			require.NoError(t, err)
			require.Same(t, first, resp)
			require.Equal(t, google, read(t, resp))
		})
	}
}

// A step-up is made for the requests to come, too: a body that cannot be had again only keeps this one from being sent again.
func TestStepUpAndBodies(t *testing.T) {
	for _, row := range []struct {
		name    string
		rewinds bool
		unread  int
		bodies  []string
		status  int
	}{
		{"can be made anew", true, 0, []string{"content", "content"}, 200},
		{"was read", false, 0, []string{"content"}, 403},
		{"was not read", false, 1, []string{"", "content"}, 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			first := answer(403, "whole", wantsScope)
			b := &base{answers: []*http.Response{first, answer(200, "")}, ignoresBody: row.unread}
			s := &stepper{Source: source{t: t}, stepUp: gives("")}
			req, body, _ := post(t, "content", row.rewinds)
			resp, err := (&transport.Transport{Source: s, Base: b}).RoundTrip(req)
			require.NoError(t, err)
			require.Equal(t, row.status, resp.StatusCode)
			require.Len(t, s.asked, 1)
			got := []string{}
			for _, sent := range b.sent {
				got = append(got, sent.body)
			}
			require.Equal(t, row.bodies, got)
			body.requireClosedOnce(t)
			if row.status == 403 {
				require.Equal(t, "whole", read(t, resp))
			}
		})
	}
}

// A Source is told of what is sent again, and Transport.Rejected is not asked about what asks for more.
func TestStepUpsAndOtherAbilities(t *testing.T) {
	inner := &replays{Source: &rotation{}}
	b := &base{answers: []*http.Response{answer(403, "", wantsScope), answer(200, "")}}
	asked := 0
	tr := &transport.Transport{Source: struct {
		*replays
		transport.StepUpper
	}{inner, &stepper{stepUp: gives("")}}, Base: b, Rejected: func(*http.Response) bool { asked++; return false }}
	resp, err := tr.RoundTrip(get(t, api))
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, []int{403}, inner.told)
	require.Equal(t, 1, asked, "about the 200 alone")
}

// Where nobody can make a step-up, an API's own words stay readable. Shows R6750-3.1-2.
func TestGoogleErrorStaysReadable(t *testing.T) {
	const said = `{"error":{"code":403,"status":"PERMISSION_DENIED"}}`
	b := &base{answers: []*http.Response{answer(403, said, `Bearer error="insufficient_scope", scope="drive"`)}}
	resp, err := (&transport.Transport{Source: &rotation{}, Base: b}).RoundTrip(get(t, api))
	require.NoError(t, err)
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, said, string(got))
	require.Equal(t, "drive", strings.Join(transport.Challenges(resp)[0].Scopes(), " "))
	require.Len(t, b.sent, 1)
}
