package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// Error is a failure of Redis or of the way to it. After a save it leaves open whether the change was made, unless Code
// is set and is not "WAIT".
type Error struct {
	Op   string // "load", "save", "list", "wait" or "probe"
	Key  string // the key that it is about; empty: none
	Code string // Redis' own word: READONLY, OOM, NOAUTH, LOADING …; WAIT: too few replicas have the change; empty: no answer came
	Err  error  // what the server or the network said
}

// Error says what happened and what to do. It shows no value and no version.
func (e *Error) Error() string {
	text := "redisstore: " + e.Op
	if e.Key != "" {
		text += fmt.Sprintf(" %.80q", e.Key)
	}
	return text + ": " + advice(e) + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

func advice(e *Error) string {
	switch e.Code {
	case "":
		if errors.Is(e.Err, redis.ErrPoolTimeout) {
			return "every connection of the client is busy (raise PoolSize)"
		}
		return "Redis does not answer (see that it runs and that the client's address is right)"
	case "READONLY":
		return "this server is a replica (connect to the primary, by redis.NewFailoverClient where Sentinel watches)"
	case "OOM":
		return "Redis' memory is full (raise maxmemory; leave maxmemory-policy at noeviction)"
	case "MISCONF":
		return "Redis cannot write to its disk (make room there)"
	case "NOREPLICAS":
		return "too few replicas are connected to Redis (see min-replicas-to-write)"
	case "WAIT":
		return "the change is made, but too few replicas have it yet (see that they are connected)"
	case "NOAUTH", "WRONGPASS":
		return "Redis wants another user name or password (set those of the client)"
	case "NOPERM":
		return "the user lacks a permission (the package doc lists what is needed)"
	case "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN":
		return "Redis is not ready yet (try again)"
	case "MOVED", "ASK":
		return "this server is part of a cluster (use redis.NewClusterClient)"
	}
	return "Redis refuses"
}

// fail makes the error of a call out of what came of it.
func (s *Store) fail(ctx context.Context, op, key string, err error) error {
	var known *Error
	if errors.As(err, &known) {
		return err // of a call within
	}
	if code := codeOf(err); code == "WRONGTYPE" {
		err = damaged("it is no string")
	} else if code != "" {
		return &Error{op, key, code, errors.New(unquoted(err))}
	}
	for _, plain := range []error{ctx.Err(), tokenstore.ErrDamaged, seal.ErrWrongKey, seal.ErrNoKey} {
		if plain != nil && errors.Is(err, plain) {
			return fmt.Errorf("redisstore: %s %.80q: %w", op, key, err)
		}
	}
	return &Error{op, key, "", err}
}

// isReply reports whether err is what the server answered.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// codeOf is the word that an answer begins with; empty: it is no answer.
func codeOf(err error) string {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return ""
	}
	if within := inScript.FindStringSubmatch(reply.Error()); within != nil {
		return within[1]
	}
	code, _, _ := strings.Cut(reply.Error(), " ")
	return code
}

// inScript finds the error that a command of a script has ended in, which Redis up to 6.2 says behind the name of the
// script: "ERR Error running script (call to f_…): @user_script:11: @user_script: 11: -READONLY …".
var inScript = regexp.MustCompile(`^ERR Error running script \(call to \w+\): (?:@user_script: ?\d+: )+-?([A-Z]+) `)

// unquoted is what an answer says without what it quotes: that can be an argument, and so a value.
func unquoted(err error) string {
	text := err.Error()
	if at := strings.IndexAny(text, "'\"`"); at >= 0 {
		text = text[:at] + "…"
	}
	return text
}

// isWorthAnotherTry reports whether the connection was at fault, which was up when the command was given to it: the server
// has restarted, or is no primary any more. Dialling has tries of its own, and who was slow is not asked twice.
func isWorthAnotherTry(err error) bool {
	if code := codeOf(err); code != "" {
		return code == "READONLY" || code == "MOVED"
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	var broken *net.OpError
	return errors.As(err, &broken) && broken.Op != "dial" && !broken.Timeout()
}
