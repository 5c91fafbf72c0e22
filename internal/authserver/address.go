package authserver

import (
	"errors"
	"net/url"
	"strings"

	"github.com/evergrant/evergrant/internal/origin"
)

// checkEndpoint accepts an address that a secret may be sent to: https or, where loopback allows it,
// http to this machine. Its errors do not quote the address, which may hold credentials.
func checkEndpoint(address string, loopback bool) error {
	u, err := url.Parse(address)
	to, _ := origin.Of(u)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || strings.Contains(address, "#"):
		return errors.New("not an absolute URL without credentials and fragment")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && to.IsLoopback() && loopback:
		return nil
	case loopback:
		return errors.New("neither https nor http to this machine")
	}
	return errors.New("not https")
}

// CheckClientIDDocument holds a client_id that is the address of a Client ID Metadata Document against what every server
// takes: https, a path that no part of a URL library changes, and nothing that names the same document twice, as a query
// does.
func CheckClientIDDocument(id string) error {
	u, err := url.Parse(id)
	switch {
	case err != nil || checkEndpoint(id, false) != nil:
		return errors.New("is not an https URL without credentials and fragment")
	case strings.Contains(id, "?"):
		return errors.New("has a query")
	case strings.Trim(u.Path, "/") == "":
		return errors.New("has no path")
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return errors.New("has a dot segment in its path")
		}
	}
	return nil
}
