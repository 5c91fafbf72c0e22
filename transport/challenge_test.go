package transport_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/transport"
)

// asked makes a challenge of a scheme and of names and values in turn.
func asked(scheme string, pairs ...string) transport.Challenge {
	c := transport.Challenge{Scheme: scheme, Params: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		c.Params[pairs[i]] = pairs[i+1]
	}
	return c
}

func token68(scheme, token string, pairs ...string) transport.Challenge {
	c := asked(scheme, pairs...)
	c.Token68 = token
	return c
}

// Shows R6750-3-1, R6750-3-2, R6750-3-3, R6750-3-4, R9470-3-2, R9728-5.1-1, R9728-5.4-1.
func TestChallenges(t *testing.T) {
	type all = []transport.Challenge
	tests := []struct {
		name   string
		values []string
		want   all
	}{
		{"no header", nil, nil},
		{"empty", []string{""}, nil},
		{"only commas", []string{" , ,\t,"}, nil},
		{"scheme", []string{"Bearer"}, all{asked("Bearer")}},
		{"scheme and space", []string{" Bearer "}, all{asked("Bearer")}},
		{"two schemes", []string{"Negotiate, NTLM"}, all{asked("Negotiate"), asked("NTLM")}},
		{"two schemes, no space", []string{"Negotiate,NTLM"}, all{asked("Negotiate"), asked("NTLM")}},
		{"quoted", []string{`Bearer realm="a b", error="invalid_token"`}, all{asked("Bearer", "realm", "a b", "error", "invalid_token")}},
		{"no space after commas", []string{`Bearer error="x",error_description="y"`}, all{asked("Bearer", "error", "x", "error_description", "y")}},
		{"spaces about the equals sign", []string{`Bearer error = "x" , scope	=	y`}, all{asked("Bearer", "error", "x", "scope", "y")}},
		{"names in any case", []string{`bearer ERROR="X", Scope="y"`}, all{asked("bearer", "error", "X", "scope", "y")}},
		{"unquoted", []string{"Bearer error=invalid_token, max_age=300"}, all{asked("Bearer", "error", "invalid_token", "max_age", "300")}},
		{"empty value", []string{`Bearer realm="", error="x"`}, all{asked("Bearer", "realm", "", "error", "x")}},
		{"escapes", []string{`Bearer realm="a \"b\" \\ \c"`}, all{asked("Bearer", "realm", `a "b" \ c`)}},
		{"commas and schemes in quotes", []string{`Basic realm="a, Bearer error=\"x\"", Bearer error="y"`},
			all{asked("Basic", "realm", `a, Bearer error="x"`), asked("Bearer", "error", "y")}},
		{"several challenges", []string{`Basic realm="a, b", Bearer error="invalid_token", DPoP algs="ES256 RS256"`},
			all{asked("Basic", "realm", "a, b"), asked("Bearer", "error", "invalid_token"), asked("DPoP", "algs", "ES256 RS256")}},
		{"several headers", []string{`Basic realm="a"`, `error=x`, `Bearer error="y"`},
			all{asked("Basic", "realm", "a"), asked("", "error", "x"), asked("Bearer", "error", "y")}},
		{"empty elements", []string{`,, Bearer ,, error="x",`}, all{asked("Bearer", "error", "x")}},

		{"token68", []string{"Negotiate YII="}, all{token68("Negotiate", "YII=")}},
		{"token68 then another", []string{`Negotiate YII=, Bearer realm="x", error="invalid_token"`},
			all{token68("Negotiate", "YII="), asked("Bearer", "realm", "x", "error", "invalid_token")}},
		{"token68 of all characters", []string{"X aZ09-._~+/=="}, all{token68("X", "aZ09-._~+/==")}},
		{"token68 without padding", []string{"NTLM TlRMTVNTUAAC, Basic"}, all{token68("NTLM", "TlRMTVNTUAAC"), asked("Basic")}},
		{"token68 and parameters", []string{"X abc=, y=z"}, all{token68("X", "abc=", "y", "z")}},

		{"step-up", []string{`Bearer error="insufficient_user_authentication", acr_values="gold silver", max_age="5"`},
			all{asked("Bearer", "error", "insufficient_user_authentication", "acr_values", "gold silver", "max_age", "5")}},
		{"metadata", []string{`Bearer resource_metadata="https://api.example.com/.well-known/oauth-protected-resource?x=1,2"`},
			all{asked("Bearer", "resource_metadata", "https://api.example.com/.well-known/oauth-protected-resource?x=1,2")}},
		{"metadata unquoted", []string{`Bearer resource_metadata=https://api.example.com/a?b=c`},
			all{asked("Bearer", "resource_metadata", "https://api.example.com/a?b=c")}},
		{"claims in Base64", []string{`Bearer error="insufficient_claims", claims="eyJh=="`},
			all{asked("Bearer", "error", "insufficient_claims", "claims", "eyJh==")}},
		{"claims in Base64 unquoted", []string{"Bearer error=insufficient_claims, claims=eyJh=="},
			all{asked("Bearer", "error", "insufficient_claims", "claims", "eyJh==")}},

		{"no scheme", []string{"error=invalid_request,error_description=Access token not found in request"},
			all{asked("", "error", "invalid_request", "error_description", "Access token not found in request")}},
		{"sentence before another parameter", []string{`Bearer error_description=The token expired error="invalid_token"`},
			all{asked("Bearer", "error_description", "The token expired", "error", "invalid_token")}},
		{"no commas", []string{`Bearer realm="x" error="y" scope=z error_uri=u`},
			all{asked("Bearer", "realm", "x", "error", "y", "scope", "z", "error_uri", "u")}},
		{"repeated", []string{`Bearer error="x", ERROR="y", error=z`}, all{asked("Bearer", "error", "x")}},
		{"no end of quotes", []string{`Bearer error="x", realm="y, scope="`}, all{asked("Bearer", "error", "x", "realm", "y, scope=")}},
		{"quotes without an end", []string{`Bearer error="x", realm="y, Basic`}, all{asked("Bearer", "error", "x", "realm", "y, Basic")}},
		{"ends in a backslash", []string{`Bearer realm="y\`}, all{asked("Bearer", "realm", "y")}},
		{"no value", []string{`Bearer realm="x", error=, scope="y"`}, all{asked("Bearer", "realm", "x", "scope", "y")}},
		{"no name", []string{`Bearer error="x", ="y", scope="z"`}, all{asked("Bearer", "error", "x", "scope", "z")}},
		{"a name that looks like a scheme", []string{`Bearer ="x", scope="y"`}, all{asked("", "bearer", "x", "scope", "y")}},
		{"quoted words", []string{`OAuth "Platform" "invalid_token", Bearer`}, all{asked("OAuth"), asked("Bearer")}},
		{"garbage between", []string{`Bearer realm="x", @@@, error="y"`}, all{asked("Bearer", "realm", "x", "error", "y")}},
		{"garbage", []string{"\x00\xff<html>", "{}"}, nil},
		{"beyond ASCII", []string{`Bearer error_description="schl\"üssel"`}, all{asked("Bearer", "error_description", `schl"üssel`)}},
		{"space after quotes is missing", []string{`Bearer realm="x"error="y"`}, all{asked("Bearer", "realm", "x", "error", "y")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := transport.Challenges(&http.Response{StatusCode: 403, Header: http.Header{"Www-Authenticate": tt.values}})
			require.Equal(t, tt.want, got)
		})
	}
}

// However long the header is, only its beginning is read.
func TestLongChallenges(t *testing.T) {
	const megabyte = 1 << 20
	last := `, Bearer error="last"`
	for name, unit := range map[string]string{
		"spaces": " ", "spaces in a value": "x=y" + strings.Repeat(" ", megabyte/2), "commas": ",", "quotes": `"`, "backslashes": `\`, "equals": "=", "letters": "x", "schemes": "x,",
		"words": "x ", "parameters": "x=y,", "quoted": `x="y"`, "unquoted": "x=y ", "sentence": "x= y y  ", "garbage": "@,", "token68": "x y=,",
	} {
		t.Run(name, func(t *testing.T) {
			value := "Basic " + strings.Repeat(unit, megabyte/len(unit)) + last
			start := time.Now()
			got := transport.Challenges(&http.Response{Header: http.Header{"Www-Authenticate": {value, last[2:]}}})
			require.Less(t, time.Since(start), time.Second, "a step for every byte takes a few milliseconds")
			require.LessOrEqual(t, len(got), 64)
			require.Equal(t, "Basic", got[0].Scheme)
			for _, c := range got {
				require.NotEqual(t, "last", c.Params["error"])
			}
		})
	}
}

func TestManyChallenges(t *testing.T) {
	values := slices.Repeat([]string{"Basic", "Bearer"}, 100)
	require.Len(t, transport.Challenges(&http.Response{Header: http.Header{"Www-Authenticate": values}}), 64)
}

// seeds are header values that servers have sent, one a line; those of a file come in one response.
func seeds(t testing.TB) []string {
	files, err := filepath.Glob("testdata/challenges/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files, "no seeds")
	all := []string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NotEmpty(t, content, file)
		all = append(all, strings.TrimSuffix(string(content), "\n"))
	}
	return all
}

// What was understood, written by the book, is understood in the same way.
func FuzzChallenges(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 16<<10 {
			return // its escapes could outgrow the limit
		}
		values := strings.Split(text, "\n")
		got := transport.Challenges(&http.Response{Header: http.Header{"Www-Authenticate": values}})
		require.LessOrEqual(t, len(got), 64)
		var written []string
		for _, c := range got {
			require.NotNil(t, c.Params)
			require.True(t, c.Scheme != "" || len(c.Params) > 0, "an empty challenge")
			require.NotContains(t, strings.Join(c.Scopes(), ""), " ")
			age, _ := c.MaxAge()
			require.GreaterOrEqual(t, age, time.Duration(0))
			claims, err := c.Claims()
			require.True(t, claims == nil || err == nil && json.Valid(claims))
			written = append(written, write(c))
		}
		require.Equal(t, got, transport.Challenges(&http.Response{Header: http.Header{"Www-Authenticate": written}}))
	})
}

func write(c transport.Challenge) string {
	var parts []string
	if c.Token68 != "" {
		parts = append(parts, "")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Params)) {
		value := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(c.Params[name])
		parts = append(parts, fmt.Sprintf(`%s="%s"`, name, value))
	}
	return strings.TrimSpace(c.Scheme + " " + c.Token68 + strings.Join(parts, ", "))
}

// The seeds are real challenges: each is understood as something.
func TestSeeds(t *testing.T) {
	for _, seed := range seeds(t) {
		require.NotEmpty(t, transport.Challenges(&http.Response{Header: http.Header{"Www-Authenticate": strings.Split(seed, "\n")}}), seed)
	}
}
