package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// Logout revokes the session's grant at the server (RFC 7009), the refresh token first and then the access tokens of all
// resources, and deletes it from the store. It
// deletes even if revoking fails, or is not done after ten seconds, and then says so: the error wraps ErrNotRevoked and the reason (errors.ErrUnsupported
// where the server has no revocation endpoint) and the session is logged out all the same. After any other error it is
// still logged in, or that is not known: keep the account's key and try again. A grant
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

// logout revokes within the caller's time, and deletes even after that: a server that does not answer
// must not keep the grant in the store, whoever renews it meanwhile.
func (s *Session) logout(ctx context.Context) error {
	var grant, revoked, left string
	var revoking error
	st, err := s.load(ctx)
	within, cancel := context.WithTimeout(ctx, revokeTimeout) // for all revocations
	defer cancel()
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*revokeTimeout)
	defer cancel()
	for {
		if err != nil {
			return fmt.Errorf("nothing was deleted: %w", errors.Join(err, revoking))
		}
		if st.record == nil {
			break
		}
		if grant != "" && st.record.Grant != grant {
			left = st.record.Grant
			break
		}
		grant = st.record.Grant
		newest := s.newest(st.record)
		if newest.RefreshToken != revoked || revoked == "" {
			revoking, revoked = s.client.revoke(within, newest), newest.RefreshToken
		}
		_, err = s.swap(late, st, nil)
		if err == nil {
			break
		}
		after, readErr := s.load(late)
		if !errors.Is(err, tokenstore.ErrConflict) {
			if readErr != nil {
				return fmt.Errorf("it is not known whether the grant was deleted: %w", errors.Join(err, revoking))
			}
			if after.version == st.version {
				return fmt.Errorf("the grant was not deleted: %w", errors.Join(err, revoking))
			}
		}
		st, err = after, readErr
	}
	s.personActed(st.key, left, nil)
	if st.record != nil && st.record.Grant == grant {
		s.client.unregister(ctx, st.record.Client)
	}
	if revoking != nil {
		revoking = s.client.fail("logout", s.key, fmt.Errorf("%w: %w", ErrNotRevoked, revoking))
	}
	if grant != "" {
		s.happened(Event{Kind: "logout", Reason: "a person has logged out", Err: revoking})
	}
	return revoking
}

// newest is the newest generation of stored's grant: the one that this process could not save yet, if
// there is one.
func (a *account) newest(stored *record.Record) *record.Record {
	if u := a.unsavedTokens(); u != nil && u.record.Grant == stored.Grant && u.record.Generation > stored.Generation {
		return u.record
	}
	return stored
}
