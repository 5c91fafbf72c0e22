package record_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/record"
)

func full() *record.Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &record.Record{
		Grant: "g1", Generation: 7, Leases: 9,
		Lease:        &record.Lease{Owner: "o", Attempt: "a", Beat: 2, Length: 15 * time.Second, Living: true},
		Mark:         &record.Mark{Verdict: record.Dead, Code: "invalid_grant", Description: "gone", At: at},
		RefreshToken: "SECRET-RT",
		Access: map[string]*record.Access{
			"":                    {Token: "SECRET-AT", Type: "Bearer", Issued: at, Expiry: at.Add(time.Hour)},
			"https://api.example": {Token: "SECRET-AT2", Type: "Bearer", Issued: at, RefreshAt: at.Add(time.Minute)},
		},
		IDToken: "SECRET-ID", Subject: "alice", Scopes: []string{"a", "b"},
		Extra: map[string]json.RawMessage{"tenant": json.RawMessage(`"t"`)}, Adopted: "00ff",
		DPoP: &record.Binding{Thumbprint: "jkt", Key: json.RawMessage(`{"kty":"EC","d":"SECRET-D"}`), Bound: true},
		Client: &record.Client{
			Issuer: "https://as.example", ID: "c1", Registered: true, Secret: "SECRET-CS", Expiry: at, Method: "client_secret_post",
			Token: "SECRET-RAT", URI: "https://as.example/register/c1",
		},
	}
}

func TestRoundTrip(t *testing.T) {
	data, err := full().Encode()
	require.NoError(t, err)
	got, err := record.Decode(data)
	require.NoError(t, err)
	require.Equal(t, full(), got)
}

// Shows R6749-5.1-5.
func TestUnknownMembersSurviveAtEveryLevel(t *testing.T) {
	const in = `{"evergrant":1,"grant":"g","generation":1,"leases":1,"future":{"x":1},
		"lease":{"owner":"o","attempt":"a","length_ns":1,"colour":"red"},
		"dpop":{"jkt":"t","jwk":{"d":"k"},"bound":true,"hardware":true},
		"client":{"issuer":"https://as.example","client_id":"c","software_id":"s"},
		"mark":{"verdict":"dead","at":"2026-01-02T03:04:05Z","why":"because"},
		"access":{"r":{"token":"t","type":"Bearer","issued":"2026-01-02T03:04:05Z","bound":[1]}}}`
	r, err := record.Decode([]byte(in))
	require.NoError(t, err)
	out, err := r.Clone().Encode()
	require.NoError(t, err)
	require.JSONEq(t, in, string(out))
}

func TestRefusals(t *testing.T) {
	for name, in := range map[string]string{
		"empty":         ``,
		"not JSON":      `SECRET`,
		"cut short":     `{"evergrant":1,"grant":"SECRET`,
		"no format":     `{"grant":"g"}`,
		"no grant":      `{"evergrant":1}`,
		"wrong type":    `{"evergrant":1,"grant":{"SECRET":1}}`,
		"somebody's":    `{"access_token":"SECRET"}`,
		"not an objct":  `["SECRET"]`,
		"no time":       `{"evergrant":1,"grant":"g","unanswered":"SECRET"}`,
		"no time, deep": `{"evergrant":1,"grant":"g","access":{"r":{"expiry":"SECRET"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := record.Decode([]byte(in))
			require.Error(t, err)
			require.NotErrorIs(t, err, record.ErrNewer)
			require.NotContains(t, err.Error(), "SECRET")
		})
	}
	for _, newer := range []string{`{"evergrant":2,"grant":7}`, `{"evergrant":2,"grant":"g"}`, `{"evergrant":2}`} {
		r, err := record.Decode([]byte(newer))
		require.ErrorIs(t, err, record.ErrNewer, newer)
		require.Nil(t, r)
	}
}

func TestNullIsNoAccess(t *testing.T) {
	r, err := record.Decode([]byte(`{"evergrant":1,"grant":"g","access":{"r":null}}`))
	require.NoError(t, err)
	require.Empty(t, r.Access)
}

func TestAdoptedTokensAreKeptInMind(t *testing.T) {
	r := new(record.Record)
	require.False(t, r.HasAdopted(""))
	require.Empty(t, r.AdoptedWith(""))
	require.Equal(t, "00ff", r.AdoptedWith("00ff"), "one alone is written as ever")
	for i := range 9 {
		r.Adopted = r.AdoptedWith(fmt.Sprint("f", i))
	}
	require.Equal(t, "f8 f7 f6 f5 f4 f3 f2 f1", r.Adopted)
	require.Equal(t, r.Adopted, r.AdoptedWith(""), "a login forgets none")
	require.True(t, r.HasAdopted("f1"))
	require.False(t, r.HasAdopted("f0"))
	require.False(t, r.HasAdopted("f"))
	require.False(t, r.HasAdopted(""))
}

func TestCloneSharesNothingThatChanges(t *testing.T) {
	r := full()
	c := r.Clone()
	c.Lease.Beat, c.Access[""], c.Scopes[0], c.Extra["tenant"] = 99, nil, "z", nil
	require.Equal(t, full(), r)
}

// A refresh token that may be spent is so from the first time on, whoever has taken leases since.
func TestALeaseThatWasNotGivenBackIsRemembered(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := &record.Record{Grant: "g", Leases: 1}
	r = r.WithLease(record.Lease{Owner: "a", Since: at})
	require.Zero(t, r.Unanswered)
	require.EqualValues(t, 2, r.Leases)
	r = r.WithLease(record.Lease{Owner: "b", Since: at.Add(time.Hour)})
	require.Equal(t, at, r.Unanswered)
	r = r.WithLease(record.Lease{Owner: "c", Since: at.Add(2 * time.Hour)})
	require.Equal(t, at, r.Unanswered)
	require.Equal(t, "c", r.Lease.Owner)
}

func TestGoodTokens(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		access *record.Access
		good   bool
	}{
		"none":            {nil, false},
		"an empty one":    {&record.Access{}, false},
		"without an end":  {&record.Access{Token: "AT"}, true},
		"before its end":  {&record.Access{Token: "AT", Expiry: at.Add(1)}, true},
		"at its end":      {&record.Access{Token: "AT", Expiry: at}, false},
		"empty, with one": {&record.Access{Expiry: at.Add(1)}, false},
	} {
		require.Equal(t, c.good, c.access.IsGood(at), name)
	}
}

// What a server says last of its refresh tokens counts, and what cannot be does not.
func TestRefreshExpiry(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	says := func(seconds string) map[string]json.RawMessage {
		return map[string]json.RawMessage{"refresh_expires_in": json.RawMessage(seconds)}
	}
	for range 20 { // a map's order
		r := &record.Record{RefreshToken: "RT", Extra: says("60"), Access: map[string]*record.Access{
			"": {Issued: at}, "a": {Issued: at.Add(time.Hour), Extra: says("120")}, "b": {Issued: at.Add(time.Minute), Extra: says("7200")},
		}}
		require.Equal(t, at.Add(time.Hour+2*time.Minute), r.RefreshExpiry())
	}
	for seconds, want := range map[string]time.Time{
		"60": at.Add(time.Minute), "0": {}, "-1": {}, `"60"`: {}, "null": {}, "1e400": {}, "9223372036854775807": {}, "3153600000": {},
	} {
		r := &record.Record{Extra: says(seconds), Access: map[string]*record.Access{"": {Issued: at}}}
		require.Equal(t, want, r.RefreshExpiry(), seconds)
	}
}

// Shows R6750-5.3-1.
func TestShowsNoToken(t *testing.T) {
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "record", full())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&log, verb, full())
		fmt.Fprintf(&log, verb, full().Client)
	}
	require.NotContains(t, log.String(), "SECRET")
	require.NotContains(t, log.String(), fmt.Sprintf("%x", "SECRET"))
}

// FuzzDecode reads what somebody has put into a store: what can be read is read again in the same way, also after the
// engine has changed it, and what cannot is not quoted.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/records/*")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	data, err := full().Encode()
	require.NoError(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := record.Decode(in)
		if err != nil {
			require.Nil(t, r)
			require.NotContains(t, err.Error(), "SECRET")
			require.Less(t, len(err.Error()), 200)
			return
		}
		out, err := r.Encode()
		require.NoError(t, err)
		again, err := record.Decode(out)
		require.NoError(t, err)
		encoded, err := again.Encode()
		require.NoError(t, err)
		require.Equal(t, string(out), string(encoded))
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", r, r, r), "SECRET")

		next := again.WithLease(record.Lease{Owner: "o", Attempt: "a"})
		next.RefreshToken, next.Generation = "", next.Leases
		out, err = next.Encode()
		require.NoError(t, err)
		again, err = record.Decode(out)
		require.NoError(t, err)
		require.Equal(t, next.Leases, again.Leases)
		require.Equal(t, next.Generation, again.Generation)
		require.Empty(t, again.RefreshToken, "what was taken out does not come back")
		require.Equal(t, "a", again.Lease.Attempt)
	})
}
