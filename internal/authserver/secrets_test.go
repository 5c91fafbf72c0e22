package authserver_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/secret"
)

// sentinel is in every secret that these tests send.
const sentinel = "SENTINEL"

// secretOf has what every encoding treats in its own way.
func secretOf(kind string) string { return kind + " +/=%&ÿ?>~ÿ?>~ÿ-" + sentinel }

// echoes is everything that a server or a transport knows of a request, in many shapes.
func echoes(req *http.Request) []string {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil
	}
	form, _ := url.ParseQuery(string(body))
	words := []string{string(body), req.Header.Get("Authorization"), strings.TrimRight(req.Header.Get("Authorization"), "=")}
	if pair, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(req.Header.Get("Authorization"), "Basic ")); err == nil {
		words = append(words, string(pair))
		id, password, _ := strings.Cut(string(pair), ":")
		password, _ = url.QueryUnescape(password)
		words = append(words, id, password)
	}
	for _, values := range form {
		for _, v := range values {
			words = append(words, v, url.QueryEscape(v), url.PathEscape(v),
				base64.StdEncoding.EncodeToString([]byte(v)), base64.URLEncoding.EncodeToString([]byte(v)),
				base64.RawStdEncoding.EncodeToString([]byte(v)), base64.RawURLEncoding.EncodeToString([]byte(v)))
			if text, err := json.Marshal(v); err == nil {
				words = append(words, string(text))
			}
		}
	}
	return words
}

// leak is an error whose text, type and fields show all.
type leak struct{ Text string }

func (l leak) Error() string { return l.Text }

// TestSecretsAreNeverShown_I10 has servers and transports say back all that they were sent.
func TestSecretsAreNeverShown_I10(t *testing.T) {
	object := func(members map[string]string) string {
		data, err := json.Marshal(members)
		require.NoError(t, err)
		return string(data)
	}
	respond := func(status int, header http.Header, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
	for name, answer := range map[string]func(said string) (*http.Response, error){
		"error_description": func(said string) (*http.Response, error) {
			return respond(400, nil, object(map[string]string{"error": "invalid_grant", "error_description": said}))
		},
		"error": func(said string) (*http.Response, error) {
			return respond(400, nil, object(map[string]string{"error": said}))
		},
		"error_uri": func(said string) (*http.Response, error) {
			return respond(401, nil, object(map[string]string{"error": "invalid_client", "error_uri": said}))
		},
		"a form": func(said string) (*http.Response, error) {
			return respond(200, nil, url.Values{"error": {"x"}, "error_description": {said}}.Encode())
		},
		"token_type": func(said string) (*http.Response, error) {
			return respond(200, nil, object(map[string]string{"access_token": "AT", "token_type": said}))
		},
		"a page under 200": func(said string) (*http.Response, error) { return respond(200, nil, "<html>"+said) },
		"a page under 403": func(said string) (*http.Response, error) { return respond(403, nil, "<html>"+said) },
		"a page under 500": func(said string) (*http.Response, error) { return respond(500, nil, said) },
		"Location": func(said string) (*http.Response, error) {
			return respond(307, http.Header{"Location": {"https://evil.example/?" + said}}, said)
		},
		"Retry-After and Date": func(said string) (*http.Response, error) {
			return respond(503, http.Header{"Retry-After": {said}, "Date": {said}}, "")
		},
		"broken JSON":   func(said string) (*http.Response, error) { return respond(200, nil, `{"access_token":"`+said) },
		"an error":      func(said string) (*http.Response, error) { return nil, errors.New(said) },
		"a typed one":   func(said string) (*http.Response, error) { return nil, leak{said} },
		"a wrapped one": func(said string) (*http.Response, error) { return nil, fmt.Errorf("x %s: %w", said, &leak{said}) },
		"a URL's": func(said string) (*http.Response, error) {
			return nil, &url.Error{Op: "Post", URL: "https://as.example/?" + said, Err: errors.New(said)}
		},
		"a body that breaks": func(said string) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(broken{leak{said}})}, nil
		},
	} {
		for _, method := range []authserver.Method{authserver.MethodBasic, authserver.MethodPost, authserver.MethodNone} {
			t.Run(name+"/"+string(method), func(t *testing.T) {
				said, total := 0, 1
				client := authserver.Client{
					HTTP: &http.Client{Transport: tripper(func(req *http.Request) (*http.Response, error) {
						words := echoes(req)
						total = len(words)
						return answer("echo " + words[said%total])
					})},
					ID: "app", Secret: secret.New(secretOf("client")), Method: method,
				}
				form := url.Values{
					"grant_type": {"x"}, "refresh_token": {secretOf("refresh_token")},
					"code_verifier": {secretOf("verifier")}, "client_assertion": {secretOf("assertion")},
				}
				// One word at a time: what is shown of a server's text is short.
				for ; said < total; said++ {
					_, err := client.Token(t.Context(), endpoint, form, nil)
					requireNothingShown(t, err)
				}
				require.Greater(t, total, 20, "the test itself must see what is sent")
				said = 0
				_, err := client.AuthorizeDevice(t.Context(), endpoint, form)
				requireNothingShown(t, err)
				if err := client.Revoke(t.Context(), endpoint, secret.New(secretOf("token")), ""); err != nil {
					requireNothingShown(t, err)
				}
				client.HTTP = nil
				for _, shown := range everyWay(t, client) {
					require.NotContains(t, shown, sentinel)
				}
			})
		}
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func requireNothingShown(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	sent := secretOf("refresh_token")
	credentials := []byte("app:" + url.QueryEscape(secretOf("client")))
	var hidden []string
	for _, s := range []string{
		sentinel, url.QueryEscape(sent), url.PathEscape(sent), base64.RawStdEncoding.EncodeToString([]byte(sent)),
		base64.RawURLEncoding.EncodeToString([]byte(sent)), base64.RawStdEncoding.EncodeToString(credentials),
	} {
		hidden = append(hidden, strings.ToLower(s), hex.EncodeToString([]byte(s)))
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, shown := range everyWay(t, e) {
			for _, s := range hidden {
				require.NotContains(t, strings.ToLower(shown), s)
			}
		}
	}
}

// What is cut out leaves the rest: the server's words are worth showing.
// TestMembersThatAreMixedUp_I10: a token in the place of its type is no less a secret.
func TestMembersThatAreMixedUp_I10(t *testing.T) {
	for _, body := range []string{
		`{"access_token":"AT-SENTINEL","token_type":"AT-SENTINEL"}`,
		`{"access_token":"AT","refresh_token":"RT-SENTINEL","token_type":"RT-SENTINEL"}`,
		`{"access_token":"AT","id_token":"h.SENTINEL.s","token_type":"h.SENTINEL.s"}`,
	} {
		_, err := canned(200, nil, body).Token(t.Context(), endpoint, refresh("spent"), nil)
		requireFailure(t, err, authserver.Misconfigured)
		requireNothingShown(t, err)
	}
}

func TestOnlySecretsAreCutOut(t *testing.T) {
	for _, c := range []struct{ said, want string }{
		{"the token RT1 was used already", "the token [redacted] was used already"},
		{"client app may not ask for RT1RT1", "client app may not ask for [redacted][redacted]"},
		{"nothing of the kind", "nothing of the kind"},
		{"not RT1-and-more", "not [redacted]"}, // the verifier, of which the token is a part
	} {
		body, err := json.Marshal(map[string]string{"error": "invalid_grant", "error_description": c.said})
		require.NoError(t, err)
		form := refresh("RT1")
		form.Set("code_verifier", "RT1-and-more")
		_, err = canned(400, nil, string(body)).Token(t.Context(), endpoint, form, nil)
		require.Equal(t, c.want, requireFailure(t, err, authserver.InvalidGrant).Description)
	}
}

// What a parameter that is no secret says may be repeated: without it the server's words would explain nothing.
func TestWordsAboutHarmlessParametersStay(t *testing.T) {
	form := url.Values{
		"response_type": {"code"}, "response_mode": {"form_post"}, "code_challenge_method": {"S256"}, "prompt": {"consent login"}, "max_age": {"300"},
		"acr_values": {"urn:acr:2"}, "display": {"popup"}, "ui_locales": {"de"}, "access_type": {"offline"}, "token_access_type": {"legacy"},
		"include_granted_scopes": {"true"}, "duration": {"permanent"}, "owner": {"user"}, "expiring": {"1"}, "expires_in": {"86400"},
		"state": {"a-state"}, "nonce": {"a-nonce"}, "login_hint": {"alice@example.com"},
	}
	said, want := "", ""
	for _, name := range slices.Sorted(maps.Keys(form)) {
		value := form.Get(name)
		if name == "state" || name == "nonce" || name == "login_hint" {
			want += "[redacted], "
		} else {
			want += value + ", "
		}
		said += value + ", "
	}
	body, err := json.Marshal(map[string]string{"error": "invalid_request", "error_description": said + "end"})
	require.NoError(t, err)
	_, err = canned(400, nil, string(body)).Push(t.Context(), endpoint, form)
	f, ok := errors.AsType[*authserver.Failure](err)
	require.True(t, ok)
	require.Equal(t, want+"end", f.Description)
}

// A secret that is a part of a code must not turn one failure into another.
func TestCodesAreReadBeforeSecretsAreCutOut(t *testing.T) {
	for _, token := range []string{"grant", "_", "invalid_grant", "i"} {
		_, err := canned(400, nil, `{"error":"invalid_grant"}`).Token(t.Context(), endpoint, refresh(token), nil)
		require.Equal(t, "invalid_grant", requireFailure(t, err, authserver.InvalidGrant).Code)
	}
	_, err := canned(400, nil, `{"error":"no_grant"}`).Token(t.Context(), endpoint, refresh("grant"), nil)
	require.Equal(t, "no_[redacted]", requireFailure(t, err, authserver.Doubtful).Code)
}
