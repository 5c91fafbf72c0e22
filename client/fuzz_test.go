package client_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	profiles "github.com/evergrant/evergrant/client/provider"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// seeds adds the files of a folder of testdata to what a fuzzer begins with.
func seeds(f *testing.F, folder string, add func(text string)) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*"))
	require.NoError(f, err)
	require.NotEmpty(f, files, "no seeds in %s", folder)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		add(string(text))
	}
}

// pendingOf is a login that a web backend has begun, with secrets that are known.
func pendingOf(t testing.TB, s *client.Session) (text []byte) {
	t.Helper()
	p, err := s.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	text, err = p.MarshalText()
	require.NoError(t, err)
	members := map[string]any{}
	decoded, err := base64.RawURLEncoding.DecodeString(string(text))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(decoded, &members))
	members["State"], members["Verifier"], members["Nonce"] = "STATE", "VERIFIER", "NONCE"
	decoded, err = json.Marshal(members)
	require.NoError(t, err)
	return []byte(base64.RawURLEncoding.EncodeToString(decoded))
}

// FuzzPending reads what a browser's web session has brought back: a Pending of which nothing is lost, or an error.
func FuzzPending(f *testing.F) {
	seeds(f, "pending", func(text string) { f.Add([]byte(base64.RawURLEncoding.EncodeToString([]byte(text)))) })
	f.Add([]byte("%%% not Base64"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p := new(client.Pending)
		if err := p.UnmarshalText(text); err != nil {
			require.ErrorIs(t, err, client.ErrPending)
			require.Less(t, len(err.Error()), 300)
			require.Equal(t, &client.Pending{}, p, "nothing is taken over from what is refused")
			return
		}
		written, err := p.MarshalText()
		require.NoError(t, err)
		again := new(client.Pending)
		require.NoError(t, again.UnmarshalText(written))
		rewritten, err := again.MarshalText()
		require.NoError(t, err)
		require.Equal(t, string(written), string(rewritten))
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", p, *p, p), "VERIFIER")
	})
}

// FuzzCallback brings a backend whatever a browser can be made to bring: a code is sent if the response is this login's and
// says one thing only, and what is refused shows nothing of the login.
func FuzzCallback(f *testing.F) {
	seeds(f, "callback", func(text string) { f.Add(strings.TrimSuffix(text, "\n")) })
	f.Fuzz(func(t *testing.T, query string) {
		callback, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		d := newOffice()
		d.metadata["authorization_response_iss_parameter_supported"] = true
		s := d.web(t, nil)
		p := new(client.Pending)
		require.NoError(t, p.UnmarshalText(pendingOf(t, s)))
		err = s.Finish(t.Context(), p, callback)
		good := len(callback["state"]) == 1 && callback["state"][0] == "STATE" && len(callback["code"]) == 1 && callback["code"][0] != "" &&
			len(callback["iss"]) == 1 && callback["iss"][0] == "https://as.test" && !callback.Has("error")
		require.Equal(t, good, err == nil, "%v", err)
		if good {
			require.Len(t, d.letters(), 1)
			require.Equal(t, callback.Get("code"), d.letters()[0].form.Get("code"))
			return
		}
		require.Empty(t, d.letters())
		var failed *client.Error
		require.ErrorAs(t, err, &failed)
		shown := fmt.Sprintf("%v %+v %q", err, failed, failed.Description)
		require.Less(t, len(shown), 4000)
		hidden := []string{"STATE", "VERIFIER", "NONCE"}
		if code := "SplxlOBeZQQYbYS6WxSbIA"; callback.Get("code") == code {
			hidden = append(hidden, code)
		}
		for _, secret := range hidden {
			require.NotContains(t, shown, secret)
		}
		for _, r := range err.Error() {
			require.True(t, r >= ' ' && r != 0x7f, "%q", err.Error())
		}
	})
}

// FuzzIDToken has the provider sign any claims: a login succeeds only with those of this provider, client and login.
func FuzzIDToken(f *testing.F) {
	seeds(f, "idtoken", func(text string) { f.Add(text) })
	f.Fuzz(func(t *testing.T, claims string) {
		now := time.Now().Unix()
		claims = strings.NewReplacer(`"NOW"`, fmt.Sprint(now), `"LATER"`, fmt.Sprint(now+3600)).Replace(claims)
		p := newProvider(t)
		p.says(func(map[string]any) string {
			return signedBy(t, p.key, json.RawMessage(strings.ReplaceAll(orNull(claims), "NONCE", p.nonce)), "kid", "key 1")
		})
		s := open(t, p.config()).Session("alice")
		err := p.login(s, client.AuthCode{})
		if err != nil {
			require.True(t, errors.Is(err, client.ErrIDToken), "%v", err)
			require.NotContains(t, err.Error(), p.nonce)
			require.Less(t, len(err.Error()), 1000)
			require.NotZero(t, p.count("/revoke"), "what a refused login has brought is given back")
			return
		}
		var said map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(claims, "NONCE", p.nonce)), &said))
		text := func(name string) (s string) { _ = json.Unmarshal(said[name], &s); return s }
		require.Equal(t, "https://as.test", text("iss"))
		require.NotEmpty(t, text("sub"))
		require.Equal(t, p.nonce, text("nonce"))
		require.Contains(t, string(said["aud"]), `app`)
		status, err := s.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, text("sub"), status.Subject)
	})
}

// orNull is text, or null where it is no JSON: what is signed has to be some.
func orNull(text string) string {
	if !json.Valid([]byte(text)) {
		return "null"
	}
	return text
}

// FuzzUserInfo has the UserInfo endpoint say anything: claims count if they are about the person of the id token.
func FuzzUserInfo(f *testing.F) {
	seeds(f, "userinfo", func(text string) {
		f.Add("application/json", text)
		f.Add("application/jwt", text)
	})
	f.Fuzz(func(t *testing.T, kind, body string) {
		p := newProvider(t)
		s := open(t, p.config()).Session("alice")
		require.NoError(t, p.login(s, client.AuthCode{}))
		p.tells(kind, body)
		into := map[string]any{"untouched": true}
		err := s.UserInfo(t.Context(), &into)
		if err != nil {
			var failed *client.Error
			require.ErrorAs(t, err, &failed)
			require.NotContains(t, err.Error(), "AT1")
			require.Less(t, len(err.Error()), 1000)
			require.Equal(t, map[string]any{"untouched": true}, into)
			return
		}
		require.Equal(t, "alice", into["sub"])
	})
}

// FuzzStored lays any value into the store. Whatever it is, a request ends in time and its error quotes nothing of it; what
// is no grant stays as it is, for whoever can read it.
func FuzzStored(f *testing.F) {
	seeds(f, "stored", func(text string) { f.Add([]byte(text)) })
	f.Fuzz(func(t *testing.T, value []byte) {
		synctest.Test(t, func(t *testing.T) {
			if len(value) == 0 {
				return
			}
			store, d := tokenstore.NewMemory(), newDesk()
			key := tokenstore.Key("https://as.test", "app/1", "alice")
			_, err := store.Swap(t.Context(), key, "", value)
			require.NoError(t, err)
			s := open(t, d.config(func(c *client.Config) { c.Store = store })).Session("alice")
			began := time.Now()
			token, err := s.Token(t.Context())
			require.Less(t, time.Since(began), 3*time.Minute)
			for _, sent := range d.letters() {
				require.Equal(t, "as.test", sent.url.Host, "whatever the record names")
			}
			if err == nil {
				require.NotEmpty(t, token.AccessToken)
				return
			}
			require.NotContains(t, err.Error(), "SECRET")
			require.Less(t, len(err.Error()), 1000)
			if _, unreadable := record.Decode(value); unreadable != nil {
				left, _, err := store.Load(t.Context(), key)
				require.NoError(t, err)
				require.Equal(t, value, left)
				require.Empty(t, d.letters())
			}
		})
	})
}

// profileConfig is a program's Config with a profile, whose variables have any value that fits.
func profileConfig(p *profiles.Provider) client.Config {
	for _, v := range p.Variables {
		value := "acme"
		if p.Name == profiles.Okta.Name || p.Name == profiles.Auth0.Name || p.Name == profiles.Keycloak.Name && v.Name == "host" {
			value = "acme.example.com"
		}
		p = p.With(v.Name, value)
	}
	return client.Config{
		Provider: p, ClientID: "app", ClientSecret: "SENTINEL-of-more-than-enough-octets", RedirectURL: "https://app.test/callback",
		Endpoint: oauth2.Endpoint{AuthURL: "https://as.test/authorize", TokenURL: "https://as.test/token"},
	}
}

// FuzzProfile has every profile's server answer a refresh token with anything, recorded answers of all of them
// to begin with: tokens that can be sent, or a typed error that shows nothing.
func FuzzProfile(f *testing.F) {
	files, err := filepath.Glob("provider/testdata/*/[dlrst]*.txt")
	require.NoError(f, err)
	require.Greater(f, len(files), 100)
	all := profiles.All()
	for _, file := range files {
		recorded, err := os.ReadFile(file)
		require.NoError(f, err)
		head, body, _ := strings.Cut(strings.ReplaceAll(string(recorded), "\r\n", "\n"), "\n\n")
		var status int
		_, err = fmt.Sscanf(head, "HTTP/1.1 %d", &status)
		require.NoError(f, err, file)
		for i, p := range all {
			if strings.Contains(strings.ToLower(p.Name), filepath.Base(filepath.Dir(file))) {
				f.Add(i, status, body)
			}
		}
	}
	working := 0
	for _, p := range all {
		if c, err := client.New(profileConfig(p)); err == nil {
			working++
			require.NoError(f, c.Close(f.Context()))
		}
	}
	require.Greater(f, working, len(all)*3/4)
	f.Fuzz(func(t *testing.T, which, status int, body string) {
		synctest.Test(t, func(t *testing.T) {
			config := profileConfig(all[((which%len(all))+len(all))%len(all)])
			config.AuthServerClient = &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				if req.Body != nil {
					_, _ = io.Copy(io.Discard, req.Body)
				}
				return answer(min(max(status, 200), 599), nil, body), nil
			})}
			c, err := client.New(config)
			if err != nil {
				return
			}
			defer func() { require.NoError(t, c.Close(context.Background())) }()
			s := c.Session("alice")
			require.NoError(t, s.Adopt(t.Context(), &oauth2.Token{RefreshToken: "SENTINEL-RT"}))
			token, err := s.Token(t.Context())
			if err != nil {
				var typed *client.Error
				require.ErrorAs(t, err, &typed)
				require.NotContains(t, fmt.Sprintf("%v %+v", err, typed), "SENTINEL")
				require.Less(t, len(err.Error()), 2000)
				return
			}
			require.NotEmpty(t, token.AccessToken)
			require.False(t, strings.ContainsFunc(token.AccessToken, func(r rune) bool { return r < ' ' || r > '~' }))
			require.Empty(t, token.RefreshToken)
			if !token.Expiry.IsZero() {
				require.Less(t, time.Until(token.Expiry), 3651*24*time.Hour)
			}
		})
	})
}
