package authserver_test

import (
	"io"
	"log"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
)

var quiet = log.New(io.Discard, "", 0)

// TestOutcomes holds the rows of the failure table in which there is an answer.
// Shows R6749-3.2-4, R6749-5.1-1, R6749-7.1-1.
func TestOutcomes(t *testing.T) {
	const page = "<!DOCTYPE html><html><body>error=invalid_grant</body></html>"
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   authserver.Outcome
		code   string
	}{
		{"too many requests", 429, `{"message":"Too many requests."}`, authserver.NotProcessed, ""},
		{"too many requests, as an error", 429, `{"error":"slow_down"}`, authserver.NotProcessed, "slow_down"},
		{"unavailable", 503, page, authserver.NotProcessed, ""},
		{"unavailable for now", 400, `{"error":"temporarily_unavailable"}`, authserver.NotProcessed, "temporarily_unavailable"},
		{"unavailable for now, 500", 500, `{"error":"temporarily_unavailable"}`, authserver.NotProcessed, "temporarily_unavailable"},

		{"server error", 500, `{"error":"server_error","error_description":"Unable to serialize access"}`, authserver.MaybeProcessed, "server_error"},
		{"server error under 400", 400, `{"error":"server_error"}`, authserver.MaybeProcessed, "server_error"},
		{"a page under 500", 500, page, authserver.MaybeProcessed, ""},
		{"invalid_grant under 500", 500, `{"error":"invalid_grant"}`, authserver.MaybeProcessed, "invalid_grant"},
		{"bad gateway", 502, "", authserver.MaybeProcessed, ""},
		{"gateway timeout", 504, page, authserver.MaybeProcessed, ""},
		{"a page under 200", 200, page, authserver.MaybeProcessed, ""},
		{"another protocol", 101, "", authserver.MaybeProcessed, ""},
		{"nothing under 200", 200, "", authserver.MaybeProcessed, ""},
		{"garbage under 200", 200, "\x00\x01\x02", authserver.MaybeProcessed, ""},
		{"an array under 200", 200, `[{"access_token":"AT"}]`, authserver.MaybeProcessed, ""},
		{"half of JSON under 200", 200, `{"access_token":"AT"`, authserver.MaybeProcessed, ""},
		{"more than JSON under 200", 200, tokens + "x", authserver.MaybeProcessed, ""},
		{"no access_token", 200, `{"token_type":"Bearer"}`, authserver.MaybeProcessed, ""},
		{"an access_token that is a number", 200, `{"access_token":1}`, authserver.MaybeProcessed, ""},
		{"an access_token before a space", 200, `{"access_token":"AT "}`, authserver.MaybeProcessed, ""},
		{"an access_token behind a space", 200, `{"access_token":" AT"}`, authserver.MaybeProcessed, ""},
		{"two access_tokens", 200, `{"access_token":"A","access_token":"B"}`, authserver.MaybeProcessed, ""},
		{"two access_tokens, one escaped", 200, `{"access_token":"A","access\u005ftoken":"B"}`, authserver.MaybeProcessed, ""},
		{"two access_tokens in a form", 200, "access_token=a&access_token=a", authserver.MaybeProcessed, ""},
		{"over 1 MiB", 200, `{"access_token":"` + strings.Repeat("A", 1<<20) + `"}`, authserver.MaybeProcessed, ""},
		{"a form over 1 MiB, behind spaces", 200, strings.Repeat(" ", 1000) + "access_token=" + strings.Repeat("A", 1<<20), authserver.MaybeProcessed, ""},

		{"invalid_grant", 400, `{"error":"invalid_grant"}`, authserver.InvalidGrant, "invalid_grant"},
		{"invalid_grant under 401", 401, `{"error":"invalid_grant"}`, authserver.InvalidGrant, "invalid_grant"},
		{"invalid_grant under 403", 403, `{"error":"invalid_grant"}`, authserver.InvalidGrant, "invalid_grant"},
		{"invalid_grant under 200", 200, `{"error":"invalid_grant"}`, authserver.InvalidGrant, "invalid_grant"},
		{"invalid_grant in a form", 200, "error=invalid_grant&error_description=gone", authserver.InvalidGrant, "invalid_grant"},
		{"invalid_grant behind a byte order mark", 400, "\ufeff{\"error\":\"invalid_grant\"}", authserver.InvalidGrant, "invalid_grant"},
		{"invalid_grant beside tokens", 200, `{"error":"invalid_grant","access_token":"AT"}`, authserver.InvalidGrant, "invalid_grant"},

		{"Dex", 400, `{"error":"invalid_request","error_description":"Refresh token is invalid or has already been claimed by another client."}`, authserver.Doubtful, "invalid_request"},
		{"better-auth", 401, `{"error":"invalid_request"}`, authserver.Doubtful, "invalid_request"},
		{"glewlwyd: nothing at all", 400, "", authserver.Doubtful, ""},
		{"glewlwyd: space only", 400, " \r\n", authserver.Doubtful, ""},
		{"a code of the server's own", 400, `{"error":"scope_invalid"}`, authserver.Doubtful, "scope_invalid"},
		{"an error that is an object", 400, `{"error":{"message":"expired","code":190}}`, authserver.Doubtful, ""},
		{"an error under 200", 200, `{"error":"bad_refresh_token"}`, authserver.Doubtful, "bad_refresh_token"},
		{"pending", 400, `{"error":"authorization_pending"}`, authserver.Doubtful, "authorization_pending"},
		{"pending, Google", 428, `{"error":"authorization_pending"}`, authserver.Doubtful, "authorization_pending"},
		{"pending, GitHub", 200, `error=authorization_pending`, authserver.Doubtful, "authorization_pending"},
		{"slow_down", 403, `{"error":"slow_down"}`, authserver.Doubtful, "slow_down"},
		{"expired_token", 400, `{"error":"expired_token"}`, authserver.Doubtful, "expired_token"},
		{"access_denied", 400, `{"error":"access_denied"}`, authserver.Doubtful, "access_denied"},

		{"a firewall", 403, page, authserver.Unrelated, ""},
		{"a gateway's JSON", 403, `{"error":"access_denied"}`, authserver.Unrelated, "access_denied"},
		{"a gateway's JSON without error", 401, `{"message":"Unauthorized"}`, authserver.Unrelated, ""},
		{"a page under 400", 400, page, authserver.Unrelated, ""},
		{"JSON without error under 400", 400, `{"message":"no"}`, authserver.Unrelated, ""},
		{"an empty 401", 401, "", authserver.Unrelated, ""},
		{"an empty 403", 403, "", authserver.Unrelated, ""},
		{"a proxy", 407, page, authserver.Unrelated, ""},
		{"a timeout", 408, "", authserver.Unrelated, ""},
		{"teapot", 418, "", authserver.Unrelated, ""},

		{"invalid_client", 401, `{"error":"invalid_client"}`, authserver.Misconfigured, "invalid_client"},
		{"invalid_client under 400", 400, `{"error":"invalid_client"}`, authserver.Misconfigured, "invalid_client"},
		{"invalid_client under 200", 200, `{"error":"invalid_client"}`, authserver.Misconfigured, "invalid_client"},
		{"unauthorized_client", 403, `{"error":"unauthorized_client"}`, authserver.Misconfigured, "unauthorized_client"},
		{"invalid_scope", 400, `{"error":"invalid_scope","scope":"x"}`, authserver.Misconfigured, "invalid_scope"},
		{"invalid_target", 400, `{"error":"invalid_target"}`, authserver.Misconfigured, "invalid_target"},
		{"invalid_resource", 400, `{"error":"invalid_resource"}`, authserver.Misconfigured, "invalid_resource"},
		{"unsupported_grant_type", 400, `{"error":"unsupported_grant_type"}`, authserver.Misconfigured, "unsupported_grant_type"},
		{"not found", 404, page, authserver.Misconfigured, ""},
		{"not found, as JSON", 404, `{"error":"Not Found"}`, authserver.Misconfigured, "Not Found"},
		{"not allowed", 405, "", authserver.Misconfigured, ""},
		{"gone", 410, "", authserver.Misconfigured, ""},
		{"a redirect", 302, page, authserver.Misconfigured, ""},
		{"a token of another type", 200, `{"access_token":"AT","token_type":"DPoP"}`, authserver.Misconfigured, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			date := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
			header := http.Header{"Date": {date.Format(http.TimeFormat)}, "Retry-After": {"7"}}
			answer, err := canned(c.status, header, c.body).Token(t.Context(), endpoint, refresh("RT"), nil)
			require.Nil(t, answer)
			f := requireFailure(t, err, c.want)
			require.Equal(t, c.code, f.Code)
			require.Equal(t, c.status, f.Status)
			require.Equal(t, date, f.Date)
			require.Equal(t, 7*time.Second, f.RetryAfter)
		})
	}
}

func TestFailuresSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		status     int
		body, want string
	}{
		{401, `{"error":"invalid_client","error_description":"no such client"}`, "AuthMethod"},
		{401, `{"error":"invalid_client","error_description":"no such client"}`, "no such client"},
		{400, `{"error":"unauthorized_client"}`, "allow this grant"},
		{400, `{"error":"unsupported_grant_type"}`, "allow this grant"},
		{400, `{"error":"invalid_scope"}`, "Scopes"},
		{400, `{"error":"invalid_target"}`, "Resource"},
		{400, `{"error":"invalid_resource"}`, "Resource"},
		{404, "", "endpoint's address"},
		{308, "", "final address"},
		{200, `{"access_token":"AT","token_type":"mac"}`, `"mac"`},
		{407, "", "proxy"},
	} {
		_, err := canned(c.status, nil, c.body).Token(t.Context(), endpoint, refresh("RT"), nil)
		require.ErrorContains(t, err, c.want)
	}
}

// Shows R6749-5.2-3, R6749-10.14-1, O21-7.12-1.
func TestWordsOfTheServerAreMadeHarmless_R6749_5_2(t *testing.T) {
	body := `{"error":"bad\u001b[31mcode","error_description":"line\r\nnext\u202e` + strings.Repeat("é", 1000) + `","error_uri":"https://as.example/\u0007"}`
	_, err := canned(400, nil, body).Token(t.Context(), endpoint, refresh("RT"), nil)
	f := requireFailure(t, err, authserver.Doubtful)
	require.Equal(t, "bad [31mcode", f.Code)
	require.Equal(t, "https://as.example/", f.URI)
	require.True(t, strings.HasPrefix(f.Description, "line  next "), f.Description)
	require.Len(t, []rune(f.Description), 200)
	for _, bad := range []string{"\n", "\r", "\x1b", "\u202e"} {
		require.NotContains(t, err.Error(), bad)
	}
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().UTC()
		at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
		for _, c := range []struct {
			name   string
			header http.Header
			want   time.Duration
		}{
			{"none", http.Header{}, 0},
			{"seconds", http.Header{"Retry-After": {"120"}}, 2 * time.Minute},
			{"seconds with spaces", http.Header{"Retry-After": {" 3 "}}, 3 * time.Second},
			{"by another name", http.Header{"X-Retry-After": {"60"}}, time.Minute},
			{"negative", http.Header{"Retry-After": {"-5"}}, 0},
			{"words", http.Header{"Retry-After": {"soon"}}, 0},
			{"bounded", http.Header{"Retry-After": {"999999"}}, 24 * time.Hour},
			{"would overflow", http.Header{"Retry-After": {"9223372036854775807"}}, 24 * time.Hour},
			{"a date, by our clock", http.Header{"Retry-After": {at(90 * time.Second)}}, 90 * time.Second},
			{"a date, by the server's clock", http.Header{"Retry-After": {at(time.Hour)}, "Date": {at(time.Hour - 30*time.Second)}}, 30 * time.Second},
			{"a date gone by", http.Header{"Retry-After": {at(-time.Hour)}}, 0},
			{"a date far off", http.Header{"Retry-After": {at(1000 * time.Hour)}}, 24 * time.Hour},
		} {
			_, err := canned(503, c.header, "").Token(t.Context(), endpoint, refresh("RT"), nil)
			require.Equal(t, c.want, requireFailure(t, err, authserver.NotProcessed).RetryAfter, c.name)
		}
		time.Sleep(30 * time.Second)
		_, err := canned(503, http.Header{"Retry-After": {at(90 * time.Second)}}, "").Token(t.Context(), endpoint, refresh("RT"), nil)
		require.Equal(t, time.Minute, requireFailure(t, err, authserver.NotProcessed).RetryAfter, "half a minute later")
	})
}
