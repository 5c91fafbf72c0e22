package words_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/words"
)

func TestPrintable(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"words":               {"a \u00fc 中 <b>", "a \u00fc 中 <b>"},
		"nothing":             {"", ""},
		"lines and escapes":   {"\n a\r\nb\x1b[2Jc\u0085", "a  b [2Jc"},
		"what turns the text": {"a\u202egnp.exe", "a gnp.exe"},
		"no UTF-8":            {"a\xffb\ufffd", "a b"},
		"a lot":               {strings.Repeat("\u00fc", 1<<20), strings.Repeat("\u00fc", 200)},
	} {
		require.Equal(t, tt.want, words.Printable(tt.text), name)
	}
}

func TestList(t *testing.T) {
	require.Equal(t, "a, b  c", words.List([]string{"a", "b\x1b\nc"}))
	require.Len(t, words.List(strings.Split(strings.Repeat("ab,", 1000), ",")), 200)
	require.Empty(t, words.List(nil))
}
