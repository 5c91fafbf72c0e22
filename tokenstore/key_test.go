package tokenstore_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
)

func TestKeyIsStable(t *testing.T) {
	for name, c := range map[string]struct{ issuer, client, session, want string }{
		"ordinary":     {"https://op.example/x", "cli", "me", "https:%2F%2Fop.example%2Fx/cli/me"},
		"empty":        {"", "", "", "//"},
		"mail address": {"https://op.example", "cli", "a+b@c.example", "https:%2F%2Fop.example/cli/a+b@c.example"},
		"escaped":      {"a/b", "a%2Fb", "a b", "a%2Fb/a%252Fb/a%20b"},
		"no UTF-8":     {"i", "c", "\xff\x00", "i/c/%FF%00"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, tokenstore.Key(c.issuer, c.client, c.session))
		})
	}
}

func TestSplitKeyRefuses(t *testing.T) {
	for name, key := range map[string]string{
		"empty": "", "two parts": "a/b", "four parts": "a/b/c/d", "bad escape": "a/b/%zz", "cut escape": "a/b%2/c",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, _, err := tokenstore.SplitKey(key)
			require.Error(t, err)
		})
	}
}

// FuzzKey checks that SplitKey undoes Key, which also shows that two triples never share a key.
func FuzzKey(f *testing.F) {
	f.Add("https://op.example", "cli", "me")
	f.Add("", "", "")
	f.Add("a/b", "%2F", "../\x00\xff é")
	f.Fuzz(func(t *testing.T, issuer, client, session string) {
		gotIssuer, gotClient, gotSession, err := tokenstore.SplitKey(tokenstore.Key(issuer, client, session))
		require.NoError(t, err)
		require.Equal(t, []string{issuer, client, session}, []string{gotIssuer, gotClient, gotSession})
	})
}

// FuzzSplitKey takes any key apart, as a store's listing may hold any: what it gives is a key again, and of the same session.
func FuzzSplitKey(f *testing.F) {
	for _, key := range []string{
		"https:%2F%2Fop.example%2Fx/cli/me", "//", "i/c/%FF%00", "a/b/%zz", "a/b%2/c", "a/b/c/d", "%2e%2e/%2F/..", "https://op.example/cli/me", "é/\x00/\xff",
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		issuer, client, session, err := tokenstore.SplitKey(key)
		if err != nil {
			require.Empty(t, issuer+client+session)
			return
		}
		again := tokenstore.Key(issuer, client, session)
		gotIssuer, gotClient, gotSession, err := tokenstore.SplitKey(again)
		require.NoError(t, err)
		require.Equal(t, []string{issuer, client, session}, []string{gotIssuer, gotClient, gotSession})
		require.Equal(t, 2, strings.Count(again, "/"))
	})
}
