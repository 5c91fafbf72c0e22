package client

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Status is what the store holds for a session.
type Status struct {
	// LoggedIn says that there is a grant which the server has not refused.
	LoggedIn bool
	// Subject is who logged in: the id token's sub; empty where there was none.
	Subject string
	// Scopes are those granted; empty when the server did not say and none were asked for.
	Scopes []string
	// Expiry is when the access token ends; zero when the server did not say, and when there is none for the
	// session's resource. The grant lives on.
	Expiry time.Time
	// Failure is the server's last refusal, nil when there is none. It wraps ErrLoginRequired when the
	// grant is gone.
	Failure error
}

// Status reads the session's state from the store: it neither renews nor asks the authorization server whether the grant is
// still good. With Config.Resource it may ask the resource and its authorization server for their metadata first, to learn
// where in the store the grant lies. A session without a grant has the zero Status. Its error is an *Error, of the store or of that
// metadata, or ErrClosed.
func (s *Session) Status(ctx context.Context) (Status, error) {
	if s.client.tasks.isClosed() {
		return Status{}, ErrClosed
	}
	st, err := s.load(ctx)
	if err != nil {
		return Status{}, s.client.fail("status", s.key, err)
	}
	if st.record == nil || st.record.RefreshToken == "" && len(st.record.Access) == 0 {
		return Status{}, nil // a configured grant that has never succeeded leaves a record without tokens
	}
	status := Status{LoggedIn: true, Subject: st.record.Subject, Scopes: slices.Clone(st.record.Scopes)}
	if a := st.record.Access[s.resource]; a != nil {
		if a.Scopes != nil {
			status.Scopes = slices.Clone(a.Scopes)
		}
		if !a.Expiry.IsZero() {
			status.Expiry = s.client.localTime(a.Expiry)
		}
	}
	if failure := s.marked(st.record); failure != nil {
		status.Failure = s.client.fail("renew", s.key, failure)
		status.LoggedIn = !errors.Is(failure, ErrLoginRequired)
	}
	return status, nil
}
