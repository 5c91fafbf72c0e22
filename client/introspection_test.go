package client_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
)

// examiner is a desk that introspects: it answers with status and body.
func examiner(status int, body string) *desk {
	d := newDesk()
	d.metadata["introspection_endpoint"] = "https://as.test/introspect"
	d.answer = func(_ int, form url.Values) (int, string) {
		if form.Has("token") {
			return status, body
		}
		return 0, ""
	}
	return d
}

// Shows R7662-2.1-1, R7662-2.1-2, R7662-2.2-3.
func TestSessionIntrospect(t *testing.T) {
	d := examiner(200, `{"active":true,"scope":"a b","SUB":"mallory","sub":"alice","ſub":"mallory","exp":1700003600}`)
	s := d.session(t, withSecret)
	var said struct {
		Scope string `json:"scope"`
		Sub   string `json:"sub"`
		Exp   int64  `json:"exp"`
	}
	active, err := s.Introspect(t.Context(), &said)
	require.NoError(t, err)
	require.True(t, active)
	require.Equal(t, "a b", said.Scope)
	require.Equal(t, "alice", said.Sub)
	require.Equal(t, int64(1700003600), said.Exp)

	letters := d.letters()
	require.Len(t, letters, 2)
	require.Equal(t, "/introspect", letters[1].url.Path)
	require.Equal(t, "AT1", letters[1].form.Get("token"))
	require.Equal(t, "access_token", letters[1].form.Get("token_type_hint"))
	require.Equal(t, "client_secret_basic", letters[1].method())
	active, err = s.Introspect(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, active)
	require.Len(t, d.letters(), 3, "nothing is kept")

	t.Run("as its own metadata wants it", func(t *testing.T) {
		d := examiner(200, `{"active":true}`)
		d.metadata["introspection_endpoint_auth_methods_supported"] = []string{"client_secret_post"}
		_, err := d.session(t, withSecret).Introspect(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, "client_secret_post", d.letters()[1].method())
	})
	t.Run("of a resource", func(t *testing.T) {
		d := examiner(200, `{"active":true}`)
		_, err := d.session(t, withSecret).Resource("https://api.test").Introspect(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, "https://api.test", d.letters()[0].form.Get("resource"))
		require.Equal(t, "AT1", d.letters()[1].form.Get("token"))
	})
}

func TestSessionIntrospectOfWhatIsNotGood(t *testing.T) {
	t.Run("R7662-2.2-2", func(t *testing.T) {
		said := map[string]any{"kept": true}
		s := examiner(200, `{"active":false,"sub":"alice"}`).session(t, withSecret)
		active, err := s.Introspect(t.Context(), &said)
		require.NoError(t, err)
		require.False(t, active)
		require.Equal(t, map[string]any{"kept": true}, said)
		got, err := s.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "AT1", got.AccessToken, "nothing follows from it")
	})
	t.Run("R7662-2.3-1", func(t *testing.T) {
		_, err := examiner(http.StatusUnauthorized, `{"error":"invalid_client"}`).session(t, withSecret).Introspect(t.Context(), nil)
		failed := requireError(t, err)
		require.Equal(t, "introspect", failed.Op)
		require.Equal(t, "invalid_client", failed.Code)
		require.Equal(t, 401, failed.StatusCode)
	})
	for name, body := range map[string]string{
		"R7662-2.2-1 not a boolean": `{"active":"true"}`, "R7662-2.2-1 none": `{"sub":"alice"}`, "a claim twice": `{"active":true,"sub":"a","sub":"b"}`,
		"of another form": `{"active":true,"sub":5}`,
	} {
		t.Run(name, func(t *testing.T) {
			var said struct{ Sub string }
			active, err := examiner(200, body).session(t, withSecret).Introspect(t.Context(), &said)
			require.Error(t, err)
			require.False(t, active)
		})
	}
	t.Run("no such endpoint", func(t *testing.T) {
		d := newDesk()
		_, err := d.session(t, withSecret).Introspect(t.Context(), nil)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.Len(t, d.letters(), 1)
	})
	t.Run("no grant", func(t *testing.T) {
		d := examiner(200, `{"active":true}`)
		_, err := open(t, d.config(withSecret)).Session("bob").Introspect(t.Context(), nil)
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.Empty(t, d.letters())
	})
}
