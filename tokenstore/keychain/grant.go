package keychain

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/evergrant/evergrant/tokenstore"
)

// formatNow is the format of the items.
const formatNow = 1

// head is the first item of a grant, as JSON; the zero head is that of an absent grant. The value is in
// Data; if that is too long for an item, compressed; if that is too long, in Parts further items as
// base64.
type head struct {
	Format  int                `json:"evergrant"`
	Version tokenstore.Version `json:"version"`
	Sum     []byte             `json:"sha256"` // of the value as it is stored
	Packed  bool               `json:"deflate,omitempty"`
	Data    []byte             `json:"data,omitempty"`
	Row     string             `json:"row,omitempty"` // of the parts: rowA or rowB
	Parts   int                `json:"parts,omitempty"`

	// Stale says that there may be parts that this head does not use: of a former value, or of one
	// that somebody was killed over. Without it nobody need look for them.
	Stale bool `json:"stale,omitempty"`
}

// The parts of a new value are written into the row that the current one does not use.
const rowA, rowB = "a", "b"

func partOf(user, row string, n int) string { return user + "#" + row + strconv.Itoa(n) }

// grant is what lies under a key; the zero grant is an absent one.
type grant struct {
	head  head
	value []byte
}

func (g grant) version() tokenstore.Version { return g.head.Version }

// read returns the grant of user.
func (i items) read(user string) (grant, error) {
	text, found, err := i.get(user)
	if err != nil || !found {
		return grant{}, err
	}
	var g grant
	if err := json.Unmarshal([]byte(text), &g.head); err != nil || g.head.Format < 1 {
		return grant{}, damaged("its first item is not as it was written") // err could quote it
	}
	if g.head.Format != formatNow {
		return grant{}, errors.New("keychain: the grant was written by a newer version of the program: update this one")
	}
	stored := g.head.Data
	for n := range g.head.Parts {
		text, found, err := i.get(partOf(user, g.head.Row, n))
		if err != nil {
			return grant{}, err
		}
		part, err := base64.StdEncoding.DecodeString(text)
		if !found || err != nil {
			return grant{}, damaged("a part is missing or not as it was written")
		}
		stored = append(stored, part...)
	}
	if sum := sha256.Sum256(stored); !bytes.Equal(sum[:], g.head.Sum) || g.head.Version == "" {
		return grant{}, damaged("its hash does not fit")
	}
	g.value = stored
	if g.head.Packed {
		if g.value, err = io.ReadAll(flate.NewReader(bytes.NewReader(stored))); err != nil {
			return grant{}, damaged("it cannot be unpacked")
		}
	}
	return g, nil
}

// write replaces the grant of user, which has the head old: parts first, then the head, then what is
// not needed any more. Whoever is killed on the way leaves the former grant or the new one, whole.
func (i items) write(user string, old head, value []byte) (tokenstore.Version, error) {
	now := head{Format: formatNow, Version: tokenstore.Version(rand.Text())}
	now.Stale = !i.sweep(user, old) || old.Parts > 0
	text, err := now.hold(value)
	if err == nil && len(text) > i.platform.limit {
		if value, err = pack(value); err == nil {
			now.Packed = true
			text, err = now.hold(value)
		}
	}
	if err == nil && len(text) > i.platform.limit {
		now.Data, now.Row = nil, rowA
		if old.Row == rowA {
			now.Row = rowB
		}
		if now.Parts, err = i.writeParts(user, old, now.Row, value); err == nil {
			text, err = json.Marshal(now)
		}
	}
	if err != nil {
		return "", err
	}
	if err := i.put(user, string(text)); err != nil {
		return "", err
	}
	i.dropParts(user, old.Row, 0, old.Parts)
	return now.Version, nil
}

// hold puts a value into the head itself, and returns the text of its item.
func (h *head) hold(stored []byte) (text []byte, err error) {
	sum := sha256.Sum256(stored)
	h.Sum, h.Data = sum[:], stored
	return json.Marshal(h)
}

// writeParts writes a packed value into a row. The head in force says before that there may be parts
// which it does not use.
func (i items) writeParts(user string, old head, row string, packed []byte) (parts int, err error) {
	if !old.mayHaveStrays() {
		old.Stale = true
		text, err := json.Marshal(old)
		if err != nil {
			return 0, err
		}
		if err := i.put(user, string(text)); err != nil {
			return 0, err
		}
	}
	size := i.platform.limit / 4 * 3
	for ; len(packed) > 0; parts++ {
		part := packed[:min(size, len(packed))]
		packed = packed[len(part):]
		if err := i.put(partOf(user, row, parts), base64.StdEncoding.EncodeToString(part)); err != nil {
			return 0, err
		}
	}
	return parts, nil
}

// remove deletes the grant of user, the head first: without it the parts are nothing.
func (i items) remove(user string, old head) error {
	i.sweep(user, old)
	if err := i.drop(user); err != nil {
		return err
	}
	i.dropParts(user, old.Row, 0, old.Parts)
	return nil
}

// mayHaveStrays reports whether there may be parts that h does not use. An absent grant may have left
// some, and has no head to say so.
func (h head) mayHaveStrays() bool { return h.Stale || h.Format == 0 }

// sweep deletes the parts that the head in force does not use, if there may be any, and reports whether
// there are none now. What cannot be deleted waits for the next sweep; it does no harm.
func (i items) sweep(user string, h head) bool {
	if !h.mayHaveStrays() {
		return true
	}
	for _, row := range []string{rowA, rowB} {
		first := 0
		if row == h.Row {
			first = h.Parts
		}
		end := first
		for {
			_, found, err := i.get(partOf(user, row, end))
			if err != nil {
				return false
			}
			if !found {
				break
			}
			end++
		}
		if !i.dropParts(user, row, first, end) {
			return false
		}
	}
	return true
}

// dropParts deletes parts of a row. Parts are written from the first upwards and deleted from the last
// downwards, so that a row never has gaps, wherever a process is killed.
func (i items) dropParts(user, row string, first, end int) bool {
	for end > first {
		end--
		if i.drop(partOf(user, row, end)) != nil {
			return false
		}
	}
	return true
}

// pack compresses value: a token is base64, which makes it a third longer than need be, and items are
// short.
func pack(value []byte) ([]byte, error) {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err == nil {
		_, err = w.Write(value)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("keychain: compressing: %w", err)
	}
	return packed.Bytes(), nil
}

// damaged says what is wrong with a grant, and what a person can do.
func damaged(what string) error {
	return fmt.Errorf("keychain: %w: %s; delete the program's items in the keychain to log in anew", tokenstore.ErrDamaged, what)
}
