package seal_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// childEnv, when set, makes the test binary print the key of the passphrase whose salt lies there.
const childEnv = "SEAL_TEST_CHILD"

func TestMain(m *testing.M) {
	path := os.Getenv(childEnv)
	if path == "" {
		goleak.VerifyTestMain(m)
		return
	}
	key, err := seal.Passphrase(path, words).Key(context.Background(), true)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Stdout.Write(key)
}

const words = "correct horse battery staple"

func TestPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "salt")
	b := box(t, seal.Passphrase(path, words))
	_, err := b.Seal(t.Context(), []byte("v"))
	require.ErrorIs(t, err, seal.ErrNoKey)
	require.NoDirExists(t, filepath.Dir(path), "something was made unasked")
	require.NoError(t, b.MakeKey(t.Context()))
	data := sealed(t, b, "v")
	requireOpens(t, b, data, "v")
	requireOpens(t, box(t, seal.Passphrase(path, words)), data, "v")

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Regexp(t, `^evergrant passphrase 1\nsalt [0-9a-f]{32}\nkey [0-9a-f]{16}\n$`, string(text))
	key, err := seal.Passphrase(path, words).Key(t.Context(), false)
	require.NoError(t, err)
	require.NotContains(t, string(text), fmt.Sprintf("%x", key[:8]))
}

func TestWrongPassphraseIsToldAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salt")
	data := func() []byte {
		b := box(t, seal.Passphrase(path, words))
		require.NoError(t, b.MakeKey(t.Context()))
		return sealed(t, b, "v")
	}()
	wrong := box(t, seal.Passphrase(path, words+" "))
	for range 2 {
		_, err := wrong.Seal(t.Context(), []byte("w"))
		require.ErrorIs(t, err, seal.ErrWrongKey)
		_, err = wrong.Open(t.Context(), data)
		require.ErrorIs(t, err, seal.ErrWrongKey)
		require.NotErrorIs(t, err, tokenstore.ErrDamaged)
		require.ErrorIs(t, wrong.MakeKey(t.Context()), seal.ErrWrongKey)
		require.ErrorIs(t, wrong.Probe(t.Context()), seal.ErrWrongKey)
		require.NotContains(t, err.Error(), "horse")
	}
}

func TestPassphraseIsChanged(t *testing.T) {
	dir := t.TempDir()
	old := seal.Passphrase(filepath.Join(dir, "salt"), words)
	require.NoError(t, box(t, old).MakeKey(t.Context()))
	data := sealed(t, box(t, old), "v")
	b := box(t, seal.Passphrase(filepath.Join(dir, "salt-2"), "new words"), old)
	require.NoError(t, b.MakeKey(t.Context()))
	resealed, changed, err := b.Reseal(t.Context(), data)
	require.NoError(t, err)
	require.True(t, changed)
	requireOpens(t, box(t, seal.Passphrase(filepath.Join(dir, "salt-2"), "new words")), resealed, "v")
}

// Form 1 of the file is for ever: with a lower cost passphrases would be found, and with any other nothing would open.
func TestTheKeyOfAPassphraseIsStable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salt")
	require.NoError(t, os.WriteFile(path, []byte("evergrant passphrase 1\nsalt 000102030405060708090a0b0c0d0e0f\nkey 53368f6b1758fbf0\n"), 0o600))
	key, err := seal.Passphrase(path, "correct horse battery staple").Key(t.Context(), false)
	require.NoError(t, err)
	require.Equal(t, "853b272a44db1421c02962669a55eb0994f3cab385ed1c4c79253eee19bab49e", fmt.Sprintf("%x", key))
}

// The salt that lies there counts, also for who has known another one: out of a backup, say.
func TestAnotherSalt(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "salt"), filepath.Join(dir, "other")
	one, two := seal.Passphrase(path, words), seal.Passphrase(other, words)
	require.NoError(t, box(t, one).MakeKey(t.Context()))
	require.NoError(t, box(t, two).MakeKey(t.Context()))
	data := sealed(t, box(t, two), "v")
	require.NoError(t, os.Rename(other, path))
	requireOpens(t, box(t, one), data, "v")
}

// A key whose salt has gone is lost when the process ends, so it seals nothing more.
func TestSaltThatIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salt")
	b := box(t, seal.Passphrase(path, words))
	require.NoError(t, b.MakeKey(t.Context()))
	data := sealed(t, b, "v")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Remove(path))
	_, err = b.Seal(t.Context(), []byte("w"))
	require.ErrorIs(t, err, seal.ErrNoKey)
	_, err = b.Open(t.Context(), data)
	require.ErrorIs(t, err, seal.ErrWrongKey)
	require.NoError(t, os.WriteFile(path, text, 0o600)) // out of a backup
	requireOpens(t, b, data, "v")
}

func TestDamagedSalt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salt")
	b := box(t, seal.Passphrase(path, words))
	require.NoError(t, b.MakeKey(t.Context()))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for name, damage := range map[string]func([]byte) []byte{
		"empty":      func([]byte) []byte { return nil },
		"cut":        func(d []byte) []byte { return d[:len(d)-2] },
		"no salt":    func(d []byte) []byte { return bytes.Replace(d, []byte("salt "), []byte("sale "), 1) },
		"no key":     func(d []byte) []byte { return bytes.Replace(d, []byte("key "), []byte("kex "), 1) },
		"not hex":    func(d []byte) []byte { return bytes.Replace(d, []byte("salt "), []byte("salt x"), 1) },
		"too long":   func(d []byte) []byte { return append(d, 'x') },
		"short salt": func(d []byte) []byte { return bytes.Replace(d, d[len("evergrant passphrase 1\nsalt "):][:2], nil, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			damaged := damage(bytes.Clone(text))
			require.NoError(t, os.WriteFile(path, damaged, 0o600))
			_, err := b.Seal(t.Context(), []byte("v"))
			require.ErrorIs(t, err, tokenstore.ErrDamaged)
			require.ErrorIs(t, b.MakeKey(t.Context()), tokenstore.ErrDamaged)
			left, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(damaged), string(left))
		})
	}
	require.NoError(t, os.WriteFile(path, []byte("evergrant passphrase 2\nwho knows"), 0o600))
	err = b.MakeKey(t.Context())
	require.Error(t, err)
	require.NotErrorIs(t, err, tokenstore.ErrDamaged)
}

func TestProcessesMakeOneSalt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salt")
	keys := make([][]byte, 4)
	var group sync.WaitGroup
	for i := range keys {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+path)
		cmd.Stderr = os.Stderr
		group.Go(func() {
			var err error
			if keys[i], err = cmd.Output(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, key := range keys {
		require.Len(t, key, 32)
		require.Equal(t, keys[0], key)
	}
}

func TestPassphraseOfManyGoroutines(t *testing.T) {
	p := seal.Passphrase(filepath.Join(t.TempDir(), "salt"), words)
	keys := make([][]byte, 8)
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			var err error
			if keys[i], err = p.Key(t.Context(), true); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, key := range keys {
		require.Len(t, key, 32)
		require.Equal(t, keys[0], key)
	}
}

// Argon2 takes its time; the caller's context ends the wait for it, and the work is not lost.
func TestPassphraseUnderAContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "salt")
	require.NoError(t, box(t, seal.Passphrase(path, words)).MakeKey(t.Context()))
	p := seal.Passphrase(path, words)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := p.Key(ctx, false)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = p.Key(ctx, false)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	key, err := p.Key(t.Context(), false)
	require.NoError(t, err)
	require.Len(t, key, 32)
}

func TestPassphraseIsNotShown(t *testing.T) {
	p := seal.Passphrase(filepath.Join(t.TempDir(), "salt"), words)
	b := box(t, p)
	require.NoError(t, b.MakeKey(t.Context()))
	key, err := p.Key(t.Context(), false)
	require.NoError(t, err)
	for _, word := range []string{words, string(key[:9])} {
		requireShowsNot(t, word, p, b, *b, struct{ k seal.KeySource }{p}, struct{ K seal.KeySource }{p})
	}
}

func TestNewBoxRefusesPassphrases(t *testing.T) {
	for name, p := range map[string]seal.KeySource{"empty": seal.Passphrase("p", ""), "no path": seal.Passphrase("", words)} {
		t.Run(name, func(t *testing.T) {
			_, err := seal.NewBox(p)
			require.Error(t, err)
		})
	}
}
