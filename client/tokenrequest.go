package client

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/record"
)

// Scoped returns the session of the same account and resource with less: its access tokens are asked for with these
// scopes, out of the one refresh token (RFC 6749 §6), for what need not be able to do more. What it gets changes
// nothing of the grant. The same scopes give the same *Session, which lasts as long as the account's own. Without
// scopes it is the session of the resource.
//
// A scope that the grant does not have is refused without asking the server: an *Error with the Code "invalid_scope".
func (s *Session) Scoped(scopes ...string) *Session {
	resource, _ := split(s.resource)
	return s.view(narrowed(resource, scopes))
}

// narrowed is the name under which the access token for a resource and some scopes lies in a record: no resource has a
// line feed in it.
func narrowed(resource string, scopes []string) string {
	scopes = strings.Fields(strings.Join(scopes, " "))
	if len(scopes) == 0 {
		return resource
	}
	slices.Sort(scopes)
	return resource + "\n" + strings.Join(slices.Compact(scopes), " ")
}

// split undoes narrowed; nil scopes: it is not narrowed.
func split(name string) (resource string, scopes []string) {
	resource, wanted, ok := strings.Cut(name, "\n")
	if !ok {
		return name, nil
	}
	return resource, strings.Fields(wanted)
}

// tooWide refuses to ask for more than was granted (RFC 6749 §6). Where the server did not say what that is, it decides.
func (r *renewal) tooWide(rec *record.Record) error {
	if r.client.config.Grant != nil || len(rec.Scopes) == 0 {
		return nil
	}
	_, scopes := split(r.resource)
	for _, scope := range scopes {
		if !slices.Contains(rec.Scopes, scope) {
			return &Error{
				Op: "renew", Issuer: r.client.issuer(), Session: r.key, Code: "invalid_scope",
				Err: fmt.Errorf("the grant does not have the scope %q; add it to Config.Scopes and log in again", scope),
			}
		}
	}
	return nil
}

// ask makes a token request. Any error that is about an answer, or the lack of one, is itself a *authserver.Failure.
func (r *renewal) ask(ctx context.Context, server *authserver.Client, m *authserver.Metadata, old *record.Record, check func() error) (*authserver.Answer, error) {
	answer, err := r.askOnce(ctx, server, m, old, check)
	g, ok := r.client.config.Grant.(TokenExchange)
	if !ok {
		return answer, err
	}
	if isAboutParties(err) {
		var changed bool
		if r.parties, changed = g.renew(ctx, r.key, r.parties); changed {
			answer, err = r.askOnce(ctx, server, m, old, check)
		}
	}
	if err == nil {
		err = g.check(answer)
	}
	return answer, err
}

func (r *renewal) askOnce(ctx context.Context, server *authserver.Client, m *authserver.Metadata, old *record.Record, check func() error) (*authserver.Answer, error) {
	form, err := r.form(ctx, m, old)
	if err != nil {
		return nil, err
	}
	endpoint := m.TokenEndpoint
	if r.client.config.Grant == nil {
		endpoint = r.client.profile.refreshEndpoint(m)
	}
	return server.Token(ctx, endpoint, form, check)
}

// form is the token request's: the refresh token (RFC 6749 §6) or the configured grant.
func (r *renewal) form(ctx context.Context, m *authserver.Metadata, rec *record.Record) (url.Values, error) {
	resource, scopes := split(r.resource)
	form := cloned(r.client.config.TokenParams)
	if g := r.client.config.Grant; g != nil {
		var err error
		if form, err = g.form(ctx, asking{r.client, m, r.parties}); err != nil {
			return nil, err
		}
		if scopes == nil {
			scopes = r.client.config.Scopes
		}
	} else {
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", rec.RefreshToken)
		r.client.profile.refresh(form)
	}
	scopeParam(form, scopes)
	if resource != "" {
		form.Set("resource", r.client.indicated(resource)) // RFC 8707 §2.2
	}
	return form, nil
}
