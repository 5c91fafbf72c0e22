package keyname_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore/internal/keyname"
)

func TestEscape(t *testing.T) {
	const hashOfLong = "~2edc986847e209b4016e141a6dc8716d3207350f416969382d431539bf292e4a" // of 1024 times a
	for name, c := range map[string]struct{ key, want string }{
		"empty":     {"", ""},
		"plain":     {"a-z_0.9", "a-z_0.9"},
		"a key":     {"https:%2F%2Fop.example/cli/me", "https%3a%252%46%252%46op.example%2fcli%2fme"},
		"case":      {"Aa", "%41a"},
		"path":      {"../x", "..%2fx"},
		"NUL":       {"a\x00", "a%00"},
		"UTF-8":     {"é", "%c3%a9"},
		"no UTF-8":  {"\xff", "%ff"},
		"own signs": {"%~", "%25%7e"},
		"128 bytes": {strings.Repeat("a", 128), strings.Repeat("a", 128)},
		"1 KiB":     {strings.Repeat("a", 1024), strings.Repeat("a", 63) + hashOfLong},
	} {
		t.Run(name, func(t *testing.T) {
			got := keyname.Escape(c.key)
			require.LessOrEqual(t, len(got), 128)
			require.Equal(t, c.want, got)
		})
	}
}

// FuzzEscape checks that a name is safe, and that two keys have one name only if they are equal.
func FuzzEscape(f *testing.F) {
	f.Add("a", "A")
	f.Add("a/b", "a%2fb")
	f.Add("con", "con.")
	f.Add(strings.Repeat("x", 129), strings.Repeat("x", 130))
	f.Add(strings.Repeat("x", 1024), strings.Repeat("X", 1024))
	safe := regexp.MustCompile(`^[a-z0-9._%~-]{0,128}$`)
	f.Fuzz(func(t *testing.T, a, b string) {
		require.Regexp(t, safe, keyname.Escape(a))
		require.Equal(t, a == b, keyname.Escape(a) == keyname.Escape(b))
	})
}
