package redisstore

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/evergrant/evergrant/tokenstore"
)

// swapScript changes KEYS[1] if it is at version ARGV[1] ("": absent) to what ARGV[3] holds, which is at version ARGV[2]
// ("": it is deleted), and has it removed after ARGV[4] milliseconds ("": never). It returns 1, or 0 for a conflict.
//
// It looks for the new version first: that is there when this is the second try of a Swap whose first one was done and
// whose answer was lost. APPEND then changes nothing; it is a write of this connection, for servers whose WAIT asks about
// nothing else. An empty string is no value of ours: it is neither deleted nor, by NX, replaced. That nobody may publish is
// no failure: who waits looks from time to time.
var swapScript = newScript(`
local version = redis.call('GETRANGE', KEYS[1], 0, ` + strconv.Itoa(versionLength-1) + `)
if version == ARGV[2] and version ~= '' then
	redis.pcall('APPEND', KEYS[1], '')
	return 1
end
if version ~= ARGV[1] then return 0 end
if ARGV[3] == '' then
	if version == '' then return 1 end
	redis.call('DEL', KEYS[1])
else
	local set = {'SET', KEYS[1], ARGV[3]}
	if ARGV[4] ~= '' then set[4] = 'PX'; set[5] = ARGV[4] end
	if version == '' then set[#set + 1] = 'NX' end
	if not redis.call(unpack(set)) then return 0 end
end
redis.pcall('PUBLISH', KEYS[1], '')
return 1`)

// probeScript writes what Load and Keys never see: a script runs alone.
var probeScript = newScript(`
redis.call('SET', KEYS[1], ARGV[1], 'PX', 1000, 'NX')
redis.call('DEL', KEYS[1])
return 1`)

type script struct{ source, hash string }

func newScript(source string) script {
	sum := sha1.Sum([]byte(source)) // Redis names scripts so
	return script{source, hex.EncodeToString(sum[:])}
}

// command is a script with its arguments.
type command struct {
	script
	key  string
	args []any
}

// change is a Swap as Redis is to make it.
type change struct {
	key     string // in Redis
	old     tokenstore.Version
	version tokenstore.Version // "": delete
	stored  []byte
	life    time.Duration // 0: for ever
}

// change makes c, or returns tokenstore.ErrConflict.
func (s *Store) change(ctx context.Context, c change) error {
	life := ""
	if c.life > 0 {
		life = strconv.FormatInt(c.life.Milliseconds(), 10)
	}
	return s.swap(ctx, command{swapScript, c.key, []any{string(c.old), string(c.version), c.stored, life}})
}

// swap runs cmd, and once more if the connection breaks, which may have been before or after the server did it. What the
// second try finds tells then only of a success: a conflict may be with what the first one wrote, and a refusal says
// nothing of the first try.
func (s *Store) swap(ctx context.Context, cmd command) error {
	return s.abandon(ctx, func() error {
		err := s.run(ctx, cmd)
		if !isWorthAnotherTry(err) {
			return err
		}
		again := s.run(ctx, cmd)
		if again != nil && !isReply(err) && codeOf(again) != "WAIT" { // WAIT: it is done, and too few replicas have it
			return err
		}
		return again
	})
}

// run sends cmd by its hash, and in full to a server that does not know it yet.
func (s *Store) run(ctx context.Context, cmd command) error {
	done, err := s.send(ctx, cmd.key, append([]any{"EVALSHA", cmd.hash, 1, cmd.key}, cmd.args...))
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		done, err = s.send(ctx, cmd.key, append([]any{"EVAL", cmd.source, 1, cmd.key}, cmd.args...))
	}
	if err == nil && done != int64(1) {
		err = tokenstore.ErrConflict
	}
	return err
}

// send sends the command args, which writes key, and waits for the replicas that must have it.
func (s *Store) send(ctx context.Context, key string, args []any) (any, error) {
	cmd := newCommand(ctx, args)
	if s.replicas == 0 {
		return process(ctx, s.client, cmd)
	}
	return s.replicate(ctx, key, cmd)
}

// once is a command that go-redis sends once: it takes every lost answer for a command that was not done, and serves a
// GET from its cache if the program gave it one.
type once struct{ *redis.Cmd }

// NoRetry overrides the method of redis.Cmd.
func (once) NoRetry() bool { return true }

func newCommand(ctx context.Context, args []any) once { return once{redis.NewCmd(ctx, args...)} }

func process(ctx context.Context, client redis.UniversalClient, cmd once) (any, error) {
	if err := client.Process(ctx, cmd); err != nil {
		return nil, err
	}
	return cmd.Result()
}

// ask has client run the command args, which changes nothing, and once more if the connection breaks.
func (s *Store) ask(ctx context.Context, client redis.UniversalClient, args ...any) (any, error) {
	var reply any
	err := s.abandon(ctx, func() error {
		read, err := process(ctx, client, newCommand(ctx, args))
		if isWorthAnotherTry(err) {
			read, err = process(ctx, client, newCommand(ctx, args))
		}
		reply = read
		return err
	})
	if err != nil {
		return nil, err // and an abandoned call still writes reply
	}
	return reply, nil
}

// abandon returns what call does, or the error of ctx as soon as that ends. go-redis does not leave a read before its own
// ReadTimeout, with which the abandoned call ends.
func (s *Store) abandon(ctx context.Context, call func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ctx.Done() == nil {
		return call()
	}
	done := make(chan error, 1)
	go func() { done <- call() }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // which is why it failed, or as good as that
	}
	return err
}
