package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/evergrant/evergrant/tokenstore"
)

func absent(t *trial) error { return t.hasNot(t.key("k")) }

func create(t *trial) error {
	version, err := t.put("k", "v")
	if err != nil {
		return err
	}
	return t.has(t.key("k"), []byte("v"), version)
}

func createTwice(t *trial) error {
	version, err := t.put("k", "first")
	if err != nil {
		return err
	}
	if err := t.conflict(t.key("k"), "", []byte("second")); err != nil {
		return err
	}
	return t.has(t.key("k"), []byte("first"), version)
}

func replace(t *trial) error {
	version, err := t.put("k", "0")
	for i := 1; err == nil && i <= 5; i++ {
		value := []byte(strconv.Itoa(i))
		if version, err = t.swap(t.key("k"), version, value); err == nil {
			err = t.has(t.key("k"), value, version)
		}
	}
	return err
}

func stale(t *trial) error {
	first, err := t.put("k", "first")
	if err != nil {
		return err
	}
	second, err := t.swap(t.key("k"), first, []byte("second"))
	if err != nil {
		return err
	}
	if err := t.conflict(t.key("k"), first, []byte("third")); err != nil {
		return err
	}
	return t.has(t.key("k"), []byte("second"), second)
}

func gone(t *trial) error {
	version, err := t.put("other", "v")
	if err != nil {
		return err
	}
	if err := t.conflict(t.key("k"), version, []byte("v")); err != nil {
		return err
	}
	return t.hasNot(t.key("k"))
}

func remove(t *trial) error {
	for _, empty := range [][]byte{nil, {}} {
		version, err := t.put("k", "v")
		if err != nil {
			return err
		}
		if _, err := t.swap(t.key("k"), version, empty); err != nil {
			return err
		}
		if err := t.hasNot(t.key("k")); err != nil {
			return err
		}
	}
	return nil
}

func removeStale(t *trial) error {
	first, err := t.put("k", "first")
	if err != nil {
		return err
	}
	second, err := t.swap(t.key("k"), first, []byte("second"))
	if err != nil {
		return err
	}
	for _, version := range []tokenstore.Version{first, ""} {
		if err := t.conflict(t.key("k"), version, nil); err != nil {
			return err
		}
	}
	return t.has(t.key("k"), []byte("second"), second)
}

func removeAbsent(t *trial) error {
	if _, err := t.swap(t.key("k"), "", nil); err != nil {
		return err
	}
	return t.hasNot(t.key("k"))
}

func recreated(t *trial) error {
	old, err := t.put("k", "before")
	if err != nil {
		return err
	}
	if _, err := t.swap(t.key("k"), old, nil); err != nil {
		return err
	}
	if err := t.conflict(t.key("k"), old, []byte("late")); err != nil {
		return fmt.Errorf("after the deletion: %w", err)
	}
	version, err := t.put("k", "after")
	if err != nil {
		return err
	}
	if err := t.conflict(t.key("k"), old, []byte("late")); err != nil {
		return fmt.Errorf("after the key was created anew: %w", err)
	}
	return t.has(t.key("k"), []byte("after"), version)
}

func versions(t *trial) error {
	seen := make(map[tokenstore.Version]bool)
	var version tokenstore.Version
	for i := range 20 {
		var err error
		if version, err = t.swap(t.key("k"), version, []byte("value "+strconv.Itoa(i))); err != nil {
			return err
		}
		if seen[version] {
			return fmt.Errorf("the version of write %d was another value's before", i+1)
		}
		seen[version] = true
		if i%5 == 4 {
			if version, err = t.swap(t.key("k"), version, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// awkward are keys that some medium takes for one another, or not at all.
var awkward = []string{
	"", " ", "  ", "a", "A", "a ", "a.", "a..", " a", "a/", "/a", "a/b", "a//b", `a\b`, "a%2Fb", "a%2fb", "a:b", "a*?\"<>|",
	".", "..", "../a", "../../etc/passwd", "con", "CON", "nul.txt", "com1", "a\x00", "a\x00b", "a\nb", "a'b", `a"b`, "a;--",
	"%s", "{a}", "[a]", "é", "e\u0301", "ß", "ss", "İ", "i", "😀", "\xff", "\xfe", "\u202e", "-rf", "~", "$HOME",
	strings.Repeat("k", 250), strings.Repeat("k", 251), strings.Repeat("k", 1024), strings.Repeat("k", 1023) + "K",
	"https:%2F%2Fop.example/client/session",
}

func keysApart(t *trial) error {
	for i, name := range awkward {
		if _, err := t.swap(t.prefix+name, "", numbered(i)); err != nil {
			return fmt.Errorf("key %.40q: %w", name, err)
		}
	}
	for i, name := range awkward {
		if err := t.has(t.prefix+name, numbered(i), ""); err != nil {
			return fmt.Errorf("key %.40q: %w", name, err)
		}
		if i%2 == 0 {
			continue
		}
		_, version, err := t.store.Load(t.ctx, t.prefix+name)
		if err != nil {
			return err
		}
		if _, err := t.swap(t.prefix+name, version, nil); err != nil {
			return fmt.Errorf("deleting key %.40q: %w", name, err)
		}
	}
	for i, name := range awkward {
		err := t.hasNot(t.prefix + name)
		if i%2 == 0 {
			err = t.has(t.prefix+name, numbered(i), "")
		}
		if err != nil {
			return fmt.Errorf("key %.40q, after others were deleted: %w", name, err)
		}
	}
	return nil
}

// numbered is the value of the i-th awkward key.
func numbered(i int) []byte { return []byte("value " + strconv.Itoa(i)) }

func binary(t *trial) error {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for i, value := range [][]byte{all, {0}, {0, 0}, []byte("\r\n"), []byte(" v "), []byte("\xff\xfe"), []byte("v\n")} {
		key := t.key(strconv.Itoa(i))
		version, err := t.swap(key, "", value)
		if err != nil {
			return err
		}
		if err := t.has(key, value, version); err != nil {
			return err
		}
	}
	return nil
}

func sizes(t *trial) error {
	var version tokenstore.Version
	for _, size := range []int{1, 2560, 2561, 64 << 10, 1 << 20, 1} {
		value, err := noise(size)
		if err != nil {
			return err
		}
		if version, err = t.swap(t.key("k"), version, value); err != nil {
			return err
		}
		if err := t.has(t.key("k"), value, version); err != nil {
			return err
		}
	}
	return nil
}

func passedSlices(t *trial) error {
	value := []byte("value")
	version, err := t.swap(t.key("k"), "", value)
	if err != nil {
		return err
	}
	copy(value, "XXXXX")
	return t.has(t.key("k"), []byte("value"), version)
}

func returnedSlices(t *trial) error {
	version, err := t.put("k", "value")
	if err != nil {
		return err
	}
	got, _, err := t.store.Load(t.ctx, t.key("k"))
	if err != nil {
		return err
	}
	copy(got, "XXXXX")
	_ = append(got, 'X')
	return t.has(t.key("k"), []byte("value"), version)
}

func errorsShowNothing(t *trial) error {
	const secret = "not-to-be-shown-5d41"
	first, err := t.put("k", secret+"-1")
	if err != nil {
		return err
	}
	second, err := t.swap(t.key("k"), first, []byte(secret+"-2"))
	if err != nil {
		return err
	}
	ended, cancel := context.WithCancel(t.ctx)
	cancel()
	_, conflict := t.store.Swap(t.ctx, t.key("k"), first, []byte(secret+"-3"))
	_, late := t.store.Swap(ended, t.key("k"), second, []byte(secret+"-4"))
	for _, err := range []error{conflict, late} {
		if err == nil {
			continue // another clause's matter
		}
		if strings.Contains(err.Error(), secret) {
			return errors.New("the error of a Swap shows a value")
		}
		for _, version := range []tokenstore.Version{first, second} {
			// A short version, like a counter's, is found in any text.
			if len(version) >= 8 && strings.Contains(err.Error(), string(version)) {
				return errors.New("the error of a Swap shows a version")
			}
		}
	}
	return nil
}

func concurrency(t *trial) error {
	const writers, each = 6, 8
	var group sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		group.Go(func() {
			for range each {
				if errs[i] = tally(t.ctx, t.store, t.key("k")); errs[i] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return t.has(t.key("k"), bytes.Repeat([]byte{'|'}, writers*each), "")
}

func oneWinner(t *trial) error {
	version, err := t.put("k", "v")
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		group.Go(func() { _, errs[i] = t.store.Swap(t.ctx, t.key("k"), version, []byte("from "+strconv.Itoa(i))) })
	}
	group.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			return errors.New("two Swaps at one version succeeded")
		case err == nil:
			winner = i
		case !errors.Is(err, tokenstore.ErrConflict):
			return fmt.Errorf("the Swap that lost returned %w instead of ErrConflict", err)
		}
	}
	if winner < 0 {
		return errors.New("of several Swaps at the current version none succeeded")
	}
	return t.has(t.key("k"), []byte("from "+strconv.Itoa(winner)), "")
}
