package zitadelop

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// shortLived is the example's storage with a shorter life for access tokens, which is fixed there, and with a lock where
// the example reads without its own what others write.
type shortLived struct {
	*storage.Storage
	life time.Duration

	mu   sync.Mutex           // guards ends, and the refresh tokens of Storage
	ends map[string]time.Time // by access token id
	keys map[string]any       // public keys by who signs with them and key id
}

// GetKeyByIDAndClientID finds the key of a JWT bearer grant.
func (s *shortLived) GetKeyByIDAndClientID(_ context.Context, keyID, issuer string) (*jose.JSONWebKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, ok := s.keys[issuer+"/"+keyID]
	if !ok {
		return nil, errors.New("no such key")
	}
	return &jose.JSONWebKey{KeyID: keyID, Use: "sig", Key: key}, nil
}

// GetClientByClientID has the client Keyed authenticate as it should: the example has no such client.
func (s *shortLived) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	client, err := s.Storage.GetClientByClientID(ctx, id)
	if err == nil && id == Keyed {
		client = keyed{client}
	}
	return client, err
}

type keyed struct{ op.Client }

func (keyed) AuthMethod() oidc.AuthMethod { return oidc.AuthMethodPrivateKeyJWT }

func (s *shortLived) shorten(id string) time.Time {
	end := time.Now().Add(s.life)
	s.ends[id] = end
	return end
}

func (s *shortLived) CreateAccessToken(ctx context.Context, r op.TokenRequest) (string, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, _, err := s.Storage.CreateAccessToken(ctx, r)
	return id, s.shorten(id), err
}

func (s *shortLived) CreateAccessAndRefreshTokens(ctx context.Context, r op.TokenRequest, current string) (string, string, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, refresh, _, err := s.Storage.CreateAccessAndRefreshTokens(ctx, r, current)
	return id, refresh, s.shorten(id), err
}

// TokenRequestByRefreshToken gives each request a refresh token of its own: the stored one is written to in place.
func (s *shortLived) TokenRequestByRefreshToken(ctx context.Context, token string) (op.RefreshTokenRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.Storage.TokenRequestByRefreshToken(ctx, token)
	if err != nil {
		return nil, err
	}
	own := *r.(*storage.RefreshTokenRequest).RefreshToken
	return storage.RefreshTokenRequestFromBusiness(&own), nil
}

func (s *shortLived) GetRefreshTokenInfo(ctx context.Context, clientID, token string) (string, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Storage.GetRefreshTokenInfo(ctx, clientID, token)
}

func (s *shortLived) RevokeToken(ctx context.Context, token, userID, clientID string) *oidc.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Storage.RevokeToken(ctx, token, userID, clientID)
}

func (s *shortLived) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, id, subject, origin string) error {
	if s.ended(id) {
		return errors.New("the token has expired")
	}
	return s.Storage.SetUserinfoFromToken(ctx, info, id, subject, origin)
}

func (s *shortLived) SetIntrospectionFromToken(ctx context.Context, info *oidc.IntrospectionResponse, id, subject, clientID string) error {
	if s.ended(id) {
		return errors.New("the token has expired")
	}
	return s.Storage.SetIntrospectionFromToken(ctx, info, id, subject, clientID)
}

func (s *shortLived) ended(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !time.Now().Before(s.ends[id])
}
