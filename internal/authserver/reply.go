package authserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// reply is an answer as it came, without its body.
type reply struct {
	status  int
	header  http.Header
	hide    scrubber
	method  Method // by which the client authenticated
	members map[string]json.RawMessage
	err     error // why there are no members; quotes nothing
	empty   bool  // there is no body
	cut     bool  // the body did not come to its end
	slow    bool  // ... because time ran out
	bound   bool  // tokens were asked for that are bound to a key
}

// readReply reads an answer: a JSON object, or a form as some servers send it.
func readReply(ctx context.Context, resp *http.Response, hide scrubber) *reply {
	r := &reply{status: resp.StatusCode, header: resp.Header, hide: hide}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		r.cut, r.slow, r.err = true, isTimeout(ctx, err), hide.error(err)
	case len(body) > maxAnswer:
		r.err = fmt.Errorf("it is longer than %d bytes", maxAnswer)
	default:
		r.read(bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff"))))
	}
	return r
}

// read finds the members in a whole body.
func (r *reply) read(body []byte) {
	switch {
	case len(body) == 0:
		r.empty, r.err = true, errors.New("it is empty")
	case body[0] == '{':
		r.members, r.err = Members(body)
	case body[0] == '<':
		r.err = errors.New("it is a page")
	default:
		r.members, r.err = formMembers(string(body))
	}
}

func (r *reply) succeeded() bool { return r.status >= 200 && r.status < 300 }

// refuses reports whether the answer has an error of any shape, which counts under every status.
func (r *reply) refuses() bool {
	switch string(r.members["error"]) {
	case "", "null", "false", `""`:
		return false
	}
	return true
}

// text is a member that is a string; "" for any other.
func (r *reply) text(name string) string {
	var s string
	if json.Unmarshal(r.members[name], &s) != nil {
		return ""
	}
	return s
}

// Members reads a JSON object of somebody else's for exactly what it says: a name in other letters is another name, and one that
// is there twice is an error (RFC 6749 §3.2): readers that take the first and readers that take the last would see different tokens.
func Members(data []byte) (map[string]json.RawMessage, error) {
	members, twice, err := readObject(data)
	if err == nil && twice {
		return nil, errors.New("it has a member twice")
	}
	return members, err
}

// readObject reads a JSON object. A member that repeats has no value, which is a value of no type; twice says that there is one.
func readObject(data []byte) (members map[string]json.RawMessage, twice bool, err error) {
	malformed := errors.New("it is not a JSON object")
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, false, malformed
	}
	members = make(map[string]json.RawMessage)
	for d.More() {
		token, err := d.Token()
		name, isName := token.(string)
		var value json.RawMessage
		if err != nil || !isName || d.Decode(&value) != nil {
			return nil, false, malformed
		}
		if _, given := members[name]; given {
			value, twice = nil, true
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, false, malformed
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, false, malformed
	}
	return members, twice, nil
}

// formMembers reads a form, as some servers answer in spite of RFC 6749 §5.1.
func formMembers(body string) (map[string]json.RawMessage, error) {
	form, err := url.ParseQuery(body)
	if err != nil || !form.Has("access_token") && !form.Has("error") {
		return nil, errors.New("it is neither JSON nor a form")
	}
	members := make(map[string]json.RawMessage, len(form))
	for name, values := range form {
		if len(values) > 1 {
			return nil, errors.New("it has a member twice")
		}
		members[name], _ = json.Marshal(values[0]) // a string always can
	}
	return members, nil
}
