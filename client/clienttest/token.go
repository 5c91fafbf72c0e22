package clienttest

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// issue is what a token request comes to.
type issue struct {
	access  *accessToken
	refresh *refreshToken // nil: none
	nonce   string
}

// deadGrant is answered in the words of Policy.
var deadGrant = refused("invalid_grant", "the refresh token is good no more")

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request, entry *Request) {
	form, no := form(w, r)
	var answer map[string]any
	s.Change(func() {
		if s.Policy.Nonce != "" {
			w.Header().Set("DPoP-Nonce", s.Policy.Nonce)
		}
		if no == nil {
			answer, no = s.tokenLocked(r, form, entry)
		}
		entry.Processed = time.Now()
		if no != nil {
			entry.Error = no.code
		}
	})
	switch {
	case no == deadGrant:
		s.writeDead(w)
	case no != nil:
		no.write(w)
	default:
		w.Header().Set("Pragma", "no-cache")
		writeJSON(w, http.StatusOK, answer)
	}
}

// writeDead says that a refresh token is good no more, as Policy wants it.
func (s *Server) writeDead(w http.ResponseWriter) {
	var status int
	var body string
	s.Change(func() { status, body = s.Policy.DeadStatus, s.Policy.DeadBody })
	if status == 0 {
		deadGrant.write(w)
		return
	}
	if body != "" {
		w.Header().Set("Content-Type", contentType(body))
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func (s *Server) tokenLocked(r *http.Request, form url.Values, entry *Request) (map[string]any, *refusal) {
	client, no := s.authenticateLocked(r, form)
	if no != nil {
		return nil, no
	}
	entry.ClientID = client.id
	key, no := s.bindLocked(r, entry)
	if no != nil {
		return nil, no // before anything is used up (RFC 9449 section 8)
	}
	var got issue
	switch form.Get("grant_type") {
	case "authorization_code":
		got, no = s.redeemLocked(client, form, key)
	case "refresh_token":
		got, no = s.refreshLocked(client, form, key, entry)
	case "client_credentials":
		got, no = s.credentialsLocked(client, form, key)
	case "urn:ietf:params:oauth:grant-type:device_code":
		got, no = s.pollLocked(client, form, key)
	case "":
		no = refused("invalid_request", "grant_type is missing")
	default:
		no = refused("unsupported_grant_type", "no such grant_type here")
	}
	if no != nil {
		return nil, no
	}
	return s.answerLocked(got, entry), nil
}

// answerLocked makes the answer of RFC 6749 section 5.1, with an id token if the scope openid was granted.
func (s *Server) answerLocked(got issue, entry *Request) map[string]any {
	answer := map[string]any{
		"access_token": got.access.value,
		"token_type":   "Bearer",
		"expires_in":   int64(s.Policy.lifetime() / time.Second),
		"scope":        strings.Join(got.access.scopes, " "),
	}
	if got.access.key != "" {
		answer["token_type"] = "DPoP"
	}
	if len(got.access.scopes) == 0 {
		delete(answer, "scope")
	}
	if got.refresh != nil {
		answer["refresh_token"] = got.refresh.value
	}
	if got.access.family.subject != "" && slices.Contains(got.access.scopes, "openid") {
		answer["id_token"] = s.idTokenLocked(got.access.family, got.nonce)
	}
	override(answer, s.Policy.Answer)
	if got.refresh != nil && answer["refresh_token"] == got.refresh.value {
		entry.Issued = got.refresh.name
	}
	return answer
}

// code is an authorization code and the request that it answers.
type code struct {
	client    *registration
	redirect  string
	challenge string
	nonce     string
	family    *family // with the key of dpop_jkt, if that was given
	expires   time.Time
	used      bool
}

// verifierForm is that of RFC 7636 section 4.1.
var verifierForm = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

// redeemLocked answers a code (RFC 6749 section 4.1.3, RFC 7636 section 4.6). Any attempt uses it up.
func (s *Server) redeemLocked(client *registration, form url.Values, key string) (issue, *refusal) {
	c := s.codes[form.Get("code")]
	verifier := form.Get("code_verifier")
	switch {
	case form.Get("code") == "":
		return issue{}, refused("invalid_request", "code is missing")
	case c == nil || c.client != client:
		return issue{}, refused("invalid_grant", "the code is not this client's")
	case c.used:
		c.family.dead = true
		return issue{}, refused("invalid_grant", "the code was used before")
	}
	c.used = true
	sum := sha256.Sum256([]byte(verifier))
	switch {
	case !time.Now().Before(c.expires):
		return issue{}, refused("invalid_grant", "the code has expired")
	case c.redirect != form.Get("redirect_uri"):
		return issue{}, refused("invalid_grant", "redirect_uri differs from the authorization request's")
	case !verifierForm.MatchString(verifier):
		return issue{}, refused("invalid_request", "code_verifier is missing or malformed")
	case c.challenge != base64.RawURLEncoding.EncodeToString(sum[:]):
		return issue{}, refused("invalid_grant", "code_verifier does not fit the code_challenge")
	case c.family.key != "" && c.family.key != key:
		return issue{}, refused("invalid_grant", "the proof's key is not that of dpop_jkt")
	}
	c.family.key = key
	got, no := s.startLocked(c.family, form)
	got.nonce = c.nonce
	return got, no
}

// startLocked gives a new grant its first tokens.
func (s *Server) startLocked(f *family, form url.Values) (issue, *refusal) {
	resources, no := resourcesWithin(f.resources, form["resource"])
	if no != nil {
		return issue{}, no
	}
	rt := s.newRefreshLocked(f)
	return issue{access: s.newAccessLocked(f, rt, f.scopes, resources), refresh: rt}, nil
}

// refreshLocked answers a refresh token (RFC 6749 section 6, RFC 9700 section 4.14.2).
func (s *Server) refreshLocked(client *registration, form url.Values, key string, entry *Request) (issue, *refusal) {
	rt := s.refresh[form.Get("refresh_token")]
	switch {
	case form.Get("refresh_token") == "":
		return issue{}, refused("invalid_request", "refresh_token is missing")
	case rt == nil:
		entry.Token = "unknown"
		return issue{}, deadGrant
	}
	entry.Token = rt.name
	if rt.family.client != client {
		return issue{}, refused("invalid_grant", "the refresh token is another client's")
	}
	if rt.family.key != "" && rt.family.key != key {
		return issue{}, refused("invalid_grant", "the refresh token is bound to another key")
	}
	rt.family.key = key
	entry.Spent = !rt.spent.IsZero()
	entry.Reuse = entry.Spent && !s.forgivenLocked(rt)
	if entry.Reuse && !s.Policy.KeepFamily {
		rt.family.dead = true
	}
	if entry.Reuse || rt.family.dead {
		return issue{}, deadGrant
	}
	scopes, no := scopesWithin(rt.family.scopes, strings.Fields(form.Get("scope")))
	if no != nil {
		return issue{}, no
	}
	resources, no := resourcesWithin(rt.family.resources, form["resource"])
	if no != nil {
		return issue{}, no
	}
	next := s.successorLocked(rt)
	s.retireLocked(rt, next, resources)
	got := issue{access: s.newAccessLocked(rt.family, next, scopes, resources), refresh: next}
	if s.Policy.NoRefreshToken {
		got.refresh = nil
	}
	return got, nil
}

// scopesWithin returns the scopes asked for if they were granted, and all that were if none is asked for.
func scopesWithin(granted, asked []string) ([]string, *refusal) {
	if len(asked) == 0 {
		return granted, nil
	}
	if !subset(asked, granted) {
		return nil, refused("invalid_scope", "the grant does not reach that far")
	}
	return asked, nil
}

// resourcesWithin does the same for resources (RFC 8707 section 2.2). A grant for none in particular reaches all.
func resourcesWithin(granted, asked []string) ([]string, *refusal) {
	if len(asked) == 0 {
		return granted, nil
	}
	if len(granted) > 0 && !subset(asked, granted) {
		return nil, refused("invalid_target", "the grant does not reach there")
	}
	return asked, targets(asked)
}

func subset(of, all []string) bool {
	return !slices.ContainsFunc(of, func(name string) bool { return !slices.Contains(all, name) })
}

// credentialsLocked answers a client that asks for itself (RFC 6749 section 4.4). There is no refresh token.
func (s *Server) credentialsLocked(client *registration, form url.Values, key string) (issue, *refusal) {
	if client.method == "none" {
		return issue{}, refused("unauthorized_client", "a public client has no credentials")
	}
	scopes := strings.Fields(form.Get("scope"))
	if no := s.scopesExistLocked(scopes); no != nil {
		return issue{}, no
	}
	if no := targets(form["resource"]); no != nil {
		return issue{}, no
	}
	f := &family{client: client, scopes: scopes, resources: form["resource"], key: key}
	return issue{access: s.newAccessLocked(f, nil, scopes, f.resources)}, nil
}

// scopesExistLocked refuses a scope that Policy does not name.
func (s *Server) scopesExistLocked(scopes []string) *refusal {
	if s.Policy.Scopes != nil && !subset(scopes, s.Policy.Scopes) {
		return refused("invalid_scope", "there is no such scope")
	}
	return nil
}

// serveRevoke answers RFC 7009. A token of another client is not revoked.
func (s *Server) serveRevoke(w http.ResponseWriter, r *http.Request, entry *Request) {
	form, no := form(w, r)
	s.Change(func() {
		if no == nil {
			no = s.revokeLocked(r, form, entry)
		}
		entry.Processed = time.Now()
		if no != nil {
			entry.Error = no.code
		}
	})
	if no != nil {
		no.write(w)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (s *Server) revokeLocked(r *http.Request, form url.Values, entry *Request) *refusal {
	client, no := s.authenticateLocked(r, form)
	if no != nil {
		return no
	}
	entry.ClientID = client.id
	token := form.Get("token")
	if token == "" {
		return refused("invalid_request", "token is missing")
	}
	rt, at, f := s.refresh[token], s.access[token], s.familyLocked(token)
	switch {
	case f == nil:
		entry.Token = "unknown"
		return nil
	case rt != nil:
		entry.Token = rt.name
	default:
		entry.Token = at.name
	}
	switch {
	case f.client != client:
		return refused("unauthorized_client", "the token is another client's")
	case at != nil && s.Policy.RevokeAlone:
		at.revoked = true
	default:
		f.dead = true
	}
	return nil
}
