package authserver_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

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
	answer, err := c.Introspect(t.Context(), address, secret.New("AT"), "access_token")
	require.NoError(t, err)
	require.Equal(t, http.MethodPost, got.Method)
	require.Equal(t, url.Values{"token": {"AT"}, "token_type_hint": {"access_token"}}, got.PostForm)
	id, password, _ := got.BasicAuth()
	require.Equal(t, "app s", id+" "+password)
	require.True(t, answer.Active)
	require.Equal(t, time.Unix(1700000000, 0).UTC(), answer.Issued)
	require.Equal(t, time.Unix(1700000000, 500e6).UTC(), answer.NotBefore)
	require.Equal(t, time.Unix(1700003600, 0).UTC(), answer.Expiry)
	require.JSONEq(t, `{"n":1}`, string(answer.Members["house"]))

	_, err = c.Introspect(t.Context(), address, secret.New("AT"), "")
	require.NoError(t, err)
	require.NotContains(t, got.PostForm, "token_type_hint")
}

func TestIntrospectionOfTokensThatAreNotGood(t *testing.T) {
	t.Run("R7662-2.2-2", func(t *testing.T) {
		address := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"active":false}`)) })
		answer, err := newClient(t).Introspect(t.Context(), address, secret.New("AT"), "")
		require.NoError(t, err, "it is an answer")
		require.False(t, answer.Active)
		require.Zero(t, answer.Expiry)
	})
	for _, body := range []string{`{}`, `{"active":"true"}`, `{"active":1}`, `{"active":null}`, `{"Active":true}`, `[]`, `<html>`, `{"active":true,"active":false}`} {
		t.Run("R7662-2.2-1 "+body, func(t *testing.T) {
			address := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
			answer, err := newClient(t).Introspect(t.Context(), address, secret.New("AT"), "")
			require.Error(t, err)
			require.Nil(t, answer)
		})
	}
	t.Run("R7662-2.3-1", func(t *testing.T) {
		address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
		})
		_, err := newClient(t).Introspect(t.Context(), address, secret.New("AT"), "")
		f := requireFailure(t, err, authserver.Misconfigured)
		require.Equal(t, http.StatusUnauthorized, f.Status)
	})
	t.Run("R7662-2-1", func(t *testing.T) {
		_, err := newClient(t).Introspect(t.Context(), "http://as.example/introspect", secret.New("AT"), "")
		requireFailure(t, err, authserver.Misconfigured)
	})
}
