package seal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

var (
	first  = []byte("0123456789abcdefghijklmnopqrstuv")
	second = []byte("vutsrqponmlkjihgfedcba9876543210")
)

// source is a KeySource to order.
type source struct {
	key  []byte // nil: none yet
	made []byte // what create makes
	err  error
}

func (s *source) Key(_ context.Context, create bool) ([]byte, error) {
	if s.key == nil && create {
		s.key = s.made
	}
	return s.key, s.err
}

func box(t testing.TB, key seal.KeySource, former ...seal.KeySource) *seal.Box {
	t.Helper()
	b, err := seal.NewBox(key, former...)
	require.NoError(t, err)
	return b
}

func sealed(t testing.TB, b *seal.Box, value string, bound ...string) []byte {
	t.Helper()
	data, err := b.Seal(t.Context(), []byte(value), bound...)
	require.NoError(t, err)
	return data
}

func requireOpens(t testing.TB, b *seal.Box, data []byte, want string, bound ...string) {
	t.Helper()
	value, err := b.Open(t.Context(), data, bound...)
	require.NoError(t, err)
	require.Equal(t, want, string(value))
}

func TestSealAndOpen(t *testing.T) {
	b := box(t, seal.RawKey(first))
	for _, value := range []string{"", "v", strings.Repeat("x", 1<<20)} {
		data := sealed(t, b, value, "key", "version")
		requireOpens(t, b, data, value, "key", "version")
		require.Len(t, data, len(value)+129)
	}
	require.NotContains(t, string(sealed(t, b, "SECRET-value")), "SECRET")
	require.NotEqual(t, sealed(t, b, "v"), sealed(t, b, "v"))
}

func TestBinding(t *testing.T) {
	b := box(t, seal.RawKey(first))
	data := sealed(t, b, "SECRET", "ab", "c")
	for name, bound := range map[string][]string{
		"nothing": nil, "one": {"ab"}, "another key": {"xb", "c"}, "another version": {"ab", "d"}, "put together": {"abc"},
		"parted elsewhere": {"a", "bc"}, "one more": {"ab", "c", ""}, "order": {"c", "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			value, err := b.Open(t.Context(), data, bound...)
			require.ErrorIs(t, err, tokenstore.ErrDamaged)
			require.Nil(t, value)
			_, _, err = b.Reseal(t.Context(), data, bound...)
			require.ErrorIs(t, err, tokenstore.ErrDamaged)
		})
	}
}

// Whatever is changed is noticed: no byte is free.
func TestEveryByteCounts(t *testing.T) {
	b := box(t, seal.RawKey(second), seal.RawKey(first))
	data := sealed(t, box(t, seal.RawKey(first)), "SECRET", "k")
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= 0x80
		_, err := b.Open(t.Context(), changed, "k")
		switch {
		case i == 0: // another form
			require.NotErrorIs(t, err, tokenstore.ErrDamaged)
			require.NotErrorIs(t, err, seal.ErrWrongKey)
			require.Error(t, err)
		case i <= 8:
			require.ErrorIs(t, err, seal.ErrWrongKey)
		default:
			require.ErrorIs(t, err, tokenstore.ErrDamaged)
		}
		_, _, err = b.Reseal(t.Context(), changed, "k")
		require.Error(t, err, "a broken seal was made whole")
	}
	for n := range data {
		_, err := b.Open(t.Context(), data[:n], "k")
		require.ErrorIs(t, err, tokenstore.ErrDamaged)
	}
	_, err := b.Open(t.Context(), append(data, 0), "k")
	require.ErrorIs(t, err, tokenstore.ErrDamaged)
}

func TestWrongKey(t *testing.T) {
	data := sealed(t, box(t, seal.RawKey(first)), "SECRET")
	cause := errors.New("vault sealed")
	for name, c := range map[string]struct {
		box  *seal.Box
		want error
		not  error
	}{
		"another":               {box(t, seal.RawKey(second)), seal.ErrWrongKey, tokenstore.ErrDamaged},
		"gone":                  {box(t, &source{}), seal.ErrWrongKey, tokenstore.ErrDamaged},
		"two others":            {box(t, seal.RawKey(second), &source{}), seal.ErrWrongKey, tokenstore.ErrDamaged},
		"perhaps the one fails": {box(t, seal.RawKey(second), &source{err: cause}), cause, seal.ErrWrongKey},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.box.Open(t.Context(), data)
			require.ErrorIs(t, err, c.want)
			require.NotErrorIs(t, err, c.not)
			_, _, err = c.box.Reseal(t.Context(), data)
			require.ErrorIs(t, err, c.want)
		})
	}
}

func TestRotation(t *testing.T) {
	old, next := box(t, seal.RawKey(first), seal.RawKey(second)), box(t, seal.RawKey(second), seal.RawKey(first))
	data := sealed(t, old, "v", "k")
	requireOpens(t, next, data, "v", "k")
	resealed, changed, err := next.Reseal(t.Context(), data, "k")
	require.NoError(t, err)
	require.True(t, changed)
	for _, b := range []*seal.Box{old, next, box(t, seal.RawKey(second))} {
		requireOpens(t, b, resealed, "v", "k")
	}
	_, err = box(t, seal.RawKey(first)).Open(t.Context(), resealed, "k")
	require.ErrorIs(t, err, seal.ErrWrongKey)

	again, changed, err := next.Reseal(t.Context(), resealed, "k")
	require.NoError(t, err)
	require.False(t, changed)
	require.Equal(t, resealed, again)
	requireOpens(t, old, sealed(t, next, "w"), "w") // where the next key is known already
}

func TestSourceThatFailsKeepsNoOtherFromOpening(t *testing.T) {
	data := sealed(t, box(t, seal.RawKey(first)), "v")
	locked := &source{err: errors.New("locked")}
	b := box(t, locked, seal.RawKey(first))
	requireOpens(t, b, data, "v")
	_, err := b.Seal(t.Context(), []byte("v"))
	require.ErrorIs(t, err, locked.err)
	_, _, err = b.Reseal(t.Context(), data)
	require.ErrorIs(t, err, locked.err)
}

// What these errors mean of a grant they do not mean of a key: whoever is told that there is no grant forgets a login.
func TestASourcesErrorIsNotAGrants(t *testing.T) {
	data := sealed(t, box(t, seal.RawKey(first)), "v")
	for _, cause := range []error{tokenstore.ErrNotFound, fmt.Errorf("vault: %w", tokenstore.ErrNotFound), tokenstore.ErrConflict} {
		b := box(t, &source{err: cause})
		_, sealing := b.Seal(t.Context(), []byte("v"))
		_, opening := b.Open(t.Context(), data)
		_, _, resealing := b.Reseal(t.Context(), data)
		for _, err := range []error{sealing, opening, resealing, b.MakeKey(t.Context()), b.Probe(t.Context())} {
			require.Error(t, err)
			require.NotErrorIs(t, err, tokenstore.ErrNotFound)
			require.NotErrorIs(t, err, tokenstore.ErrConflict)
			require.ErrorContains(t, err, cause.Error())
		}
	}
}

func TestMakeKey(t *testing.T) {
	s := &source{made: first}
	b := box(t, s)
	_, err := b.Seal(t.Context(), []byte("v"))
	require.ErrorIs(t, err, seal.ErrNoKey)
	require.ErrorIs(t, b.Probe(t.Context()), seal.ErrNoKey)
	require.Nil(t, s.key, "made unasked")
	require.NoError(t, b.MakeKey(t.Context()))
	require.NoError(t, b.Probe(t.Context()))
	requireOpens(t, box(t, seal.RawKey(first)), sealed(t, b, "v"), "v")
	require.ErrorIs(t, box(t, &source{}).MakeKey(t.Context()), seal.ErrNoKey)
}

// prober is a source that can tell without giving the key.
type prober struct {
	source
	verdict error
}

func (p *prober) Probe(context.Context) error { return p.verdict }

func TestProbeAsksNobodyWhoCanTell(t *testing.T) {
	p := &prober{source: source{err: errors.New("a person was asked")}}
	require.NoError(t, box(t, p).Probe(t.Context()))
	p.verdict = errors.New("locked")
	require.ErrorIs(t, box(t, p).Probe(t.Context()), p.verdict)
}

func TestNewBoxRefuses(t *testing.T) {
	good := seal.RawKey(first)
	for name, sources := range map[string][]seal.KeySource{
		"nil": {nil}, "nil former": {good, nil}, "no bytes": {seal.RawKey(nil)}, "short": {seal.RawKey(first[:16])},
		"long former": {good, seal.RawKey(append(bytes.Clone(first), 0))},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := seal.NewBox(sources[0], sources[1:]...)
			require.Error(t, err)
			require.Nil(t, b)
		})
	}
}

func TestKeyOfAWrongLength(t *testing.T) {
	for _, key := range [][]byte{{}, []byte("SECRET"), append(bytes.Clone(first), 0)} {
		_, err := box(t, &source{key: key}).Seal(t.Context(), []byte("v"))
		require.Error(t, err)
		require.NotContains(t, err.Error(), "SECRET")
	}
}

func TestRawKeyKeepsNoSlice(t *testing.T) {
	key := bytes.Clone(first)
	raw := seal.RawKey(key)
	clear(key)
	data := sealed(t, box(t, raw), "v")
	given, err := raw.Key(t.Context(), false)
	require.NoError(t, err)
	clear(given)
	requireOpens(t, box(t, seal.RawKey(first)), data, "v")
	requireOpens(t, box(t, raw), data, "v")
}

// requireShowsNot formats vs in every way and looks for word, as text, hexadecimal, numbers and base64.
func requireShowsNot(t *testing.T, word string, vs ...any) {
	t.Helper()
	var shown strings.Builder
	for _, v := range vs {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&shown, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&shown, nil)).Info("", "v", v)
		slog.New(slog.NewJSONHandler(&shown, nil)).Info("", "v", v)
		require.NoError(t, json.NewEncoder(&shown).Encode(v))
	}
	text := strings.ToLower(shown.String())
	encoded, err := json.Marshal([]byte(word))
	require.NoError(t, err)
	for _, form := range []string{word, fmt.Sprintf("%x", word), strings.Trim(fmt.Sprint([]byte(word)), "[]"), string(encoded[1:8])} {
		require.NotContains(t, text, strings.ToLower(form))
	}
}

func TestKeyIsNotShown(t *testing.T) {
	key := seal.RawKey(first)
	b := box(t, key, seal.RawKey(first))
	requireShowsNot(t, string(first[:9]), key, b, *b, struct{ b *seal.Box }{b}, struct{ k seal.KeySource }{key})
}

// FuzzOpen opens and reseals what somebody has put in a sealed value's place: nothing but what was sealed opens, and what
// another program version has sealed does so for ever.
func FuzzOpen(f *testing.F) {
	b, err := seal.NewBox(seal.RawKey(first))
	require.NoError(f, err)
	recorded, err := os.ReadFile("testdata/sealed/v1")
	require.NoError(f, err)
	value, err := b.Open(f.Context(), recorded, "k")
	require.NoError(f, err)
	require.Equal(f, "v", string(value))
	files, err := filepath.Glob("testdata/sealed/*")
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add(recorded[:len(recorded)-1])
	f.Add(append(bytes.Clone(recorded), 0))
	f.Fuzz(func(t *testing.T, other []byte) {
		value, err := b.Open(t.Context(), other, "k")
		require.Equal(t, bytes.Equal(other, recorded), err == nil)
		if err != nil {
			require.Nil(t, value)
			require.Less(t, len(err.Error()), 200)
			_, changed, err := b.Reseal(t.Context(), other, "k")
			require.Error(t, err)
			require.False(t, changed)
		}
		_, err = b.Open(t.Context(), other, "another key")
		require.Error(t, err)
	})
}
