package keychain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/tokenstore"
)

// listUser is the user under which the list of keys lies, which go-keyring cannot make: it lists no
// items. A key is in it from before its grant comes until after it has gone.
const listUser = "key-list"

// Keys implements tokenstore.Lister.
func (s *Store) Keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		keys, err := s.keys(ctx, prefix)
		for _, key := range keys {
			if err := ctx.Err(); err != nil {
				yield("", err)
				return
			}
			if !yield(key, nil) {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

// keys returns the keys with the prefix that have a grant.
func (s *Store) keys(ctx context.Context, prefix string) (there []string, err error) {
	g, err := s.read(ctx, listUser)
	if err != nil {
		return nil, listed(err)
	}
	keys, err := g.keys()
	if err != nil {
		return nil, err
	}
	var found []string
	err = s.do(ctx, free, func(i items) error {
		for _, key := range keys {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			_, is, err := i.get(userOf(key))
			if err != nil {
				return err
			}
			if is {
				found = append(found, key)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err // a call that was left behind may still append
	}
	return found, nil
}

// keys are those of a list. JSON would change a string that is no UTF-8, so they are bytes there.
func (g grant) keys() ([]string, error) {
	if g.version() == "" {
		return nil, nil
	}
	var keys [][]byte
	if err := json.Unmarshal(g.value, &keys); err != nil {
		return nil, listed(damaged("it is no list"))
	}
	list := make([]string, len(keys))
	for n, key := range keys {
		list[n] = string(key)
	}
	return list, nil
}

// enlist puts key into the list.
func (i items) enlist(key string) error {
	g, err := i.read(listUser)
	if err != nil {
		return listed(err)
	}
	keys, err := g.keys()
	if err != nil || slices.Contains(keys, key) {
		return err
	}
	return i.writeList(g.head, append(keys, key))
}

// strike takes key out of the list, and the list with its last key.
func (i items) strike(key string) error {
	g, err := i.read(listUser)
	if err != nil {
		return err
	}
	keys, err := g.keys()
	n := slices.Index(keys, key)
	switch {
	case err != nil || n < 0:
		return err
	case len(keys) == 1:
		return i.remove(listUser, g.head)
	}
	return i.writeList(g.head, slices.Delete(keys, n, n+1))
}

func (i items) writeList(old head, keys []string) error {
	list := make([][]byte, len(keys))
	for n, key := range keys {
		list[n] = []byte(key)
	}
	value, err := json.Marshal(list)
	if err == nil {
		_, err = i.write(listUser, old, value)
	}
	return err
}

// listed says of a damaged list that the grants are not touched by it.
func listed(err error) error {
	if errors.Is(err, tokenstore.ErrDamaged) {
		return fmt.Errorf("%w (only the list of keys is, under the user %s: grants that are there go on, new ones need it; delete that item, and Keys shows those of later logins)", err, listUser)
	}
	return err
}
