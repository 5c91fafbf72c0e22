package authserver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
)

func answered(t *testing.T, body string) *authserver.Answer {
	t.Helper()
	answer, err := canned(200, nil, body).Token(t.Context(), endpoint, refresh("RT"), nil)
	require.NoError(t, err)
	return answer
}

// Shows R6749-5.1-5.
func TestAnswer_R6749_5_1(t *testing.T) {
	date := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	body := `{"access_token":"AT","refresh_token":"RT2","id_token":"h.p.s","token_type":"bearer","expires_in":3600,
		"refresh_in":1800,"scope":"a b","created_at":1,"null":null,"nested":{"x":[1, 2]}}`
	answer, err := canned(200, http.Header{"Date": {date.Format(http.TimeFormat)}}, body).Token(t.Context(), endpoint, refresh("RT"), nil)
	require.NoError(t, err)
	require.Equal(t, "AT", answer.AccessToken.Reveal())
	require.Equal(t, "RT2", answer.RefreshToken.Reveal())
	require.Equal(t, "h.p.s", answer.IDToken.Reveal())
	require.Equal(t, "Bearer", answer.TokenType)
	require.Equal(t, time.Hour, answer.Lifetime)
	require.Equal(t, 30*time.Minute, answer.RefreshIn)
	require.Equal(t, []string{"a", "b"}, answer.Scopes)
	require.True(t, answer.ScopesGiven)
	require.Equal(t, date, answer.Date)
	require.Equal(t, map[string]json.RawMessage{
		"created_at": json.RawMessage("1"), "null": json.RawMessage("null"), "nested": json.RawMessage(`{"x":[1, 2]}`),
	}, answer.Extra)
}

// Shows R6749-5.1-1.
func TestLeastAnswer(t *testing.T) {
	answer := answered(t, `{"access_token":"AT"}`)
	require.Equal(t, "Bearer", answer.TokenType)
	require.True(t, answer.RefreshToken.IsEmpty())
	require.True(t, answer.IDToken.IsEmpty())
	require.Zero(t, answer.Lifetime)
	require.Zero(t, answer.RefreshIn)
	require.False(t, answer.ScopesGiven)
	require.Nil(t, answer.Extra)
	require.True(t, answer.Date.IsZero())
}

// Shows R6749-5.1-2.
func TestAnswersOfManyShapes(t *testing.T) {
	for name, body := range map[string]string{
		"token_type in capitals":       `{"access_token":"AT","token_type":"BEARER"}`,
		"an empty token_type":          `{"access_token":"AT","token_type":""}`,
		"error null":                   `{"access_token":"AT","error":null}`,
		"error empty":                  `{"access_token":"AT","error":""}`,
		"error false":                  `{"access_token":"AT","error":false}`,
		"space around":                 " \r\n{\"access_token\":\"AT\"}\n",
		"a byte order mark":            "\ufeff{\"access_token\":\"AT\"}",
		"a form":                       "access_token=AT&scope=&token_type=bearer",
		"a refresh token that is null": `{"access_token":"AT","refresh_token":null}`,
		"an empty refresh token":       `{"access_token":"AT","refresh_token":""}`,
	} {
		answer := answered(t, body)
		require.Equal(t, "AT", answer.AccessToken.Reveal(), name)
		require.Equal(t, "Bearer", answer.TokenType, name)
		require.True(t, answer.RefreshToken.IsEmpty(), name)
	}
	for _, status := range []int{200, 201, 202, 203} {
		answer, err := canned(status, nil, tokens).Token(t.Context(), endpoint, refresh("RT"), nil)
		require.NoError(t, err, status)
		require.Equal(t, "AT", answer.AccessToken.Reveal())
	}
	t.Run("R6749-5.1-6", func(t *testing.T) {
		large := strings.Repeat("A", 64<<10)
		require.Equal(t, large, answered(t, `{"access_token":"`+large+`"}`).AccessToken.Reveal())
	})
	form := answered(t, "access_token=A%2BT&refresh_token=R%26T&scope=a+b&expires_in=60&x=%3C")
	require.Equal(t, "A+T", form.AccessToken.Reveal())
	require.Equal(t, "R&T", form.RefreshToken.Reveal())
	require.Equal(t, []string{"a", "b"}, form.Scopes)
	require.Equal(t, time.Minute, form.Lifetime)
	require.JSONEq(t, `"<"`, string(form.Extra["x"]))
}

func TestLifetime_R6749_5_1_7(t *testing.T) {
	const most = 10 * 365 * 24 * time.Hour
	for raw, want := range map[string]time.Duration{
		`3600`: time.Hour, `"3600"`: time.Hour, `3600.0`: time.Hour, `3.6e3`: time.Hour, `" 3600 "`: time.Hour, `"3.6e3"`: time.Hour,
		`0.5`: 500 * time.Millisecond, `1`: time.Second,
		`0`: 0, `-1`: 0, `"-1"`: 0, `null`: 0, `""`: 0, `"soon"`: 0, `"NaN"`: 0, `true`: 0, `[60]`: 0, `{}`: 0, `1e999`: 0,
		`1e12`: most, `"1e12"`: most, `"+Inf"`: most, `9223372036854775807`: most,
	} {
		require.Equal(t, want, answered(t, `{"access_token":"AT","expires_in":`+raw+`}`).Lifetime, raw)
		require.Equal(t, want, answered(t, `{"access_token":"AT","refresh_in":`+raw+`}`).RefreshIn, raw)
	}
}

func TestScope_R6749_5_1(t *testing.T) {
	for _, c := range []struct {
		raw   string
		want  []string
		given bool
	}{
		{`"a b"`, []string{"a", "b"}, true},
		{`" a  b "`, []string{"a", "b"}, true},
		{`""`, []string{}, true},
		{`["a","b c"]`, []string{"a", "b", "c"}, true},
		{`[]`, []string{}, true},
		{`null`, nil, false},
		{`7`, nil, false},
		{`[1]`, nil, false},
	} {
		answer := answered(t, `{"access_token":"AT","scope":`+c.raw+`}`)
		require.Equal(t, c.given, answer.ScopesGiven, c.raw)
		require.Equal(t, c.want, answer.Scopes, c.raw)
		require.NotContains(t, answer.Extra, "scope")
	}
}

// TestTheRefreshTokenOfAnUnusableAnswer_I1: the one that was sent is spent.
func TestTheRefreshTokenOfAnUnusableAnswer_I1(t *testing.T) {
	for body, outcome := range map[string]authserver.Outcome{
		`{"access_token":"AT","token_type":"JWT","refresh_token":"RT2","id_token":"h.p.s","scope":"a"}`: authserver.Misconfigured,
		`{"access_token":"AT","token_type":"N_A","refresh_token":"RT2","id_token":"h.p.s","scope":"a"}`: authserver.Misconfigured,
		`{"token_type":"Bearer","refresh_token":"RT2","id_token":"h.p.s","scope":"a"}`:                  authserver.MaybeProcessed,
		`{"token_type":"JWT","refresh_token":"RT2","id_token":"h.p.s","scope":"a"}`:                     authserver.MaybeProcessed,
	} {
		got, err := canned(200, nil, body).Token(t.Context(), endpoint, refresh("RT"), nil)
		requireFailure(t, err, outcome)
		require.NotNil(t, got, body)
		require.Equal(t, "RT2", got.RefreshToken.Reveal(), body)
		require.Equal(t, "h.p.s", got.IDToken.Reveal(), body)
		require.Equal(t, []string{"a"}, got.Scopes, body)
		require.True(t, got.AccessToken.IsEmpty(), body)
	}
	for _, body := range []string{`{"access_token":"AT","token_type":"JWT"}`, `{"token_type":"Bearer","refresh_token":""}`} {
		got, err := canned(200, nil, body).Token(t.Context(), endpoint, refresh("RT"), nil)
		require.Error(t, err, body)
		require.Nil(t, got, body)
	}
}

// An answer may hold secrets in members that we do not know.
func TestAnswersShowNothing_I10(t *testing.T) {
	answer := answered(t, `{"access_token":"AT-SENTINEL","refresh_token":"RT-SENTINEL","id_token":"SENTINEL","device_secret":"SENTINEL"}`)
	for _, shown := range everyWay(t, answer) {
		require.NotContains(t, shown, "SENTINEL")
	}
	for _, shown := range everyWay(t, *answer) {
		require.NotContains(t, shown, "SENTINEL")
	}
}

// everyWay formats v under every verb, handler and encoder.
func everyWay(t *testing.T, v any) []string {
	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		shown = append(shown, fmt.Sprintf(verb, v), fmt.Sprintf(verb, struct{ V any }{v}), fmt.Sprintf(verb, []any{v}))
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v, "in", struct{ V any }{v})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v, "in", struct{ V any }{v})
	encoded, err := json.Marshal(map[string]any{"v": v})
	require.NoError(t, err)
	return append(shown, log.String(), string(encoded))
}
