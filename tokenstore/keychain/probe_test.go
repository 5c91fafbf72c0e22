package keychain_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/keychain"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

func TestProbe(t *testing.T) {
	unavailable := func(string, string) error { return keychain.Away }
	for name, c := range map[string]struct {
		look    error
		trouble func(operation, user string) error
		want    error
		asks    bool // the keychain itself
	}{
		"works":                          {nil, nil, nil, true},
		"locked":                         {keychain.Locked, nil, keychain.ErrLocked, false},
		"may be locked":                  {keychain.Opaque, nil, nil, false},
		"none":                           {keychain.Away, unavailable, keychain.ErrUnavailable, true},
		"none that can be seen, but one": {keychain.Away, nil, nil, true},
		"cannot be written":              {nil, failing(opSet), errCut, true},
		"cannot be read":                 {nil, failing(opGet), errCut, true},
		"cannot be deleted from":         {nil, failing(opDelete), errCut, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			asked := false
			f.trouble = func(operation, user string) error {
				asked = true
				if c.trouble != nil {
					return c.trouble(operation, user)
				}
				return nil
			}
			s := on(t, f, keychain.Platform{Limit: 2400, Look: finds(c.look)}, t.TempDir())
			require.ErrorIs(t, s.Probe(t.Context()), c.want)
			require.Equal(t, c.asks, asked)
			if c.want == nil {
				require.Zero(t, f.all())
			}
		})
	}
}

func TestProbeKey(t *testing.T) {
	for name, c := range map[string]struct {
		look    error
		trouble func(operation, user string) error
		hasKey  bool
		want    error
	}{
		"there":                         {hasKey: true},
		"there, and nothing can be set": {hasKey: true, trouble: failing(opSet)},
		"none":                          {want: seal.ErrNoKey},
		"none, and none can be made":    {trouble: failing(opSet), want: errCut},
		"cannot be read":                {hasKey: true, trouble: failing(opGet), want: errCut},
		"locked":                        {look: keychain.Locked, want: keychain.ErrLocked},
		"may be locked":                 {look: keychain.Opaque, trouble: func(string, string) error { return errors.New("asked") }},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := newFake(), t.TempDir()
			if c.hasKey {
				_, err := over(t, f, dir).Key(t.Context(), true)
				require.NoError(t, err)
			}
			f.trouble = c.trouble
			s := on(t, f, keychain.Platform{Limit: 2400, Look: finds(c.look)}, dir)
			require.ErrorIs(t, s.ProbeKey(t.Context()), c.want)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, s.ProbeKey(ctx), context.Canceled)
		})
	}
	s := on(t, newFake(), keychain.Platform{Limit: 2400, Look: finds(nil)}, t.TempDir())
	_, err := s.Key(t.Context(), true)
	require.NoError(t, err)
	require.NoError(t, keychain.Through(s, func(keychain.Ring) keychain.Ring { return nil }).ProbeKey(t.Context()), "it is remembered")
}

// Files whose key has gone from the keychain take no new grant, and Probe says so before a person logs in.
func TestProbeOfFilesWhoseKeyIsGone(t *testing.T) {
	f, dir := newFake(), t.TempDir()
	files := func() *file.Store {
		s, err := file.New(filepath.Join(dir, "files"), file.Options{Key: on(t, f, keychain.Platform{Limit: 2400, Look: finds(nil)}, dir)})
		require.NoError(t, err)
		return s
	}
	require.NoError(t, files().Probe(t.Context()), "a key is made at the first Swap")
	mustSwap(t, files(), "", "v")
	require.NoError(t, files().Probe(t.Context()))
	require.NoError(t, f.Delete("test", "file-key"))
	require.ErrorIs(t, files().Probe(t.Context()), seal.ErrWrongKey)
	_, err := files().Swap(t.Context(), "another", "", []byte("v"))
	require.ErrorIs(t, err, seal.ErrWrongKey)
}

// failing is a trouble that fails one kind of operation.
func failing(broken string) func(operation, user string) error {
	return func(operation, _ string) error {
		if operation == broken {
			return errCut
		}
		return nil
	}
}

func TestProbeOfAForgetfulKeychain(t *testing.T) {
	s := on(t, forgetful{newFake()}, keychain.Platform{Limit: 2400, Look: finds(nil)}, t.TempDir())
	require.Error(t, s.Probe(t.Context()))
}

// What macOS's tools say, and whether a prompt can come up.
func TestLookAtLoginKeychain(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		keychain error
		session  string
		failed   error
		want     error
	}{
		"person at the screen":  {nil, "Aqua\n", nil, keychain.Opaque},
		"SSH":                   {nil, "Background\n", nil, nil},
		"daemon":                {nil, "System\n", nil, nil},
		"unknown session":       {nil, "", broken, keychain.Opaque},
		"no default keychain":   {exit(t, 37), "Aqua\n", nil, keychain.ErrUnavailable},
		"security does not run": {broken, "Aqua\n", nil, broken},
	} {
		t.Run(name, func(t *testing.T) {
			err := keychain.LookAtLoginKeychain(func(_ context.Context, name string, args ...string) ([]byte, error) {
				switch name + " " + args[0] {
				case "/usr/bin/security default-keychain":
					return nil, c.keychain
				case "/bin/launchctl managername":
					return []byte(c.session), c.failed
				}
				t.Errorf("%s %q was run", name, args)
				return nil, broken
			})
			require.ErrorIs(t, err, c.want)
		})
	}
}
