// Package record is the form in which a grant lies in a store: versioned JSON. Members that this
// version of the program does not know survive a round trip, at every level; a record of a newer
// format is refused, so that an older program never overwrites what it does not understand.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// format is the newest record format that this package reads, and the one it writes.
const format = 1

// Record is one grant and who is renewing it. A Record in use by several goroutines is not changed:
// writers change a Clone.
type Record struct {
	// Grant is a random id, new at every login.
	Grant string `json:"grant"`
	// Generation is the number of the lease under which the tokens were received. Within a grant the
	// higher one wins.
	Generation uint64 `json:"generation"`
	// Leases is the number of the newest lease. It only grows.
	Leases uint64 `json:"leases"`
	// Lease is the right to spend the refresh token; nil when nobody holds it.
	Lease *Lease `json:"lease,omitempty"`
	// Mark says that the server has refused the tokens of this generation.
	Mark *Mark `json:"mark,omitempty"`
	// Unanswered says since when the refresh token may have been spent: by a renewal whose answer was lost, or
	// died with its process. Zero: it was not. A server's answer to another presentation may be the first one's.
	Unanswered time.Time `json:"unanswered,omitzero"`
	// Machine is a fingerprint of the machine on which the tokens were received; empty: it has none. It changes nothing but
	// the words in which a refusal is told.
	Machine string `json:"machine,omitempty"`

	RefreshToken string                     `json:"refresh_token,omitempty"`
	Access       map[string]*Access         `json:"access,omitempty"` // by resource; "" when none was named
	IDToken      string                     `json:"id_token,omitempty"`
	Subject      string                     `json:"sub,omitempty"`
	Scopes       []string                   `json:"scopes,omitempty"`
	Extra        map[string]json.RawMessage `json:"extra,omitempty"`   // what else the server sent where no resource was named
	Adopted      string                     `json:"adopted,omitempty"` // SHA-256 of the tokens that Adopt was given: the newest first, spaces between
	// DPoP is the key that the tokens are bound to (RFC 9449); nil: they are Bearer tokens. It is not changed, only replaced.
	DPoP *Binding `json:"dpop,omitempty"`
	// Client is who the grant was given to, and where; nil: to the client of the Config at its issuer. It is not changed,
	// only replaced.
	Client *Client `json:"client,omitempty"`

	unknown unknown
}

// Access is one access token. Its times are wall-clock times as the server counts them.
type Access struct {
	Token     string    `json:"token"`
	Type      string    `json:"type"`
	Issued    time.Time `json:"issued"`
	Expiry    time.Time `json:"expiry,omitzero"`     // zero: the server did not say
	RefreshAt time.Time `json:"refresh_at,omitzero"` // zero: the server did not say
	// Generation is the record's when the token was received; 0: in a record that knows one resource only.
	Generation uint64   `json:"generation,omitempty"`
	Scopes     []string `json:"scopes,omitempty"` // those of this resource's token, where the server said so
	// Certificate names the client certificate with which the token was asked for (x5t#S256, RFC 8705 §3.1). Empty: none.
	Certificate string `json:"x5t#S256,omitempty"`
	// Extra is what else the server sent with the token of a named resource.
	Extra map[string]json.RawMessage `json:"extra,omitempty"`

	unknown unknown
}

// IsGood reports whether there is a token that has not ended at a time of the server's.
func (a *Access) IsGood(at time.Time) bool {
	return a != nil && a.Token != "" && (a.Expiry.IsZero() || a.Expiry.After(at))
}

// Binding is a key that tokens are bound to.
type Binding struct {
	Thumbprint string          `json:"jkt"`           // of the public key (RFC 7638)
	Key        json.RawMessage `json:"jwk,omitempty"` // the private key (RFC 7517); nil: the program has it
	// Bound says that the server has bound tokens to it; until then the grant can do without.
	Bound bool `json:"bound,omitempty"`

	unknown unknown
}

// Client is an OAuth client as one authorization server knows it. What it holds is sent to no other.
type Client struct {
	Issuer string `json:"issuer"`
	ID     string `json:"client_id"`
	// Registered says that Evergrant has registered it (RFC 7591); what follows is of the registration.
	Registered bool      `json:"registered,omitempty"`
	Secret     string    `json:"client_secret,omitempty"`
	Expiry     time.Time `json:"client_secret_expires_at,omitzero"`    // of the secret, as the server counts; zero: never
	Method     string    `json:"token_endpoint_auth_method,omitempty"` // empty: as the Config says
	Token      string    `json:"registration_access_token,omitempty"`  // RFC 7592
	URI        string    `json:"registration_client_uri,omitempty"`    // RFC 7592; empty: the registration cannot be managed

	unknown unknown
}

// Lease is the right to spend the refresh token of a record, for a while.
type Lease struct {
	Owner   string        `json:"owner"`            // one Client in one process
	Attempt string        `json:"attempt"`          // one renewal of that Client
	Beat    uint64        `json:"beat,omitempty"`   // grows when the lease is extended
	Length  time.Duration `json:"length_ns"`        // dead when unchanged for so long
	Living  bool          `json:"living,omitempty"` // the holder keeps a liveness lock named after Attempt
	Since   time.Time     `json:"since,omitzero"`   // when it was taken, by the server's clock

	unknown unknown
}

// CopyOwner is the Owner of a lease under which tokenstore.Copy moves a grant.
const CopyOwner = "copy"

// Mark remembers a refusal by the server.
type Mark struct {
	Verdict     Verdict   `json:"verdict"`
	Code        string    `json:"code,omitempty"` // RFC 6749 §5.2, as the server sent it
	Description string    `json:"description,omitempty"`
	Cause       string    `json:"cause,omitempty"` // in Evergrant's words
	At          time.Time `json:"at"`

	unknown unknown
}

// Verdict is how sure a refusal is.
type Verdict string

const (
	// Doubted: refused once in unclear words; to be asked once more, later.
	Doubted Verdict = "doubted"
	// Presumed: refused twice in unclear words. Holds for a while.
	Presumed Verdict = "presumed"
	// Dead: the server said invalid_grant.
	Dead Verdict = "dead"
)

// ErrNewer says that a record was written by a newer program.
var ErrNewer = errors.New("the stored grant was written by a newer version of this program; upgrade this one, or log in under another key")

// Clone returns a copy that can be changed without changing r.
func (r *Record) Clone() *Record {
	c := *r
	if r.Lease != nil {
		lease := *r.Lease
		c.Lease = &lease
	}
	c.Access = maps.Clone(r.Access)
	c.Scopes = slices.Clone(r.Scopes)
	c.Extra = maps.Clone(r.Extra)
	return &c
}

// keepAdopted is how many adopted tokens a record keeps in mind.
const keepAdopted = 8

// HasAdopted reports whether r keeps the token of that fingerprint in mind.
func (r *Record) HasAdopted(fingerprint string) bool {
	return slices.Contains(strings.Fields(r.Adopted), fingerprint)
}

// AdoptedWith is the Adopted of a grant that takes the place of r: with the fingerprint of another token, if there is one.
func (r *Record) AdoptedWith(fingerprint string) string {
	all := strings.Fields(fingerprint + " " + r.Adopted)
	return strings.Join(all[:min(len(all), keepAdopted)], " ")
}

// WithLease returns a copy of r under the next lease. The holder of a lease that was not given back may have
// spent the refresh token.
func (r *Record) WithLease(l Lease) *Record {
	c := r.Clone()
	c.Leases++
	if c.Lease != nil && c.Unanswered.IsZero() {
		c.Unanswered = c.Lease.Since
	}
	c.Lease = &l
	return c
}

// errNoGrant says that what is stored is JSON, and something else.
var errNoGrant = errors.New("the stored value is not a grant; delete it or use another key")

// Decode reads what Encode wrote. Its errors never show the content.
func Decode(data []byte) (*Record, error) {
	r := new(Record)
	err := r.UnmarshalJSON(data)
	switch {
	case err == nil:
		return r, nil
	case err == errNoGrant:
		return nil, err
	case err == ErrNewer || isNewer(data):
		return nil, ErrNewer
	}
	return nil, damaged(err)
}

// isNewer reports whether data, which does not fit this format, is of a later one.
func isNewer(data []byte) bool {
	var head struct {
		Format int `json:"evergrant"`
	}
	return json.Unmarshal(data, &head) == nil && head.Format > format
}

// damaged describes a decoding error by its place alone: its own text may quote the content.
func damaged(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("the stored grant is damaged at byte %d; restore it, or delete it from the store and log in again", syntax.Offset)
	}
	return errors.New("the stored grant is damaged; restore it, or delete it from the store and log in again")
}

// Encode writes r as JSON.
func (r *Record) Encode() ([]byte, error) { return json.Marshal(r) }

// Format implements fmt.Formatter: a record shows no token under any verb.
func (r *Record) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "record(generation %d, lease %d)", r.Generation, r.Leases)
}

// Format implements fmt.Formatter: a client shows neither its secret nor its token under any verb.
func (c *Client) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "client(%q at %q)", c.ID, c.Issuer) }

// LogValue implements slog.LogValuer.
func (c *Client) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// LogValue implements slog.LogValuer.
func (r *Record) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }
