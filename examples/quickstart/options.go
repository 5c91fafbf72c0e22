package main

import (
	"flag"
	"time"
)

// options are the flags.
type options struct {
	issuer, clientID, clientSecret, scope, url string

	store    string
	browser  bool
	duration time.Duration
}

func parseOptions() options {
	var o options
	flag.StringVar(&o.issuer, "issuer", "", "issuer identifier of a real provider (default: a provider inside this program)")
	flag.StringVar(&o.clientID, "client-id", "", "with -issuer: the client id; its redirect URL is http://127.0.0.1/callback, with any port")
	flag.StringVar(&o.clientSecret, "client-secret", "", "with -issuer: the client secret, if there is one")
	flag.StringVar(&o.scope, "scope", "openid offline_access", "the scopes to ask for, separated by spaces")
	flag.StringVar(&o.url, "url", "", "with -issuer: what to call")
	flag.StringVar(&o.store, "store", "file", "where the grant lives: file (sealed, in a temporary folder), keychain or memory")
	flag.BoolVar(&o.browser, "browser", false, "log in by hand, in the system's browser; always so with -issuer")
	flag.DurationVar(&o.duration, "for", 10*time.Second, "how long to call")
	flag.Parse()
	return o
}
