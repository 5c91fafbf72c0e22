package tokenstore

import (
	"fmt"
	"net/url"
	"strings"
)

// Key makes the key under which the grant of one session lies:
//
//	PathEscape(issuer) "/" PathEscape(client id) "/" PathEscape(session)
//
// The issuer is the authorization server's issuer identifier, or its token endpoint where no issuer
// is known. Two accounts, two programs or two servers so never share a key. The form is stable.
//
// A client that has a grant which needs no person, such as the client credentials, puts a sum of what it asks for behind
// its client id and a slash: clients that ask for different things share no key, nor does one with a person's login.
func Key(issuer, clientID, session string) string {
	return url.PathEscape(issuer) + "/" + url.PathEscape(clientID) + "/" + url.PathEscape(session)
}

// SplitKey undoes Key. It fails when key was not made by it.
func SplitKey(key string) (issuer, clientID, session string, err error) {
	parts := strings.Split(key, "/")
	if len(parts) != 3 {
		return "", "", "", fmt.Errorf("tokenstore: a key has three parts, this one %d", len(parts))
	}
	for i, part := range parts {
		if parts[i], err = url.PathUnescape(part); err != nil {
			return "", "", "", fmt.Errorf("tokenstore: part %d of the key is not escaped as Key does: %w", i+1, err)
		}
	}
	return parts[0], parts[1], parts[2], nil
}
