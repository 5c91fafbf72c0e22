package authserver

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"time"
)

// Metadata is the part of an authorization server's metadata that is used (RFC 8414 §2). What the
// server does not say is empty.
type Metadata struct {
	Issuer                      string   `json:"issuer"`
	AuthorizationEndpoint       string   `json:"authorization_endpoint"`
	TokenEndpoint               string   `json:"token_endpoint"`
	DeviceAuthorizationEndpoint string   `json:"device_authorization_endpoint"`
	RevocationEndpoint          string   `json:"revocation_endpoint"`
	TokenEndpointAuthMethods    []string `json:"token_endpoint_auth_methods_supported"`
	TokenEndpointAuthAlgorithms []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthMethods       []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgorithms    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionEndpoint       string   `json:"introspection_endpoint"`
	IntrospectionAuthMethods    []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAuthAlgorithms []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	CodeChallengeMethods        []string `json:"code_challenge_methods_supported"`
	DPoPSigningAlgs             []string `json:"dpop_signing_alg_values_supported"`
	AuthorizationResponseIss    bool     `json:"authorization_response_iss_parameter_supported"`
	PushEndpoint                string   `json:"pushed_authorization_request_endpoint"`
	PushRequired                bool     `json:"require_pushed_authorization_requests"`
	RegistrationEndpoint        string   `json:"registration_endpoint"`
	ClientIDDocuments           bool     `json:"client_id_metadata_document_supported"`
	Scopes                      []string `json:"scopes_supported"`

	OpenID

	// MTLS are the endpoints to be used with a client certificate (RFC 8705 §5).
	MTLS Aliases `json:"mtls_endpoint_aliases"`

	// Life is how long the document holds, by its Cache-Control and within bounds.
	Life time.Duration `json:"-"`

	// OfOpenID says that the document is the one of OpenID Connect Discovery.
	OfOpenID bool `json:"-"`

	// unusable says of the members that are empty, although they are given, why; those of MTLS are "mtls_endpoint_aliases.…".
	unusable map[string]error
}

// Aliases are the addresses of endpoints where they take a client certificate (RFC 8705 §5); empty: as elsewhere.
type Aliases struct {
	TokenEndpoint               string `json:"token_endpoint"`
	DeviceAuthorizationEndpoint string `json:"device_authorization_endpoint"`
	RevocationEndpoint          string `json:"revocation_endpoint"`
	IntrospectionEndpoint       string `json:"introspection_endpoint"`
	PushEndpoint                string `json:"pushed_authorization_request_endpoint"`
	UserInfoEndpoint            string `json:"userinfo_endpoint"`
}

// readMetadata reads a document whose issuer is still to be looked at.
func readMetadata(document []byte, loopback bool) (*Metadata, error) {
	members, _, err := readObject(document)
	if err != nil {
		return nil, fmt.Errorf("the document cannot be used: %w", err)
	}
	m := new(Metadata)
	m.fill(reflect.ValueOf(m).Elem(), members, "", loopback)
	return m, nil
}

// fill reads members into the fields of v that are tagged with their names. Names are compared exactly, which json.Unmarshal does
// not. A list or a yes that is given twice, or as something else, is as if it were not given; an address is unusable then, and
// when no secret may be sent there. Most logins need few of them, so that this is an error only for one that does.
func (m *Metadata) fill(v reflect.Value, members map[string]json.RawMessage, within string, loopback bool) {
	for field, value := range v.Fields() {
		if !field.IsExported() {
			continue
		}
		name := field.Tag.Get("json")
		raw, given := members[name]
		given = given && string(raw) != "null"
		switch to := value.Addr().Interface().(type) {
		case *OpenID:
			m.fill(value, members, within, loopback)
		case *Aliases:
			if inner, _, err := readObject(raw); err == nil {
				m.fill(value, inner, name+".", loopback)
			}
		case *[]string:
			*to = list(raw)
		case *bool:
			*to = yes(raw)
		case *string:
			err := json.Unmarshal(raw, to)
			switch {
			case !given:
				continue
			case err != nil:
				err = errors.New("given twice, or not a string")
			case *to != "" && to != &m.Issuer:
				err = checkEndpoint(*to, loopback)
			}
			if err != nil && m.unusable == nil {
				m.unusable = map[string]error{}
			}
			if err != nil {
				*to, m.unusable[within+name] = "", err
			}
		}
	}
}

// list is a member that is a list of words; nil: it is none.
func list(raw json.RawMessage) []string {
	var words []string
	if json.Unmarshal(raw, &words) != nil {
		return nil
	}
	return words
}

// yes reports whether a member says so.
func yes(raw json.RawMessage) bool {
	return string(raw) == "true" || string(raw) == `"true"` // which some write
}

// Lacks says why there is no address under the name of a member, which is needed.
func (m *Metadata) Lacks(name string) error {
	if err := m.Unusable(name); err != nil {
		return err
	}
	return fmt.Errorf("the server's metadata names no %s", name)
}

// Unusable says why an address that the server has given under the name of a member is not there; nil: it has given none.
func (m *Metadata) Unusable(name string) error {
	if reason := m.unusable[name]; reason != nil {
		return fmt.Errorf("the %s in the server's metadata cannot be used, it is %w; tell whoever runs the server", name, reason)
	}
	return nil
}

// WithAliases is m with its mtls_endpoint_aliases in place of the endpoints. Where an alias is unusable, so is the endpoint: it may
// give tokens that are bound to nothing.
func (m *Metadata) WithAliases() *Metadata {
	moved := *m
	moved.unusable = maps.Clone(m.unusable)
	for _, e := range []struct {
		name, alias string
		endpoint    *string
	}{
		{"token_endpoint", m.MTLS.TokenEndpoint, &moved.TokenEndpoint},
		{"device_authorization_endpoint", m.MTLS.DeviceAuthorizationEndpoint, &moved.DeviceAuthorizationEndpoint},
		{"revocation_endpoint", m.MTLS.RevocationEndpoint, &moved.RevocationEndpoint},
		{"introspection_endpoint", m.MTLS.IntrospectionEndpoint, &moved.IntrospectionEndpoint},
		{"pushed_authorization_request_endpoint", m.MTLS.PushEndpoint, &moved.PushEndpoint},
		{"userinfo_endpoint", m.MTLS.UserInfoEndpoint, &moved.UserInfoEndpoint},
	} {
		if reason := m.unusable["mtls_endpoint_aliases."+e.name]; reason != nil {
			*e.endpoint, moved.unusable[e.name] = "", reason
		} else if e.alias != "" {
			*e.endpoint = e.alias
		}
	}
	return &moved
}

// WithOpenID is m with what other, the OpenID document of the same issuer, says beside it. What m says goes before it.
func (m *Metadata) WithOpenID(other *Metadata) *Metadata {
	whole := *m
	whole.unusable = maps.Clone(other.unusable)
	if whole.unusable == nil {
		whole.unusable = map[string]error{}
	}
	maps.Copy(whole.unusable, m.unusable)
	if m.KeysURI == "" {
		whole.KeysURI, whole.IDTokenAlgorithms, whole.UserInfoAlgorithms = other.KeysURI, other.IDTokenAlgorithms, other.UserInfoAlgorithms
	}
	whole.UserInfoEndpoint = cmp.Or(m.UserInfoEndpoint, other.UserInfoEndpoint)
	whole.EndSessionEndpoint = cmp.Or(m.EndSessionEndpoint, other.EndSessionEndpoint)
	return &whole
}
