package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/evergrant/evergrant/tokenstore"
)

// A grant's file is a head of four lines, an empty line, and the value:
//
//	evergrant grant 1
//	key "https:%2F%2Fop.example/client/session"
//	version 5TX2…
//	sealed       or    plain SHA-256 77ab…
//
// A sealed value is what package seal makes of it, bound to the head. In the clear the last word of the
// head is the value's hash.
const (
	format     = "evergrant grant "
	formatNow  = format + "1"
	wordKey    = "key "
	wordAt     = "version "
	wordSealed = "sealed"
	wordPlain  = "plain SHA-256 "
)

// envelope is a grant's file taken apart.
type envelope struct {
	key     string
	version tokenstore.Version
	sealed  bool
	hash    string // of a plain value
	head    []byte // all four lines
	body    []byte
}

// head returns the first four lines of a file. last is the fourth.
func head(key string, version tokenstore.Version, last string) []byte {
	return []byte(formatNow + "\n" +
		wordKey + strconv.QuoteToASCII(key) + "\n" +
		wordAt + string(version) + "\n" +
		last)
}

// join puts head and body together.
func join(head, body []byte) []byte {
	return bytes.Join([][]byte{head, body}, []byte("\n\n"))
}

// parse takes a file apart. It proves nothing yet: that is what opening it does.
func parse(data []byte) (envelope, error) {
	var e envelope
	var found bool
	e.head, e.body, found = bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(string(e.head), "\n")
	if strings.HasPrefix(lines[0], format) && lines[0] != formatNow {
		return e, errors.New("it was written by a newer version of the program: update this one")
	}
	if !found || len(lines) != 4 || lines[0] != formatNow {
		return e, damaged("it is no file of this store")
	}
	quoted, hasKey := strings.CutPrefix(lines[1], wordKey)
	version, hasVersion := strings.CutPrefix(lines[2], wordAt)
	hash, isPlain := strings.CutPrefix(lines[3], wordPlain)
	e.sealed = lines[3] == wordSealed
	key, err := strconv.Unquote(quoted)
	if !hasKey || !hasVersion || version == "" || err != nil || !isPlain && !e.sealed {
		return e, damaged("its head is not as it was written")
	}
	e.key, e.version, e.hash = key, tokenstore.Version(version), hash
	return e, nil
}

// damaged says what is wrong.
func damaged(what string) error { return fmt.Errorf("%w: %s", tokenstore.ErrDamaged, what) }

func hash(value []byte) string {
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:])
}
