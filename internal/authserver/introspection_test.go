package authserver_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/secret"
)

// Shows R7662-2.1-1, R7662-2.1-2, R7662-2.2-3.
func TestIntrospect(t *testing.T) {
	var got *http.Request
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		got = r
		_, _ = w.Write([]byte(`{"active":true,"iat":1700000000,"nbf":1700000000.5,"exp":1700003600,"scope":"a","house":{"n":1}}`))
	})
	c := authserver.Client{HTTP: newHTTP(t), ID: "app", Secret: secret.New("s"), Method: authserver.MethodBasic}
	active, said, err := c.Introspect(t.Context(), address, secret.New("AT"))
	require.NoError(t, err)
	require.Equal(t, http.MethodPost, got.Method)
	require.Equal(t, url.Values{"token": {"AT"}, "token_type_hint": {"access_token"}}, got.PostForm)
	id, password, _ := got.BasicAuth()
	require.Equal(t, "app s", id+" "+password)
	require.True(t, active)
	require.Equal(t, "1700000000.5", string(said["nbf"]))
	require.JSONEq(t, `{"n":1}`, string(said["house"]))
}

func TestIntrospectionOfTokensThatAreNotGood(t *testing.T) {
	t.Run("R7662-2.2-2", func(t *testing.T) {
		address := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"active":false}`)) })
		active, _, err := newClient(t).Introspect(t.Context(), address, secret.New("AT"))
		require.NoError(t, err, "it is an answer")
		require.False(t, active)
	})
	for _, body := range []string{`{}`, `{"active":"true"}`, `{"active":1}`, `{"active":null}`, `{"Active":true}`, `[]`, `<html>`, `{"active":true,"active":false}`, `{"active":true,"error":"invalid_client"}`} {
		t.Run("R7662-2.2-1 "+body, func(t *testing.T) {
			address := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
			active, said, err := newClient(t).Introspect(t.Context(), address, secret.New("AT"))
			require.Error(t, err)
			require.False(t, active)
			require.Nil(t, said)
		})
	}
	t.Run("R7662-2.3-1", func(t *testing.T) {
		address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
		})
		_, _, err := newClient(t).Introspect(t.Context(), address, secret.New("AT"))
		f := requireFailure(t, err, authserver.Misconfigured)
		require.Equal(t, http.StatusUnauthorized, f.Status)
	})
	t.Run("R7662-2-1", func(t *testing.T) {
		_, _, err := newClient(t).Introspect(t.Context(), "http://as.example/introspect", secret.New("AT"))
		requireFailure(t, err, authserver.Misconfigured)
	})
}
