package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// grants is the storage of zitadel's examples, with access tokens that live as long as we say, refresh
// tokens for the device flow too, and a count of what happens.
type grants struct {
	*storage.Storage
	life   time.Duration
	log    func(event string)
	counts Counts
	issued map[string]issue // by the id of the access token
}

// issue is an access token as it was given out.
type issue struct {
	client  string
	expires time.Time
}

var errEnded = errors.New("the access token has ended")

func newGrants(clients map[string]*storage.Client, life time.Duration, log func(string)) *grants {
	if log == nil {
		log = func(string) {}
	}
	return &grants{
		Storage: storage.NewStorageWithClients(people{}, clients),
		life:    life, log: log, issued: make(map[string]issue),
	}
}

// CreateAccessToken implements op.Storage for grants without a refresh token.
func (g *grants) CreateAccessToken(ctx context.Context, request op.TokenRequest) (string, time.Time, error) {
	request, client := known(request)
	id, _, err := g.Storage.CreateAccessToken(ctx, request)
	if err != nil {
		return "", time.Time{}, err
	}
	g.counts.Logins++
	g.log(fmt.Sprintf("token %d, without a refresh token", g.counts.Logins))
	return id, g.issue(id, client), nil
}

// CreateAccessAndRefreshTokens implements op.Storage. A current refresh token is spent by it.
func (g *grants) CreateAccessAndRefreshTokens(ctx context.Context, request op.TokenRequest, current string) (string, string, time.Time, error) {
	request, client := known(request)
	id, refresh, _, err := g.Storage.CreateAccessAndRefreshTokens(ctx, request, current)
	if err != nil {
		return "", "", time.Time{}, err
	}
	if current == "" {
		g.counts.Logins++
		g.log(fmt.Sprintf("login %d", g.counts.Logins))
	} else {
		g.counts.Renewals++
		g.log(fmt.Sprintf("renewal %d: a refresh token is spent", g.counts.Renewals))
	}
	return id, refresh, g.issue(id, client), nil
}

// known turns a request of a grant that the storage does not know into one that it does, so that it
// remembers the client.
func known(request op.TokenRequest) (op.TokenRequest, string) {
	switch r := request.(type) {
	case *op.DeviceAuthorizationState:
		return &storage.AuthRequest{ApplicationID: r.ClientID, UserID: r.Subject, Scopes: r.Scopes}, r.ClientID
	case *oidc.JWTTokenRequest:
		return &storage.AuthRequest{ApplicationID: r.Subject, UserID: r.Subject, Scopes: r.Scopes}, r.Subject
	case interface{ GetClientID() string }:
		return request, r.GetClientID()
	}
	return request, ""
}

// issue notes an access token and says when it ends. The answer's expires_in is in whole seconds, rounded
// down: half a second on top keeps it at life.
func (g *grants) issue(id, client string) time.Time {
	expires := time.Now().Add(g.life + time.Second/2)
	g.issued[id] = issue{client, expires}
	return expires
}

// revokeAll ends every access token.
func (g *grants) revokeAll() { clear(g.issued) }

// live returns an access token that has not ended.
func (g *grants) live(id string) (issue, error) {
	token, ok := g.issued[id]
	if !ok || time.Now().After(token.expires) {
		delete(g.issued, id)
		return issue{}, errEnded
	}
	return token, nil
}

// SetUserinfoFromToken implements op.Storage: the userinfo endpoint.
func (g *grants) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, id, subject, origin string) error {
	if _, err := g.live(id); err != nil {
		return err
	}
	return g.Storage.SetUserinfoFromToken(ctx, info, id, subject, origin)
}

// SetIntrospectionFromToken implements op.Storage: the introspection endpoint. Our API is a resource
// server for every client.
func (g *grants) SetIntrospectionFromToken(ctx context.Context, answer *oidc.IntrospectionResponse, id, subject, _ string) error {
	token, err := g.live(id)
	if err != nil {
		return err
	}
	return g.Storage.SetIntrospectionFromToken(ctx, answer, id, subject, token.client)
}

// TokenRequestByRefreshToken implements op.Storage.
func (g *grants) TokenRequestByRefreshToken(ctx context.Context, token string) (op.RefreshTokenRequest, error) {
	request, err := g.Storage.TokenRequestByRefreshToken(ctx, token)
	if err != nil {
		g.counts.Refused++
		g.log("a refresh token is refused")
	}
	return request, err
}

// GetClientByClientID implements op.Storage.
func (g *grants) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := g.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return registration{c}, nil
}

// registration is a client that may use every flow in which a person takes part.
type registration struct{ op.Client }

// GrantTypes implements op.Client.
func (registration) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken, oidc.GrantTypeDeviceCode}
}
