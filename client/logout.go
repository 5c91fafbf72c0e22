package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// Logout revokes the session's grant at the server (RFC 7009) and deletes it from the store. It
// deletes even if revoking fails, and then says so: the error wraps the reason (errors.ErrUnsupported
// where the server has no revocation endpoint) and the session is logged out all the same. A grant
// that somebody logs in meanwhile is left alone. Without a grant there is nothing to do.
func (s *Session) Logout(ctx context.Context) error {
	task := s.client.tasks.begin(fmt.Sprintf("a logout of session %q", s.key))
	if task == nil {
		return ErrClosed
	}
	defer s.client.tasks.end(task)
	if err := s.logout(ctx); err != nil {
		return s.client.fail("logout", s.key, err)
	}
	return nil
}

func (s *Session) logout(ctx context.Context) error {
	var grant, revoked string
	var revoking error
	for {
		st, err := s.load(ctx)
		if err != nil {
			return fmt.Errorf("nothing was deleted: %w", errors.Join(err, revoking))
		}
		if st.record == nil || grant != "" && st.record.Grant != grant {
			break
		}
		grant = st.record.Grant
		newest := s.newest(st.record)
		if newest.RefreshToken != revoked || revoked == "" {
			revoking, revoked = s.client.revoke(ctx, newest), newest.RefreshToken
		}
		_, err = s.swap(ctx, st, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, tokenstore.ErrConflict) {
			if after, readErr := s.load(ctx); readErr == nil && after.version == st.version {
				return fmt.Errorf("revoked but not deleted: %w", errors.Join(err, revoking))
			} else if readErr != nil {
				return fmt.Errorf("it is not known whether the grant was deleted: %w", errors.Join(err, revoking))
			}
		}
	}
	s.personActed(nil)
	if revoking != nil {
		return fmt.Errorf("deleted, but not revoked: %w", revoking)
	}
	return nil
}

// newest is the newest generation of stored's grant: the one that this process could not save yet, if
// there is one.
func (s *Session) newest(stored *record.Record) *record.Record {
	if u := s.unsavedTokens(); u != nil && u.Grant == stored.Grant && u.Generation > stored.Generation {
		return u
	}
	return stored
}
