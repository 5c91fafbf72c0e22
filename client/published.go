package client

import (
	"cmp"
	"encoding/json"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/dpop"
	"github.com/evergrant/evergrant/internal/machine"
	"github.com/evergrant/evergrant/internal/record"
)

// published is a token as requests get it. It is immutable once published, but for ahead.
type published struct {
	token      oauth2.Token // holds no refresh token
	grant      string
	generation uint64
	key        *dpop.Key     // that the token is bound to; nil: it is a Bearer token
	born       time.Duration // when this process got it, on the monotonic clock

	stale, unusable moment

	// ahead is when the next renewal in the background may start, on the monotonic clock. Whoever
	// moves it starts that renewal.
	ahead atomic.Int64
}

// moment is an instant on both clocks; it has come when either says so. The wall clock notices a
// laptop's sleep, the monotonic one a wall clock that was set back. The zero moment never comes.
type moment struct {
	wall int64 // UnixNano
	mono time.Duration
}

func (m moment) isZero() bool { return m == moment{} }

func (m moment) hasCome(now machine.Reading) bool {
	return !m.isZero() && (now.Wall.UnixNano() >= m.wall || now.Mono >= m.mono)
}

// at makes the moment of a local wall-clock time.
func at(local time.Time, now machine.Reading) moment {
	return moment{local.UnixNano(), now.Mono + local.Sub(now.Wall)}
}

// Margins: a token is renewed ahead of its end by a quarter of its life, at most aheadMost, and not
// used in the last twentieth of it, at most unusableMost. Fractions, so that a token of one second
// works like one of a year.
const (
	aheadMost    = 5 * time.Minute
	unusableMost = 10 * time.Second
)

// publish makes the form that requests get of the access token for resource in r; nil when it holds none, or one that
// is not to be used: of another certificate, not bound to a key although it has to be, or to one that is not at hand.
func (c *Client) publish(r *record.Record, resource string) *published {
	access := r.Access[resource]
	if access == nil || access.Token == "" {
		return nil
	}
	if c.protected != nil && (r.Client == nil || r.Client.Issuer != c.issuer()) {
		return nil // of a server that guards the resource no more
	}
	if bound := access.Certificate; bound != "" && c.thumbprint != "" && bound != c.thumbprint {
		return nil // of a certificate that was replaced (RFC 8705 §6.3)
	}
	var key *dpop.Key
	if isBound(access.Type) {
		key, _ = c.keyOf(r.DPoP, nil)
	}
	if key == nil && (isBound(access.Type) || c.proofs.wanted) {
		return nil
	}
	now := c.machine.Now()
	p := &published{grant: r.Grant, generation: cmp.Or(access.Generation, r.Generation), key: key, born: now.Mono}
	p.token = oauth2.Token{AccessToken: access.Token, TokenType: access.Type}
	if !access.Expiry.IsZero() {
		expiry, life := c.localTime(access.Expiry), max(access.Expiry.Sub(access.Issued), 0)
		p.token.Expiry = expiry
		p.unusable = at(expiry.Add(-min(life/20, unusableMost)), now)
		margin := min(life/4, c.profile.ahead())
		p.stale = at(expiry.Add(-margin-machine.UpTo(c.machine, margin/10)), now)
	}
	if !access.RefreshAt.IsZero() {
		p.stale = at(c.localTime(access.RefreshAt), now)
	}
	p.token = *p.token.WithExtra(c.extra(r, access))
	return p
}

// renewable is a name that oauth2.Token.Extra answers for tokens whose refresh token stays with the session: it tells Adopt
// that a token is not all there is of a grant. No server can send it: the empty name is cut out.
const renewable = ""

// extra is what oauth2.Token.Extra answers: what the server sent beside the tokens, and renewable.
func (c *Client) extra(r *record.Record, access *record.Access) map[string]any {
	scopes := r.Scopes
	if access.Scopes != nil {
		scopes = access.Scopes
	}
	plain := plainExtra{strings.Join(scopes, " "), r.RefreshToken != ""}
	if len(r.Extra) == 0 && len(access.Extra) == 0 && r.IDToken == "" {
		return c.shared(plain)
	}
	all := make(map[string]any, len(r.Extra)+len(access.Extra)+3)
	for _, said := range []map[string]json.RawMessage{r.Extra, access.Extra} {
		for name, raw := range said {
			var value any
			if json.Unmarshal(raw, &value) == nil {
				all[name] = value
			}
		}
	}
	if r.IDToken != "" {
		all["id_token"] = r.IDToken
	}
	delete(all, renewable)
	plain.addTo(all)
	return all
}

// plainExtra is what most tokens come with.
type plainExtra struct {
	scope     string
	renewable bool
}

func (p plainExtra) addTo(all map[string]any) {
	if p.scope != "" {
		all["scope"] = p.scope
	}
	if p.renewable {
		all[renewable] = true
	}
}

// sharedExtra is a plainExtra as a map, which takes more memory than the rest of a token. It is never changed.
type sharedExtra struct {
	plainExtra
	all map[string]any
}

// shared gives the map of p, which is mostly the same as that of the token before, whosever that was.
func (c *Client) shared(p plainExtra) map[string]any {
	if p == (plainExtra{}) {
		return nil
	}
	last := c.lastExtra.Load()
	if last == nil || last.plainExtra != p {
		last = &sharedExtra{p, make(map[string]any, 2)}
		p.addTo(last.all)
		c.lastExtra.Store(last)
	}
	return last.all
}

// replaces reports whether p is a newer state than old: another grant, or a higher generation.
func (p *published) replaces(old *published) bool {
	return old == nil || p.grant != old.grant || p.generation > old.generation
}
