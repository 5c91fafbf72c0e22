package record

import (
	"encoding/json"
	"time"
)

// keepEnded is how long a grant that has ended can still say why.
const keepEnded = 24 * time.Hour

// UsefulUntil is when r is of no use any more, the mark that says why included; zero: not before a person
// says so.
func (r *Record) UsefulUntil() time.Time {
	end := r.RefreshExpiry()
	if r.RefreshToken == "" {
		for _, access := range r.Access {
			if access.Expiry.IsZero() {
				return time.Time{}
			}
			if access.Expiry.After(end) {
				end = access.Expiry
			}
		}
	}
	if end.IsZero() {
		return end
	}
	return end.Add(keepEnded)
}

// RefreshLives are the members in which servers say how many seconds a refresh token lives. There is no standard for it:
// Keycloak says refresh_expires_in, GitHub and Microsoft refresh_token_expires_in.
func RefreshLives() []string { return []string{"refresh_expires_in", "refresh_token_expires_in"} }

// RefreshExpiry is when the refresh token of r ends; zero when the server did not say, or nobody knows since when it lives.
func (r *Record) RefreshExpiry() time.Time {
	newest := new(Access)
	for _, access := range r.Access {
		if access.Issued.After(newest.Issued) {
			newest = access
		}
	}
	if newest.Issued.IsZero() {
		return time.Time{}
	}
	for _, name := range RefreshLives() {
		said, seconds := newest.Extra[name], int64(0)
		if said == nil {
			said = r.Extra[name]
		}
		if json.Unmarshal(said, &seconds) == nil && seconds > 0 && seconds < int64(100*365*24*time.Hour/time.Second) {
			return newest.Issued.Add(time.Duration(seconds) * time.Second)
		}
	}
	return time.Time{}
}
