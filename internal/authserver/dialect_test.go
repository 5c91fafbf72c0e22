package authserver_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/secret"
)

// speaking is canned with a dialect.
func speaking(d authserver.Dialect, status int, body string) *authserver.Client {
	c := canned(status, http.Header{"Date": {"Mon, 23 Nov 2026 10:00:00 GMT"}}, body)
	c.Dialect = d
	return c
}

func TestDialectOfAnswers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		dialect authserver.Dialect
		body    string
		want    authserver.Answer
		extra   []string // names; nil: there must be none
	}{
		{
			name:    "camel case",
			dialect: authserver.Dialect{Members: map[string]string{"access_token": "accessToken", "refresh_token": "refreshToken", "expires_in": "expireIn"}},
			body:    `{"accessToken":"AT","refreshToken":"RT2","expireIn":60}`,
			want:    authserver.Answer{AccessToken: secret.New("AT"), RefreshToken: secret.New("RT2"), Lifetime: time.Minute},
		}, {
			name:    "an envelope, which goes",
			dialect: authserver.Dialect{Unwrap: []string{"data"}, SuccessPath: "code", SuccessText: "0", Members: map[string]string{"error": "code"}},
			body:    `{"code":0,"message":"OK","data":{"access_token":"AT","refresh_token":"RT2","open_id":"x"}}`,
			want:    authserver.Answer{AccessToken: secret.New("AT"), RefreshToken: secret.New("RT2")},
			extra:   []string{"message", "open_id"},
		}, {
			name:    "an envelope in another case",
			dialect: authserver.Dialect{Unwrap: []string{"data"}, Members: map[string]string{"access_token": "accessToken"}},
			body:    `{"data":{"accessToken":"AT"}}`,
			want:    authserver.Answer{AccessToken: secret.New("AT")},
		}, {
			name:    "the first object that has a token",
			dialect: authserver.Dialect{Unwrap: []string{"", "authed_user"}, BearerTypes: []string{"bot", "user"}},
			body:    `{"ok":true,"authed_user":{"id":"U1","access_token":"AT","token_type":"user","scope":"a"}}`,
			want:    authserver.Answer{AccessToken: secret.New("AT"), Scopes: []string{"a"}, ScopesGiven: true},
			extra:   []string{"ok", "id"},
		}, {
			name:    "the answer itself before an object in it",
			dialect: authserver.Dialect{Unwrap: []string{"", "authed_user"}, BearerTypes: []string{"bot", "user"}},
			body:    `{"access_token":"AT","token_type":"bot","authed_user":{"access_token":"other"}}`,
			want:    authserver.Answer{AccessToken: secret.New("AT")},
			extra:   []string{"authed_user"},
		}, {
			name:    "the access token renews itself",
			dialect: authserver.Dialect{Members: map[string]string{"refresh_token": "access_token"}},
			body:    `{"access_token":"AT","expires_in":60}`,
			want:    authserver.Answer{AccessToken: secret.New("AT"), RefreshToken: secret.New("AT"), Lifetime: time.Minute},
		}, {
			name:    "a token in depth, which is taken out of it",
			dialect: authserver.Dialect{Members: map[string]string{"refresh_token": "more.secret.rt"}},
			body:    `{"access_token":"AT","more":{"secret":{"rt":"RT2"}}}`,
			want:    authserver.Answer{AccessToken: secret.New("AT"), RefreshToken: secret.New("RT2")},
			extra:   []string{"more"},
		}, {
			name:    "scopes with commas",
			dialect: authserver.Dialect{ScopeSeparator: ","},
			body:    `{"access_token":"AT","scope":"a,b, c"}`,
			want:    authserver.Answer{AccessToken: secret.New("AT"), Scopes: []string{"a", "b", "c"}, ScopesGiven: true},
		}, {
			name:    "no scopes with commas",
			dialect: authserver.Dialect{ScopeSeparator: ","},
			body:    `{"access_token":"AT"}`,
			want:    authserver.Answer{AccessToken: secret.New("AT")},
		}, {
			name: "a comma is a part of a scope elsewhere",
			body: `{"access_token":"AT","scope":"a,b"}`,
			want: authserver.Answer{AccessToken: secret.New("AT"), Scopes: []string{"a,b"}, ScopesGiven: true},
		}, {
			name:    "milliseconds",
			dialect: authserver.Dialect{LifetimeUnit: authserver.UnitMilliseconds},
			body:    `{"access_token":"AT","expires_in":5184000000}`,
			want:    authserver.Answer{AccessToken: secret.New("AT"), Lifetime: 60 * 24 * time.Hour},
		}, {
			name:    "when it ends, by the server's clock",
			dialect: authserver.Dialect{LifetimeUnit: authserver.UnitUnixTime, Members: map[string]string{"expires_in": "expires_at"}},
			body:    `{"access_token":"AT","expires_at":"1795431600"}`, // 11:00
			want:    authserver.Answer{AccessToken: secret.New("AT"), Lifetime: time.Hour},
		}, {
			name:    "when it ends, as people write it",
			dialect: authserver.Dialect{LifetimeUnit: authserver.UnitISOTime, Members: map[string]string{"expires_in": "expires_at"}},
			body:    `{"access_token":"AT","expires_at":"2026-11-23T12:00:00+01:00"}`,
			want:    authserver.Answer{AccessToken: secret.New("AT"), Lifetime: time.Hour},
		}, {
			name:    "one that is over does not last for ever",
			dialect: authserver.Dialect{LifetimeUnit: authserver.UnitISOTime},
			body:    `{"access_token":"AT","expires_in":"2026-11-23T09:00:00Z"}`,
			want:    authserver.Answer{AccessToken: secret.New("AT"), Lifetime: time.Millisecond},
		}, {
			name:    "no time at all",
			dialect: authserver.Dialect{LifetimeUnit: authserver.UnitISOTime},
			body:    `{"access_token":"AT","expires_in":"soon"}`,
			want:    authserver.Answer{AccessToken: secret.New("AT")},
		}, {
			name:    "unannounced",
			dialect: authserver.Dialect{DefaultLifetime: time.Hour},
			body:    `{"access_token":"AT"}`,
			want:    authserver.Answer{AccessToken: secret.New("AT"), Lifetime: time.Hour},
		}, {
			name:    "announced all the same",
			dialect: authserver.Dialect{DefaultLifetime: time.Hour},
			body:    `{"access_token":"AT","expires_in":60}`,
			want:    authserver.Answer{AccessToken: secret.New("AT"), Lifetime: time.Minute},
		}, {
			name:    "a success with a status",
			dialect: authserver.Dialect{SuccessPath: "ok", SuccessText: "true"},
			body:    `{"ok":true,"error":"warning_only","access_token":"AT"}`,
			want:    authserver.Answer{AccessToken: secret.New("AT")},
			extra:   []string{"ok"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := speaking(tt.dialect, 200, tt.body).Token(t.Context(), endpoint, refresh("RT"), nil)
			require.NoError(t, err)
			var names []string
			for name, value := range got.Extra {
				names = append(names, name)
				require.NotContains(t, string(value), "RT2")
			}
			require.ElementsMatch(t, tt.extra, names)
			require.Equal(t, "Bearer", got.TokenType)
			require.Equal(t, tt.want.AccessToken.Reveal(), got.AccessToken.Reveal())
			require.Equal(t, tt.want.RefreshToken.Reveal(), got.RefreshToken.Reveal())
			require.Equal(t, tt.want.Lifetime, got.Lifetime)
			require.Equal(t, tt.want.Scopes, got.Scopes)
			require.Equal(t, tt.want.ScopesGiven, got.ScopesGiven)
		})
	}
}

// The lifetime of a code for a person is not that of a token.
func TestDialectLeavesDeviceAnswersAlone(t *testing.T) {
	for body, want := range map[string]time.Duration{
		`{"device_code":"D","user_code":"U","verification_uri":"https://as.example/d"}`:                 30 * time.Minute,
		`{"device_code":"D","user_code":"U","verification_uri":"https://as.example/d","expires_in":60}`: time.Minute,
	} {
		d := authserver.Dialect{DefaultLifetime: 24 * time.Hour, LifetimeUnit: authserver.UnitMilliseconds}
		device, err := speaking(d, 200, body).AuthorizeDevice(t.Context(), endpoint, nil)
		require.NoError(t, err)
		require.Equal(t, want, device.Lifetime)
	}
}

func TestDialectOfRefusals(t *testing.T) {
	code := url.Values{"grant_type": {"authorization_code"}, "code": {"C"}}
	for _, tt := range []struct {
		name        string
		dialect     authserver.Dialect
		status      int
		form        url.Values
		body        string
		outcome     authserver.Outcome
		code        string
		description string
	}{
		{
			name: "a code of its own", status: 200, outcome: authserver.InvalidGrant, code: "invalid_grant",
			dialect:     authserver.Dialect{Errors: map[string]string{"bad_refresh_token": "invalid_grant"}},
			body:        `{"error":"bad_refresh_token","error_description":"it is gone"}`,
			description: "bad_refresh_token: it is gone",
		}, {
			name: "for refreshes only", status: 400, outcome: authserver.InvalidGrant, code: "invalid_grant",
			dialect:     authserver.Dialect{Errors: map[string]string{"invalid_request@refresh": "invalid_grant"}},
			body:        `{"error":"invalid_request"}`,
			description: "invalid_request",
		}, {
			name: "and not for codes", status: 400, form: code, outcome: authserver.Doubtful, code: "invalid_request",
			dialect: authserver.Dialect{Errors: map[string]string{"invalid_request@refresh": "invalid_grant"}},
			body:    `{"error":"invalid_request"}`,
		}, {
			name: "one for refreshes goes first", status: 403, outcome: authserver.InvalidGrant, code: "invalid_grant",
			dialect:     authserver.Dialect{Errors: map[string]string{"no": "invalid_client", "no@refresh": "invalid_grant"}},
			body:        `{"error":"no"}`,
			description: "no",
		}, {
			name: "a refresh of another name", status: 400, outcome: authserver.InvalidGrant, code: "invalid_grant",
			form:        url.Values{"grant_type": {"fb_exchange_token"}},
			dialect:     authserver.Dialect{RefreshGrant: "fb_exchange_token", Errors: map[string]string{"190@refresh": "invalid_grant"}, Members: map[string]string{"error": "error.code", "error_description": "error.message"}},
			body:        `{"error":{"message":"has expired","type":"OAuthException","code":190}}`,
			description: "190: has expired",
		}, {
			name: "an error in a status", status: 400, outcome: authserver.InvalidGrant, code: "invalid_grant",
			dialect:     authserver.Dialect{Members: map[string]string{"error": "status"}, Errors: map[string]string{"BAD_REFRESH_TOKEN": "invalid_grant"}},
			body:        `{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}`,
			description: "BAD_REFRESH_TOKEN",
		}, {
			name: "a code of the RFC beside it stands", status: 400, outcome: authserver.InvalidGrant, code: "invalid_grant",
			dialect: authserver.Dialect{Members: map[string]string{"error": "status"}},
			body:    `{"status":"error","error":"invalid_grant"}`,
		}, {
			name: "a reason phrase in the error's place", status: 400, outcome: authserver.InvalidGrant, code: "invalid_grant",
			dialect:     authserver.Dialect{Members: map[string]string{"error": "message"}, Errors: map[string]string{"Invalid refresh token": "invalid_grant"}},
			body:        `{"error":"Bad Request","status":400,"message":"Invalid refresh token"}`,
			description: "Invalid refresh token",
		}, {
			name: "not ok", status: 200, outcome: authserver.Doubtful, code: "unsuccessful",
			dialect: authserver.Dialect{SuccessPath: "ok", SuccessText: "true"},
			body:    `{"ok":false,"access_token":"AT"}`,
		}, {
			name: "not ok, and why", status: 200, outcome: authserver.InvalidGrant, code: "invalid_grant",
			dialect:     authserver.Dialect{SuccessPath: "ok", SuccessText: "true", Errors: map[string]string{"invalid_refresh_token": "invalid_grant"}},
			body:        `{"ok":false,"error":"invalid_refresh_token"}`,
			description: "invalid_refresh_token",
		}, {
			name: "a number that is not zero", status: 200, outcome: authserver.InvalidGrant, code: "invalid_grant",
			dialect:     authserver.Dialect{SuccessPath: "code", SuccessText: "0", Members: map[string]string{"error": "code", "error_description": "message"}, Errors: map[string]string{"40105": "invalid_grant"}},
			body:        `{"code":40105,"message":"gone","data":{}}`,
			description: "40105: gone",
		}, {
			name: "a page of a proxy has no members", status: 200, outcome: authserver.MaybeProcessed,
			dialect: authserver.Dialect{SuccessPath: "ok", SuccessText: "true", DefaultLifetime: time.Hour, Unwrap: []string{"data"}},
			body:    `<html>ok</html>`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			form := tt.form
			if form == nil {
				form = refresh("RT")
			}
			_, err := speaking(tt.dialect, tt.status, tt.body).Token(t.Context(), endpoint, form, nil)
			f := requireFailure(t, err, tt.outcome)
			require.Equal(t, tt.code, f.Code)
			require.Equal(t, tt.description, f.Description)
		})
	}
}

// heard is a client with a dialect whose requests are kept, with their bodies.
func heard(d authserver.Dialect, method authserver.Method, answer string) (c *authserver.Client, said func() (http.Header, string)) {
	var header http.Header
	var body []byte
	hear := func(req *http.Request) (*http.Response, error) {
		header = req.Header
		if req.Body != nil {
			var err error
			if body, err = io.ReadAll(req.Body); err != nil {
				return nil, err
			}
		}
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer)), Request: req}, nil
	}
	return &authserver.Client{
		HTTP: authserver.NewHTTPClient(&http.Client{Transport: tripper(hear)}),
		ID:   "app+1", Secret: secret.New("s/1"), Method: method, Dialect: d,
	}, func() (http.Header, string) { return header, string(body) }
}

func TestDialectOfRequests(t *testing.T) {
	const good = `{"access_token":"AT"}`
	t.Run("raw Basic", func(t *testing.T) {
		c, said := heard(authserver.Dialect{RawBasic: true}, authserver.MethodBasic, good)
		_, err := c.Token(t.Context(), endpoint, refresh("RT"), nil)
		require.NoError(t, err)
		header, _ := said()
		req := http.Request{Header: header}
		id, password, _ := req.BasicAuth()
		require.Equal(t, []string{"app+1", "s/1"}, []string{id, password})
	})
	t.Run("a JSON body", func(t *testing.T) {
		c, said := heard(authserver.Dialect{JSON: true, IDParam: "client_key", Header: map[string]string{"Notion-Version": "1", "accept": "text/plain"}}, authserver.MethodPost, good)
		form := refresh("RT")
		form["resource"] = []string{"https://a.example", "https://b.example"}
		_, err := c.Token(t.Context(), endpoint, form, nil)
		require.NoError(t, err)
		header, body := said()
		require.Equal(t, "application/json", header.Get("Content-Type"))
		require.Equal(t, []string{"text/plain"}, header["Accept"])
		require.Equal(t, "1", header.Get("Notion-Version"))
		require.JSONEq(t, `{"grant_type":"refresh_token","refresh_token":"RT","resource":["https://a.example","https://b.example"],
			"client_key":"app+1","client_secret":"s/1"}`, body)
	})
	t.Run("a field cannot take the client's credentials away", func(t *testing.T) {
		c, said := heard(authserver.Dialect{Header: map[string]string{"authorization": "none"}}, authserver.MethodBasic, good)
		_, err := c.Token(t.Context(), endpoint, refresh("RT"), nil)
		require.NoError(t, err)
		header, _ := said()
		require.True(t, strings.HasPrefix(header.Get("Authorization"), "Basic "))
	})
	t.Run("a token that is revoked by itself", func(t *testing.T) {
		c, said := heard(authserver.Dialect{RevokeByBearer: true}, authserver.MethodBasic, `{"ok":false}`)
		require.NoError(t, c.Revoke(t.Context(), endpoint, secret.New("AT"), "access_token"))
		header, body := said()
		require.Equal(t, "Bearer AT", header.Get("Authorization"))
		require.Empty(t, header.Get("Content-Type"))
		require.Empty(t, body)
	})
	t.Run("and its refusal", func(t *testing.T) {
		c, _ := heard(authserver.Dialect{RevokeByBearer: true, SuccessPath: "ok", SuccessText: "true"}, authserver.MethodBasic, `{"ok":false,"error":"no AT"}`)
		err := c.Revoke(t.Context(), endpoint, secret.New("AT"), "access_token")
		f := requireFailure(t, err, authserver.Doubtful)
		require.Equal(t, "no [redacted]", f.Code)
	})
}

// Whatever is where a profile looks, what comes of it is an answer that can be used or a failure.
func FuzzPaths(f *testing.F) {
	units := []string{"", authserver.UnitMilliseconds, authserver.UnitUnixTime, authserver.UnitISOTime}
	for _, folder := range []string{"dialect"} {
		for _, body := range bodies(f, folder) {
			for i, path := range []string{"", "data", "authed_user.access_token", "error.code", "0.x", "a..b", "."} {
				f.Add(200+200*(i%2), i, path, body)
			}
		}
	}
	f.Fuzz(func(t *testing.T, status, unit int, path, body string) {
		d := authserver.Dialect{
			Unwrap:      []string{"", path, "authed_user", "data"},
			Members:     map[string]string{"access_token": path, "refresh_token": "access_token", "error": "error.code", "scope": path, "expires_in": "expires_at"},
			SuccessPath: path, SuccessText: "true", ScopeSeparator: ",", BearerTypes: []string{"bot", path},
			Errors:       map[string]string{"190": "invalid_grant", path + "@refresh": "invalid_grant"},
			LifetimeUnit: units[uint(unit)%4], DefaultLifetime: time.Hour,
		}
		answer, err := speaking(d, status, body).Token(t.Context(), endpoint, refresh("RT-SENTINEL"), nil)
		if err != nil {
			requireSober(t, err)
			return
		}
		requireSane(t, answer)
	})
}

func TestAtFindsItsWay(t *testing.T) {
	document := json.RawMessage(`{"a":{"b":[{"c":"x"},7]},"t":true,"n":null}`)
	for path, want := range map[string]string{
		"a.b.0.c": "x", "a.b.1": "7", "t": "true",
		"a": "", "a.b": "", "n": "", "a.b.2": "", "a.b.-1": "", "a.c.d": "", "": "", "t.x": "", "a.b.c": "",
	} {
		require.Equal(t, want, authserver.Scalar(authserver.At(document, path)), path)
	}
}
