package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/evergrant/evergrant/tokenstore/seal"
)

// Probe implements tokenstore.Prober: it writes a value and deletes it again, in one step that nobody sees. On a cluster
// it asks the one server that a random key belongs to.
func (s *Store) Probe(ctx context.Context) error {
	if s.box != nil {
		err := s.box.Probe(ctx)
		if errors.Is(err, seal.ErrNoKey) {
			err = s.losesNothing(ctx)
		}
		if err != nil {
			return s.fail(ctx, "probe", "", err)
		}
	}
	name := s.prefix + "probe " + rand.Text()
	if err := s.swap(ctx, command{probeScript, name, []any{"evergrant"}}); err != nil {
		return s.fail(ctx, "probe", "", err)
	}
	s.advise(ctx)
	return nil
}

// Notify implements tokenstore.Notifier: it tells of settings of the server that cost grants, at the first Swap and at every
// Probe.
func (s *Store) Notify(tell func(key, text string)) (stop func()) { return s.notices.Notify(tell) }

// advise posts what in the server's settings costs grants. A server that may not be asked, or is slow, is not.
func (s *Store) advise(ctx context.Context) {
	reply, err := s.ask(ctx, s.client, "INFO")
	text, isText := reply.(string)
	if err != nil || !isText {
		return
	}
	settings := make(map[string]string)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		settings[name] = value
	}
	if policy := settings["maxmemory_policy"]; settings["maxmemory"] != "0" && policy != "noeviction" && policy != "" {
		s.notices.Post("", "redisstore: when its memory is full this Redis removes grants (maxmemory-policy "+policy+
			"), and persons have to log in anew: set the policy to noeviction")
	}
	if settings["aof_enabled"] == "0" {
		s.notices.Post("", "redisstore: this Redis keeps no append-only file: after a restart grants are gone or, worse, old, "+
			"and a server that detects reuse ends a grant whose old refresh token comes back: set appendonly yes and appendfsync always")
	}
}
