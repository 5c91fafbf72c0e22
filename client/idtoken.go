package client

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/jws"
	"github.com/evergrant/evergrant/internal/record"
)

var (
	// ErrIDToken says that an id token cannot be trusted (OpenID Connect Core §3.1.3.7), or that there is none where one
	// is needed. A login that ends so has saved nothing, and its tokens were revoked unless another grant is stored.
	ErrIDToken = errors.New("the id token is not good")

	// ErrAuthentication says that the person has not authenticated as AuthCode.Params asked for by acr_values, max_age or
	// claims (OpenID Connect Core §3.1.3.7, rules 12 and 13). Nothing was saved. Ask again, with prompt=login perhaps.
	ErrAuthentication = errors.New("the person has not authenticated as was asked for")
)

const (
	// idLeeway is how far the times of an id token may be off the server's clock as it is known here.
	idLeeway = time.Minute
	// keysWithin is for how long a login tries to fetch the keys that its id token is to be checked with.
	keysWithin = 10 * time.Second
)

// idRules are what one id token is held against, beside what all are.
type idRules struct {
	clientID    string     // whom it has to be for
	nonce       string     // sent with the authorization request; empty: none was
	accessToken string     // that came with it; empty: it did not come with one
	asked       url.Values // how the person was to authenticate; see authentication
	old         *idClaims  // of the same grant, as far as known, at a refresh; nil: a login
	adopted     bool       // it may have expired since
	atHand      bool       // only keys that are in memory are asked
}

// checkLogin checks the id token that a login has brought. One that was asked for has to be there, unless the server has
// granted less; that a server names openid among the scopes unasked, as Entra ID does, promises none. Keys that cannot be had at the moment are waited for, for a while: the person is there now.
func (c *Client) checkLogin(ctx context.Context, fresh *record.Record, got *loggedIn) (idClaims, error) {
	if fresh.IDToken == "" {
		if slices.Contains(got.scopes, "openid") && slices.Contains(fresh.Scopes, "openid") {
			return idClaims{}, fmt.Errorf("%w: the server has sent none, although the scope openid was granted; remove openid from Config.Scopes if the server is no OpenID provider", ErrIDToken)
		}
		return idClaims{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, keysWithin)
	defer cancel()
	m, err := c.metadata.get(ctx, c)
	if err != nil {
		return idClaims{}, err
	}
	rules := idRules{clientID: c.clientID(fresh.Client), nonce: got.nonce, accessToken: got.answer.AccessToken.Reveal()}
	if rules.asked, err = url.ParseQuery(got.asked); err != nil {
		return idClaims{}, err
	}
	for pause := retryFirst; ; pause *= 2 {
		var claims idClaims
		whole, err := c.withKeys(ctx, m)
		if err == nil {
			claims, err = c.checkIDToken(ctx, fresh.IDToken, whole, rules)
		}
		if _, failed := errors.AsType[*keysError](err); !failed || sleep(ctx, c.jitter(pause)) != nil {
			return claims, err
		}
	}
}

// hasAdopted reports whether the store holds what fresh was adopted from.
func (s *Session) hasAdopted(ctx context.Context, fresh *record.Record) bool {
	st, err := s.load(ctx)
	return err == nil && st.record != nil && st.record.HasAdopted(fresh.Adopted)
}

// checkAdopted leaves out the id token of an adopted token if it is not good, or cannot be checked: nobody else vouches for it. Without a
// jwks_uri the program does.
func (s *Session) checkAdopted(ctx context.Context, fresh *record.Record) {
	ctx, cancel := context.WithTimeout(ctx, keysWithin)
	defer cancel()
	m, err := s.client.metadata.get(ctx, s.client)
	if err == nil {
		m, err = s.client.withKeys(ctx, m)
	}
	if err == nil {
		_, err = s.client.checkIDToken(ctx, fresh.IDToken, m, idRules{clientID: s.client.clientID(fresh.Client), old: new(idClaims), adopted: true})
	}
	if err == nil {
		return
	}
	fresh.IDToken, fresh.Subject = "", ""
	s.happened(Event{Kind: "id token refused", Reason: "the token was adopted without it", Err: s.fail("adopt", err)})
}

// prepareKeys fetches the keys that an id token of the refresh will be checked with, if there will be one. It returns m
// with their address.
func (r *renewal) prepareKeys(ctx context.Context, m *authserver.Metadata, rec *record.Record) *authserver.Metadata {
	if r.client.config.Grant != nil || rec.IDToken == "" && !slices.Contains(r.client.config.Scopes, "openid") {
		return m
	}
	ctx, cancel := context.WithTimeout(ctx, keysAhead)
	defer cancel()
	whole, err := r.client.withKeys(ctx, m)
	if r.keyless = err; err != nil {
		return m
	}
	r.client.keys.prepare(ctx, r.client, whole.KeysURI)
	return whole
}

// renewedIDToken puts the id token of a refresh into won, or the one before it, when there is no new one or it is not good: the
// tokens that came with it are used and saved all the same. Nothing is fetched for it, because between the answer and the
// save a refresh token is in memory only. The error says that the server now speaks of another person, whose access token
// won does not have then.
func (r *renewal) renewedIDToken(m *authserver.Metadata, old *record.Record, won *received, a *authserver.Answer) {
	if r.client.config.Grant != nil || a.IDToken.IsEmpty() {
		return
	}
	known := idClaims{Subject: old.Subject}
	if before, err := parseIDToken(old.IDToken); err == nil {
		known = before
	}
	claims, err := idClaims{}, r.keyless
	if err == nil {
		rules := idRules{clientID: r.client.clientID(old.Client), accessToken: a.AccessToken.Reveal(), old: &known, atHand: true}
		claims, err = r.client.checkIDToken(context.Background(), won.record.IDToken, m, rules)
	}
	if err == nil {
		won.record.Subject = claims.Subject
		return
	}
	won.record.IDToken = old.IDToken
	if errors.Is(err, ErrOtherSubject) {
		won.record.Access[r.resource].Token, won.unusable = "", err
		return
	}
	r.happened(Event{
		Kind: "id token refused", Reason: "the tokens that came with it are good; the claims stay those known before",
		Attempt: r.flight.attempts, Duration: r.lasted(), Generation: won.record.Generation, Err: r.fail("renew", err),
	})
}

// checkIDToken checks an id token as OpenID Connect Core §3.1.3.7 says, and §12.2 for one of a refresh.
func (c *Client) checkIDToken(ctx context.Context, raw string, m *authserver.Metadata, rules idRules) (idClaims, error) {
	claims, err := parseIDToken(raw)
	if err == nil {
		err = c.verify(ctx, raw, claims, m, rules)
	}
	if _, failed := errors.AsType[*keysError](err); failed {
		return claims, err
	}
	if err == nil {
		err = c.judge(raw, claims, rules)
	}
	if err != nil {
		return claims, fmt.Errorf("%w: %w", ErrIDToken, err)
	}
	return claims, c.checkAuthentication(claims, rules)
}

// verify checks signature, issuer, audience and expiry. go-oidc gets the claims that count, and has the signature of
// what was sent checked. What is wrong is told in words of our own: go-oidc's quote the token.
func (c *Client) verify(ctx context.Context, raw string, claims idClaims, m *authserver.Metadata, rules idRules) error {
	said, err := payload(raw)
	if err != nil {
		return err
	}
	parts := strings.Split(raw, ".")
	keys := &signatures{client: c, keysURI: m.KeysURI, allowed: c.algorithms(m.IDTokenAlgorithms), atHand: rules.atHand, raw: raw}
	_, err = oidc.NewVerifier(m.Issuer, keys, &oidc.Config{
		ClientID: rules.clientID, SupportedSigningAlgs: keys.allowed, SkipIssuerCheck: m.Issuer == "", SkipExpiryCheck: rules.adopted,
		// The first instant at which a token has expired counts as expired.
		Now: func() time.Time { return c.serverNow().Add(time.Nanosecond - idLeeway) },
	}).Verify(ctx, parts[0]+"."+base64.RawURLEncoding.EncodeToString(said)+"."+parts[2])
	_, expired := errors.AsType[*oidc.TokenExpiredError](err)
	switch {
	case err == nil:
		return nil
	case keys.err != nil:
		return keys.err
	case expired:
		return errors.New("it has expired; check this machine's clock")
	case m.Issuer != "" && claims.Issuer != m.Issuer:
		return fmt.Errorf("it is from another issuer than %q", m.Issuer)
	case !slices.Contains(claims.Audience, rules.clientID):
		return errors.New("it is for another client")
	}
	return fmt.Errorf("it is malformed, not valid yet, or its algorithm is none of those that this client and the server's metadata allow: %s", strings.Join(keys.allowed, ", "))
}

// judge checks what go-oidc leaves to its callers.
func (c *Client) judge(raw string, claims idClaims, rules idRules) error {
	switch azp := claims.AuthorizedParty; {
	case claims.Subject == "" || len(claims.Subject) > 255:
		return errors.New("it names no subject")
	case azp != "" && azp != rules.clientID:
		return errors.New("it was issued to another client (azp)")
	case azp == "" && len(claims.Audience) > 1:
		return errors.New("it is for others, too, and does not say that it was issued to this client (azp)")
	case claims.IssuedAt == nil || when(*claims.IssuedAt).After(c.serverNow().Add(idLeeway)):
		return errors.New("it is from the future; check this machine's clock")
	}
	if err := checkTokenHash(raw, claims, rules.accessToken); err != nil {
		return err
	}
	if rules.old != nil {
		return claims.continues(rules.old)
	}
	if !same(claims.Nonce, rules.nonce) {
		return errors.New("it answers another login: its nonce differs")
	}
	return nil
}

// continues checks an id token of a refresh against the one before it (OpenID Connect Core §12.2). Where that is not
// known, there may be a subject only.
func (claims idClaims) continues(old *idClaims) error {
	switch {
	case old.Subject != "" && claims.Subject != old.Subject:
		return fmt.Errorf("the refresh has brought somebody else's tokens: %w", ErrOtherSubject)
	case old.Issuer == "":
		return nil
	case claims.Issuer != old.Issuer:
		return errors.New("it is from another issuer than the one before")
	case claims.Nonce != "" && !same(claims.Nonce, old.Nonce):
		return errors.New("it answers another login: its nonce differs")
	}
	return nil
}

// checkTokenHash checks at_hash, where there is one, against the access token (OpenID Connect Core §3.1.3.8).
func checkTokenHash(raw string, claims idClaims, accessToken string) error {
	if claims.AccessTokenHash == "" || accessToken == "" {
		return nil
	}
	algorithm, err := jws.Algorithm(raw, slices.Concat(jws.Algorithms, hmacs))
	if err != nil {
		return err
	}
	var sum hash.Hash
	switch {
	case strings.HasSuffix(algorithm, "256"):
		sum = sha256.New()
	case strings.HasSuffix(algorithm, "384"):
		sum = sha512.New384()
	default: // also of Ed25519
		sum = sha512.New()
	}
	sum.Write([]byte(accessToken))
	half := sum.Sum(nil)[:sum.Size()/2]
	if !same(claims.AccessTokenHash, base64.RawURLEncoding.EncodeToString(half)) {
		return errors.New("it came with another access token: its at_hash differs")
	}
	return nil
}

// authentication are those parameters of an authorization request that say how the person is to authenticate, form-encoded: an
// id token has to answer to them.
func authentication(asked url.Values) string {
	kept := url.Values{}
	for _, name := range []string{"acr_values", "max_age", "claims"} {
		if asked.Has(name) {
			kept[name] = asked[name]
		}
	}
	return kept.Encode()
}

// checkAuthentication holds a login against what was asked for: acr_values and max_age, and acr and auth_time as essential
// members of claims (OpenID Connect Core §5.5.1). acr_values is a wish by the letter; who sends it wants it kept.
func (c *Client) checkAuthentication(claims idClaims, rules idRules) error {
	var wanted struct {
		IDToken map[string]*struct {
			Essential bool     `json:"essential"`
			Value     string   `json:"value"`
			Values    []string `json:"values"`
		} `json:"id_token"`
	}
	_ = json.Unmarshal([]byte(rules.asked.Get("claims")), &wanted) // the server has read it
	contexts := strings.Fields(rules.asked.Get("acr_values"))
	if acr := wanted.IDToken["acr"]; acr != nil && acr.Essential {
		if contexts = acr.Values; acr.Value != "" {
			contexts = append(contexts, acr.Value)
		}
		if claims.ACR == "" {
			return fmt.Errorf("%w: acr is missing", ErrAuthentication)
		}
	}
	if len(contexts) > 0 && (claims.ACR == "" || !slices.Contains(contexts, claims.ACR)) {
		return fmt.Errorf("%w: acr is none of those wanted", ErrAuthentication)
	}
	at := wanted.IDToken["auth_time"]
	age, err := strconv.Atoi(rules.asked.Get("max_age"))
	limited := err == nil
	switch {
	case claims.AuthTime == nil && (limited || at != nil && at.Essential):
		return fmt.Errorf("%w: auth_time is missing", ErrAuthentication)
	case limited && c.serverNow().Sub(when(*claims.AuthTime)) > time.Duration(age)*time.Second+idLeeway:
		return fmt.Errorf("%w: that was longer ago than max_age", ErrAuthentication)
	}
	return nil
}

// hmacs are the algorithms whose key is the client secret.
var hmacs = []string{"HS256", "HS384", "HS512"}

// algorithms are those that may have signed for this client: of those that the server's metadata offers, if it says so, and
// never by the token's own word alone. An HMAC is no signature where the client secret is none, or too short (OpenID Connect
// Core §10.1, §16.19).
func (c *Client) algorithms(offered []string) []string {
	able := slices.Clone(jws.Algorithms)
	for _, name := range hmacs {
		if _, err := authserver.HMAC(c.secret.Reveal(), []string{name}); err == nil {
			able = append(able, name)
		}
	}
	if len(offered) > 0 {
		able = slices.DeleteFunc(able, func(name string) bool { return !slices.Contains(offered, name) })
	}
	return able
}

// signatures is go-oidc's view of what checks the signature of a JWS.
type signatures struct {
	client  *Client
	keysURI string // empty: none is known
	allowed []string
	atHand  bool   // see idRules
	raw     string // as it was sent
	err     error  // the last one, which go-oidc does not wrap
}

var _ oidc.KeySet = (*signatures)(nil)

// VerifySignature implements oidc.KeySet, for raw. Without a jwks_uri the TLS of the token endpoint vouches for what came from there
// (OpenID Connect Core §3.1.3.7, rule 6); an HMAC is checked all the same.
func (s *signatures) VerifySignature(ctx context.Context, _ string) (claims []byte, err error) {
	defer func() { s.err = err }()
	body, err := s.verified(ctx)
	if err != nil {
		return nil, err
	}
	return exactly(body)
}

func (s *signatures) verified(ctx context.Context) (payload []byte, err error) {
	algorithm, err := jws.Algorithm(s.raw, s.allowed)
	switch {
	case err != nil:
		return nil, err
	case slices.Contains(hmacs, algorithm):
		return jws.VerifyHMAC(s.raw, s.client.secret.Reveal(), s.allowed)
	case s.keysURI == "":
		return jws.Unverified(s.raw, s.allowed)
	}
	for _, again := range []bool{false, true} {
		var keys jws.KeySet
		if s.atHand {
			keys, err = s.client.keys.atHand(s.client, s.keysURI, again)
		} else {
			keys, err = s.client.keys.get(ctx, s.client, s.keysURI, again)
		}
		if err != nil {
			return nil, err
		}
		if payload, err = keys.Verify(s.raw, s.allowed); !errors.Is(err, jws.ErrUnknownKey) {
			break
		}
	}
	return payload, err
}

// when reads a NumericDate (RFC 7519 §2).
func when(seconds float64) time.Time { return time.UnixMilli(int64(seconds * 1000)) }

// same compares without telling by its time where two differ (OpenID Connect Core §16.12).
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
