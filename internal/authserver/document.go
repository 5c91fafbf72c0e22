package authserver

import (
	"encoding/json"
	"errors"
)

// Document is the Client ID Metadata Document that describes p under the address id, which it is to be served at.
func (p *Program) Document(id string) ([]byte, error) {
	if err := CheckClientIDDocument(id); err != nil {
		return nil, err
	}
	switch p.method() {
	case MethodBasic, MethodPost, MethodSecretJWT:
		return nil, errors.New("everybody can read it, so that no secret can be shared by it")
	}
	members, err := p.members()
	if err != nil {
		return nil, err
	}
	members["client_id"] = id
	return json.MarshalIndent(members, "", "  ")
}
