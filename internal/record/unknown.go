package record

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// unknown holds the members of a JSON object that this version does not know.
type unknown map[string]json.RawMessage

// The aliases have the fields of their types without the methods, so that encoding/json does not call
// back into them.
type (
	recordFields Record
	accessFields Access
	leaseFields  Lease
	markFields   Mark
	keyFields    Binding
	clientFields Client
)

// versioned adds the format to the record's own members.
type versioned struct {
	Format int `json:"evergrant"`
	*recordFields
}

// MarshalJSON implements json.Marshaler.
func (r *Record) MarshalJSON() ([]byte, error) {
	return join(versioned{format, (*recordFields)(r)}, r.unknown)
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Record) UnmarshalJSON(data []byte) (err error) {
	v := versioned{recordFields: (*recordFields)(r)}
	if r.unknown, err = split(data, &v); err == nil && v.Format > format {
		return ErrNewer
	}
	maps.DeleteFunc(r.Access, func(_ string, a *Access) bool { return a == nil }) // a null says nothing
	if err == nil && (v.Format < 1 || r.Grant == "") {
		return errNoGrant
	}
	return err
}

// MarshalJSON implements json.Marshaler.
func (a *Access) MarshalJSON() ([]byte, error) { return join((*accessFields)(a), a.unknown) }

// UnmarshalJSON implements json.Unmarshaler.
func (a *Access) UnmarshalJSON(data []byte) (err error) {
	a.unknown, err = split(data, (*accessFields)(a))
	return err
}

// MarshalJSON implements json.Marshaler.
func (l *Lease) MarshalJSON() ([]byte, error) { return join((*leaseFields)(l), l.unknown) }

// UnmarshalJSON implements json.Unmarshaler.
func (l *Lease) UnmarshalJSON(data []byte) (err error) {
	l.unknown, err = split(data, (*leaseFields)(l))
	return err
}

// MarshalJSON implements json.Marshaler.
func (m *Mark) MarshalJSON() ([]byte, error) { return join((*markFields)(m), m.unknown) }

// UnmarshalJSON implements json.Unmarshaler.
func (m *Mark) UnmarshalJSON(data []byte) (err error) {
	m.unknown, err = split(data, (*markFields)(m))
	return err
}

// MarshalJSON implements json.Marshaler.
func (b *Binding) MarshalJSON() ([]byte, error) { return join((*keyFields)(b), b.unknown) }

// UnmarshalJSON implements json.Unmarshaler.
func (b *Binding) UnmarshalJSON(data []byte) (err error) {
	b.unknown, err = split(data, (*keyFields)(b))
	return err
}

// MarshalJSON implements json.Marshaler.
func (c *Client) MarshalJSON() ([]byte, error) { return join((*clientFields)(c), c.unknown) }

// UnmarshalJSON implements json.Unmarshaler.
func (c *Client) UnmarshalJSON(data []byte) (err error) {
	c.unknown, err = split(data, (*clientFields)(c))
	return err
}

// split decodes data into fields, a pointer to a struct, and returns the members that have no field. A name in another case
// has one, as encoding/json sees it: kept as unknown, it would later be read over the field.
func split(data []byte, fields any) (unknown, error) {
	if err := json.Unmarshal(data, fields); err != nil {
		return nil, err
	}
	var rest unknown
	if err := json.Unmarshal(data, &rest); err != nil {
		return nil, err
	}
	known := namesOf(reflect.TypeOf(fields).Elem())
	maps.DeleteFunc(rest, func(member string, _ json.RawMessage) bool {
		return slices.Contains(known, member) || slices.ContainsFunc(known, func(name string) bool { return strings.EqualFold(member, name) })
	})
	if len(rest) == 0 {
		return nil, nil
	}
	return rest, nil
}

var names sync.Map // of members, by the struct's reflect.Type: a slice

// namesOf lists the members that a struct has fields for. It is asked at every load.
func namesOf(fields reflect.Type) []string {
	if known, ok := names.Load(fields); ok {
		return known.([]string)
	}
	var known []string
	for _, field := range reflect.VisibleFields(fields) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		known = append(known, name)
	}
	names.Store(fields, known)
	return known
}

// join encodes fields, a struct, together with the members it does not know.
func join(fields any, rest unknown) ([]byte, error) {
	data, err := json.Marshal(fields)
	if err != nil || len(rest) == 0 {
		return data, err
	}
	var all unknown
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	known := maps.Clone(all)
	maps.Copy(all, rest)
	maps.Copy(all, known)
	return json.Marshal(all)
}
