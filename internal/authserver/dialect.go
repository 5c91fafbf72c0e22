package authserver

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Dialect is how a server differs from the RFCs. The zero Dialect does not differ; every field that is zero means what
// the RFCs say. It is immutable. Its requests are made by Client.authenticate and newPost, its answers read by translate.
type Dialect struct {
	IDParam          string            // the name of client_id
	RequestSeparator string            // between the scopes of a request, for a space
	RawBasic         bool              // client_secret_basic without form-encoding
	AssertionType    string            // typ of the client's assertions; "": that of the update of RFC 7523
	JSON             bool              // parameters go as a JSON object
	Header           map[string]string // of requests; replaces Accept and User-Agent, never Authorization

	RevokeByBearer bool // a token is revoked by a POST that carries it as its Authorization

	// RefreshGrant is another grant_type that refreshes: what Errors says for refreshes holds for it too.
	RefreshGrant string

	// Of answers. A path is names and indexes with dots between them.

	Unwrap      []string          // objects that stand for the answer: the first with an access token; "" is the answer itself
	Members     map[string]string // where a member lies, by the RFC's name
	SuccessPath string            // what lies here is SuccessText in a good answer, and anything else in a refusal
	SuccessText string
	Errors      map[string]string // the RFC's code for the server's; "code@refresh" for refreshes only

	ScopeSeparator  string   // beside spaces
	BearerTypes     []string // other names of Bearer
	LifetimeUnit    string   // one of the units; else seconds
	DefaultLifetime time.Duration
}

// How a server writes a lifetime.
const (
	UnitMilliseconds = "milliseconds"
	UnitUnixTime     = "unix time"
	UnitISOTime      = "ISO time"
)

// encode writes a form as the server reads it, and says what that is.
func (d *Dialect) encode(form url.Values) (body, contentType string) {
	if !d.JSON {
		return form.Encode(), "application/x-www-form-urlencoded"
	}
	object := make(map[string]any, len(form))
	for name, values := range form {
		object[name] = values
		if len(values) == 1 {
			object[name] = values[0]
		}
	}
	text, _ := json.Marshal(object) // strings always can
	return string(text), "application/json"
}

// translate rewrites the members of r as the RFCs have them, so that whoever reads them need not know the server. form
// is what was asked.
func (d *Dialect) translate(r *reply, form url.Values) {
	if r.members == nil {
		return
	}
	grant := form.Get("grant_type")
	success := Scalar(at(r.members, d.SuccessPath))
	d.unwrap(r.members)
	d.rename(r.members)
	if d.SuccessPath != "" && success == d.SuccessText {
		delete(r.members, "error")
	} else if d.SuccessPath != "" && success != "" && Scalar(r.members["error"]) == "" {
		r.members["error"] = quoted("unsuccessful")
	}
	d.canonical(r.members, grant == "refresh_token" || grant != "" && grant == d.RefreshGrant)
	d.convert(r)
}

// unwrap puts the members of the object that holds the tokens beside those of the answer, and takes the object away: whatever is
// left in it would be shown to programs, a refresh token too.
func (d *Dialect) unwrap(members map[string]json.RawMessage) {
	for _, path := range d.Unwrap {
		if path == "" && Scalar(members["access_token"]) != "" {
			return
		}
		inner, err := Members(at(members, path))
		if err != nil || Scalar(inner["access_token"]) == "" && Scalar(inner[d.Members["access_token"]]) == "" {
			continue
		}
		cut(members, path)
		maps.Copy(members, inner)
		return
	}
}

// read are the members that keep their place although another is read from there.
var read = []string{"access_token", "refresh_token", "id_token", "token_type", "expires_in", "scope", "error", "error_description"}

// rename moves the members to where the RFCs have them. A code of the RFCs that stands there already is not replaced.
func (d *Dialect) rename(members map[string]json.RawMessage) {
	found := make(map[string]json.RawMessage, len(d.Members))
	for name, path := range d.Members {
		value := at(members, path)
		isError := name == "error" || name == "error_description"
		if said := Scalar(value); said == "" && (isError || len(value) == 0 || value[0] != '[') {
			continue
		} else if isError {
			value = quoted(said) // it may be a number
		}
		found[name] = value
	}
	if slices.Contains(registered, Scalar(members["error"])) {
		delete(found, "error")
	}
	for name := range found {
		if path := d.Members[name]; !slices.Contains(read, path) {
			cut(members, path)
		}
	}
	maps.Copy(members, found)
}

// canonical puts the RFC's code in the place of the server's, which stays in the description.
func (d *Dialect) canonical(members map[string]json.RawMessage, refreshing bool) {
	said := Scalar(members["error"])
	if said == "" {
		return
	}
	code := d.Errors[said]
	if special := d.Errors[said+"@refresh"]; special != "" && refreshing {
		code = special
	}
	if code == "" || code == said {
		return
	}
	description := said
	if more := Scalar(members["error_description"]); more != "" && more != said {
		description += ": " + more
	}
	members["error"], members["error_description"] = quoted(code), quoted(description)
}

// convert writes types, lifetimes and scopes as the RFCs do. What is no token answer, such as a device's, has other lifetimes.
func (d *Dialect) convert(r *reply) {
	if Scalar(r.members["access_token"]) == "" {
		return
	}
	kind := r.text("token_type")
	if slices.ContainsFunc(d.BearerTypes, func(other string) bool { return strings.EqualFold(kind, other) }) {
		r.members["token_type"] = quoted("Bearer")
	}
	if life, ok := d.lifetime(Scalar(r.members["expires_in"]), r); ok {
		// One that is over is the shortest there is: by 0 some servers mean "never".
		r.members["expires_in"] = strconv.AppendFloat(nil, max(life, time.Millisecond).Seconds(), 'f', -1, 64)
	}
	if list, given := scopes(r.members["scope"]); given && d.ScopeSeparator != "" {
		list = strings.FieldsFunc(strings.Join(list, " "), func(c rune) bool { return c == ' ' || strings.ContainsRune(d.ScopeSeparator, c) })
		r.members["scope"], _ = json.Marshal(list)
	}
}

// lifetime is what expires_in says, if that is not what the RFCs would read there.
func (d *Dialect) lifetime(said string, r *reply) (_ time.Duration, ok bool) {
	n, err := strconv.ParseFloat(said, 64)
	switch {
	case said == "" || err == nil && n == 0:
		return d.DefaultLifetime, d.DefaultLifetime > 0
	case d.LifetimeUnit == UnitMilliseconds && err == nil:
		life := seconds(json.RawMessage(strconv.FormatFloat(n/1000, 'f', -1, 64)))
		return life, life > 0
	case d.LifetimeUnit == UnitUnixTime && err == nil:
		end := instant(json.RawMessage(said))
		return end.Sub(r.now()), !end.IsZero()
	case d.LifetimeUnit == UnitISOTime:
		end, err := time.Parse(time.RFC3339, said)
		return end.Sub(r.now()), err == nil
	}
	return 0, false
}

// now is the server's time of the answer.
func (r *reply) now() time.Time {
	if at := date(r.header); !at.IsZero() {
		return at
	}
	return time.Now()
}

// At is the value at a path of a JSON document; nil if there is none.
func At(document json.RawMessage, path string) json.RawMessage {
	for name := range strings.SplitSeq(path, ".") {
		var members map[string]json.RawMessage
		var list []json.RawMessage
		if json.Unmarshal(document, &members) == nil {
			document = members[name]
			continue
		}
		i, err := strconv.Atoi(name)
		if json.Unmarshal(document, &list) != nil || err != nil || i < 0 || i >= len(list) {
			return nil
		}
		document = list[i]
	}
	return document
}

// Scalar is a JSON string as it is, or the text of a number or a truth value; "" for anything else.
func Scalar(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	if len(raw) == 0 || raw[0] == '{' || raw[0] == '[' {
		return ""
	}
	return string(raw)
}

// at is At of an answer's members.
func at(members map[string]json.RawMessage, path string) json.RawMessage {
	name, rest, nested := strings.Cut(path, ".")
	if !nested {
		return members[name]
	}
	return At(members[name], rest)
}

// cut takes away what lies at a path, through objects only.
func cut(members map[string]json.RawMessage, path string) {
	name, rest, nested := strings.Cut(path, ".")
	if !nested {
		delete(members, name)
		return
	}
	inner, err := Members(members[name])
	if err != nil {
		return
	}
	cut(inner, rest)
	members[name], _ = json.Marshal(inner)
}

func quoted(text string) json.RawMessage {
	raw, _ := json.Marshal(text) // a string always can
	return raw
}
