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
