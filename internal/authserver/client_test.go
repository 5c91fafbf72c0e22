package authserver_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/secret"
)

const tokens = `{"access_token":"AT","token_type":"Bearer","expires_in":60}`

// seen is what a server saw of one request.
type seen struct {
	method, query string
	header        http.Header
	form          url.Values
}

// record answers like a token endpoint and keeps what it sees.
func record(t *testing.T, requests *[]seen) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.RawQuery
		r.URL.RawQuery = ""
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		*requests = append(*requests, seen{r.Method, query, r.Header, r.PostForm})
		_, _ = w.Write([]byte(tokens))
	}
}

// Shows R6749-3.2-1, R6749-3.2-2, O21-3.2.3-2.
func TestTokenRequest_R6749_3_2(t *testing.T) {
	var got []seen
	address := serve(t, record(t, &got))
	form := url.Values{"grant_type": {"refresh_token"}, "resource": {"https://a.example", "https://b.example"}}
	_, err := newClient(t).Token(t.Context(), address+"/token?api-version=2&x=%20", form, nil)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, http.MethodPost, got[0].method)
	require.Equal(t, "api-version=2&x=%20", got[0].query)
	require.Equal(t, "application/x-www-form-urlencoded", got[0].header.Get("Content-Type"))
	require.Equal(t, "application/json", got[0].header.Get("Accept"))
	require.Contains(t, got[0].header.Get("User-Agent"), "evergrant")
	require.Equal(t, url.Values{
		"grant_type": {"refresh_token"}, "client_id": {"app"}, "resource": {"https://a.example", "https://b.example"},
	}, got[0].form)
	require.NotContains(t, form, "client_id", "the caller's form is not changed")
}

// Shows R6749-2.3-1, R6749-2.3.1-1, R6749-2.3.1-4.
func TestExactlyOneAuthentication_R6749_2_3(t *testing.T) {
	const id, password = "a:b c", "p%+é"
	for _, c := range []struct {
		name, id, secret string
		method           authserver.Method
		basic            string // decoded
		form             url.Values
	}{
		{"basic", id, password, authserver.MethodBasic, "a%3Ab+c:p%25%2B%C3%A9", url.Values{}},
		{"basic without secret", id, "", authserver.MethodBasic, "a%3Ab+c:", url.Values{}},
		{"post", id, password, authserver.MethodPost, "", url.Values{"client_id": {id}, "client_secret": {password}}},
		{"post without secret", id, "", authserver.MethodPost, "", url.Values{"client_id": {id}}},
		{"none", id, password, authserver.MethodNone, "", url.Values{"client_id": {id}}},
		{"none without id", "", "", authserver.MethodNone, "", url.Values{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []seen
			address := serve(t, record(t, &got))
			client := authserver.Client{HTTP: newHTTP(t), ID: c.id, Secret: secret.New(c.secret), Method: c.method}
			_, err := client.Token(t.Context(), address, url.Values{"grant_type": {"g"}}, nil)
			require.NoError(t, err)
			require.Len(t, got, 1)
			c.form.Set("grant_type", "g")
			require.Equal(t, c.form, got[0].form)
			require.Empty(t, got[0].query)
			credentials, isBasic := strings.CutPrefix(got[0].header.Get("Authorization"), "Basic ")
			require.Equal(t, c.basic != "", isBasic)
			decoded, err := base64.StdEncoding.DecodeString(credentials)
			require.NoError(t, err)
			require.Equal(t, c.basic, string(decoded))
		})
	}
}

func TestAnUnknownMethodSendsNothing(t *testing.T) {
	client := authserver.Client{HTTP: authserver.NewHTTPClient(&http.Client{Transport: tripper(unreachable(t))}), ID: "app", Method: "private_key_jwt"}
	_, err := client.Token(t.Context(), endpoint, refresh("RT"), nil)
	requireFailure(t, err, authserver.Misconfigured)
}

// unreachable fails the test when a request is made.
func unreachable(t *testing.T) tripper {
	return func(req *http.Request) (*http.Response, error) {
		t.Errorf("a request was made to %s", req.URL.Host)
		return nil, http.ErrAbortHandler
	}
}

// Shows R7009-2-2.
func TestUnsafeEndpointsGetNothing_I7(t *testing.T) {
	client := newClient(t)
	client.HTTP.Transport = unreachable(t)
	for _, address := range []string{
		"http://as.example/token", "http://127.0.0.1.example/token", "http://localhost.example/", "ftp://as.example/", "//as.example/token",
		"as.example/token", "https:///token", "https://:443/", "https://user:pa55@as.example/token", "https://as.example/#f", "", "https://as.example/\x00", "http://10.0.0.1/",
	} {
		_, err := client.Token(t.Context(), address, refresh("RT"), nil)
		requireFailure(t, err, authserver.Misconfigured)
		require.NotContains(t, err.Error(), "pa55")
		requireFailure(t, client.Revoke(t.Context(), address, secret.New("RT"), ""), authserver.Misconfigured)
		_, err = client.AuthorizeDevice(t.Context(), address, nil)
		requireFailure(t, err, authserver.Misconfigured)
	}
}

// Whatever a redirect's status, and wherever it leads, nothing is sent on: neither by our client nor
// by one whose policy would follow.
// Shows R9700-4.12-1.
func TestRedirectsAreNotFollowed_I7(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, follows := range []bool{false, true} {
			reached := 0
			other := serve(t, func(http.ResponseWriter, *http.Request) { reached++ })
			for _, location := range []string{other + "/token", other + "/?refresh_token=RT1-SENTINEL", "://RT1-SENTINEL%zz", ""} {
				address := serve(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Location", location)
					w.WriteHeader(status)
				})
				client := newClient(t)
				if follows {
					client.HTTP.CheckRedirect = nil
				}
				_, err := client.Token(t.Context(), address, refresh("RT1-SENTINEL"), nil)
				f := requireFailure(t, err, authserver.Misconfigured)
				require.Equal(t, status, f.Status)
				require.Contains(t, err.Error(), "redirects")
				require.NotContains(t, err.Error(), "SENTINEL")
			}
			require.Zero(t, reached)
		}
	}
}

func TestCookiesAreNotKept(t *testing.T) {
	var got []seen
	handler := record(t, &got)
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
		handler(w, r)
	})
	client := newClient(t)
	for range 2 {
		_, err := client.Token(t.Context(), address, refresh("RT"), nil)
		require.NoError(t, err)
	}
	require.Len(t, got, 2)
	require.Empty(t, got[1].header.Get("Cookie"))
}

func TestHTTP2(t *testing.T) {
	var got []seen
	handler := record(t, &got)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, 2, r.ProtoMajor)
		handler(w, r)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	client := newClient(t)
	client.HTTP = authserver.NewHTTPClient(server.Client())
	t.Cleanup(client.HTTP.CloseIdleConnections)
	_, err := client.Token(t.Context(), server.URL, refresh("RT"), nil)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, "RT", got[0].form.Get("refresh_token"))
}

func TestRevoke_R7009(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   authserver.Outcome
		code   string
	}{
		{"200 without a body", 200, "", -1, ""},
		{"200 with a page", 200, "<html>", -1, ""},
		{"200 and JSON", 200, "{}", -1, ""},
		{"204", 204, "", -1, ""},
		{"unsupported_token_type", 400, `{"error":"unsupported_token_type"}`, authserver.Doubtful, "unsupported_token_type"},
		{"503 lives on", 503, "", authserver.NotProcessed, ""},
		{"500", 500, "", authserver.MaybeProcessed, ""},
		{"invalid_client", 401, `{"error":"invalid_client"}`, authserver.Misconfigured, "invalid_client"},
		{"a redirect", 302, "", authserver.Misconfigured, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var form url.Values
			address := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				form = r.PostForm
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			})
			err := newClient(t).Revoke(t.Context(), address, secret.New("RT"), "refresh_token")
			require.Equal(t, url.Values{"token": {"RT"}, "token_type_hint": {"refresh_token"}, "client_id": {"app"}}, form)
			if c.want == -1 {
				require.NoError(t, err)
				return
			}
			require.Equal(t, c.code, requireFailure(t, err, c.want).Code)
		})
	}
	t.Run("a body cut short after a 200 is a yes all the same", func(t *testing.T) {
		address := listen(t, func(c *wire) { c.request(); c.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{") })
		require.NoError(t, newClient(t).Revoke(t.Context(), address, secret.New("RT"), ""))
	})
	t.Run("without a hint", func(t *testing.T) {
		var got []seen
		require.NoError(t, newClient(t).Revoke(t.Context(), serve(t, record(t, &got)), secret.New("AT"), ""))
		require.Equal(t, url.Values{"token": {"AT"}, "client_id": {"app"}}, got[0].form)
	})
}
