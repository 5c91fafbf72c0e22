package provider

import "golang.org/x/oauth2/endpoints"

// Spotify is the profile of Spotify. Refresh tokens end six months after the login, however often they are used, and are not always
// in the answer to a refresh.
var Spotify = &Provider{
	Name:         "Spotify",
	TokenHosts:   []string{"accounts.spotify.com"},
	Endpoint:     endpoints.Spotify,
	SecretMethod: "client_secret_basic",
	API:          API{Hosts: []string{"api.spotify.com"}},
}
