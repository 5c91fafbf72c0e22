package keychain

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/zalando/go-keyring"

	"github.com/evergrant/evergrant/tokenstore"
)

// ring is the part of go-keyring that a Store uses. An absent item is keyring.ErrNotFound.
type ring interface {
	Get(service, user string) (string, error)
	Set(service, user, text string) error
	Delete(service, user string) error
}

// system is the ring of the operating system.
type system struct{}

func (system) Get(service, user string) (string, error) { return keyring.Get(service, user) }
func (system) Set(service, user, text string) error     { return keyring.Set(service, user, text) }
func (system) Delete(service, user string) error        { return keyring.Delete(service, user) }

// items are the items of one service, for the time of one call. Once the context has ended no other
// item is touched, so that a call which was left behind does not write when somebody unlocks the
// keychain an hour later.
type items struct {
	ctx     context.Context
	ring    ring
	service string
	limit   int
}

// get returns the item of user; found is false if there is none.
func (i items) get(user string) (text string, found bool, err error) {
	if err := i.ctx.Err(); err != nil {
		return "", false, late(err)
	}
	text, err = i.ring.Get(i.service, user)
	if errors.Is(err, keyring.ErrNotFound) {
		return "", false, nil
	}
	return text, err == nil, classify(err)
}

// put writes the item of user and reads it again.
func (i items) put(user, text string) error {
	if err := i.ctx.Err(); err != nil {
		return late(err)
	}
	if err := classify(i.ring.Set(i.service, user, text)); err != nil {
		return err
	}
	kept, _, err := i.get(user)
	if err == nil && kept != text {
		err = errors.New("keychain: the keychain did not keep what was written: look at it with its own tool")
	}
	return err
}

// drop deletes the item of user if there is one.
func (i items) drop(user string) error {
	if err := i.ctx.Err(); err != nil {
		return late(err)
	}
	err := i.ring.Delete(i.service, user)
	if errors.Is(err, keyring.ErrNotFound) {
		return nil
	}
	return classify(err)
}

// formatNow is the format of the items.
const formatNow = 1

// head is the first item of a grant, as JSON. The value, compressed, is in Data or, if that is too
// long for an item, in Parts further ones as base64.
type head struct {
	Format  int                `json:"evergrant"`
	Version tokenstore.Version `json:"version"`
	Sum     []byte             `json:"sha256"` // of the compressed value
	Data    []byte             `json:"data,omitempty"`
	Row     string             `json:"row,omitempty"` // of the parts: rowA or rowB
	Parts   int                `json:"parts,omitempty"`
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
	packed := g.head.Data
	for n := range g.head.Parts {
		text, found, err := i.get(partOf(user, g.head.Row, n))
		if err != nil {
			return grant{}, err
		}
		part, err := base64.StdEncoding.DecodeString(text)
		if !found || err != nil {
			return grant{}, damaged("a part is missing or not as it was written")
		}
		packed = append(packed, part...)
	}
	if sum := sha256.Sum256(packed); !bytes.Equal(sum[:], g.head.Sum) || g.head.Version == "" {
		return grant{}, damaged("its hash does not fit")
	}
	if g.value, err = io.ReadAll(flate.NewReader(bytes.NewReader(packed))); err != nil {
		return grant{}, damaged("it cannot be unpacked")
	}
	return g, nil
}

// write replaces the grant of user, which has the head old: parts first, then the head, then what is
// not needed any more.
func (i items) write(user string, old head, value []byte) (tokenstore.Version, error) {
	packed, err := pack(value)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(packed)
	h := head{Format: formatNow, Version: tokenstore.Version(rand.Text()), Sum: sum[:], Data: packed}
	text, err := json.Marshal(h)
	if err == nil && len(text) > i.limit {
		h.Data, h.Row = nil, rowA
		if old.Row == rowA {
			h.Row = rowB
		}
		if h.Parts, err = i.writeParts(user, h.Row, packed); err == nil {
			text, err = json.Marshal(h)
		}
	}
	if err != nil {
		return "", err
	}
	if err := i.put(user, string(text)); err != nil {
		return "", err
	}
	i.sweep(user, h)
	return h.Version, nil
}

func (i items) writeParts(user, row string, packed []byte) (parts int, err error) {
	size := i.limit / 4 * 3
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
func (i items) remove(user string) error {
	if err := i.drop(user); err != nil {
		return err
	}
	i.sweep(user, head{})
	return nil
}

// sweep deletes the parts that h does not use, those of a killed writer too. Parts are written from
// the first upwards and deleted from the last downwards, so that a row never has gaps, wherever a
// process is killed. What cannot be deleted waits for the next sweep; the grant is safe already.
func (i items) sweep(user string, h head) {
	for _, row := range []string{rowA, rowB} {
		keep := 0
		if row == h.Row {
			keep = h.Parts
		}
		end := keep
		for {
			if _, found, err := i.get(partOf(user, row, end)); err != nil || !found {
				break
			}
			end++
		}
		for end > keep {
			end--
			if i.drop(partOf(user, row, end)) != nil {
				return
			}
		}
	}
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
