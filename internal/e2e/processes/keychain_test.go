package processes_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
	"github.com/evergrant/evergrant/tokenstore/keychain"
)

// wanted are the errors that a worker can be told to expect.
var wanted = map[string]error{
	"unavailable": keychain.ErrUnavailable,
	"locked":      keychain.ErrLocked,
}

func TestAKeychainThatCannotBeUsed(t *testing.T) {
	for _, tt := range []struct {
		state gnomekeyring.State
		want  string
	}{
		{gnomekeyring.NoBus, "unavailable"},
		{gnomekeyring.NoService, "unavailable"},
		{gnomekeyring.Locked, "locked"},
	} {
		t.Run(string(tt.state), func(t *testing.T) {
			p := strict(t)
			w := start(t, gnomekeyring.Start(t, tt.state), task{
				Place: place{Keychain: true, Dir: t.TempDir()}, Issuer: p.Issuer, Want: tt.want,
				Journal: filepath.Join(t.TempDir(), "journal"),
			})
			require.NoError(t, w.cmd.Wait(), "%s", &w.stderr)
			for _, e := range readJournal(t, w.journal) {
				require.NotEqual(t, opened, e.name, "nobody logs in for a grant that cannot be kept")
			}
		})
	}
}

// expectFailure asks for a token and logs in. Both must end with the wanted error well within their time.
func expectFailure(s *client.Session, j *journal, want string) error {
	const limit = 20 * time.Second
	token := func(ctx context.Context) error {
		_, err := s.Token(ctx)
		return err
	}
	login := func(ctx context.Context) error {
		return s.Login(ctx, client.Browser{Open: func(address string) error {
			j.write(opened, address)
			return nil
		}})
	}
	for name, act := range map[string]func(context.Context) error{"Token": token, "Login": login} {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		err := act(ctx)
		late := ctx.Err()
		cancel()
		var typed *client.Error
		if !errors.Is(err, wanted[want]) || !errors.As(err, &typed) || errors.Is(err, client.ErrLoginRequired) || late != nil {
			return fmt.Errorf("%s: want %s before the deadline, got %w (deadline: %v)", name, want, err, late)
		}
	}
	return nil
}
