package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

// swapUntil must succeed.
func (t *trial) swapUntil(old tokenstore.Version, value string, until time.Time) (tokenstore.Version, error) {
	e, ok := t.store.(tokenstore.Expirer)
	if !ok {
		return "", errNotOffered
	}
	version, err := e.SwapUntil(t.ctx, t.key("k"), old, []byte(value), until)
	if err != nil {
		return "", fmt.Errorf("SwapUntil at a current version failed: %w", err)
	}
	if (version == "") != (value == "") {
		return "", errors.New("SwapUntil returned the zero Version for a value, or another one for a deletion")
	}
	return version, nil
}

func expires(t *trial) (err error) {
	seen := make(map[tokenstore.Version]bool)
	var version tokenstore.Version
	for i, until := range []time.Time{
		{}, time.Now().Add(time.Hour), {}, time.Now().AddDate(100, 0, 0), time.Now().Add(200 * time.Millisecond),
	} {
		value := "value " + strconv.Itoa(i)
		if version, err = t.swapUntil(version, value, until); err != nil {
			return err
		}
		if seen[version] {
			return errors.New("SwapUntil returned a version that another value had")
		}
		seen[version] = true
		if err := t.stays(value, version, until); err != nil {
			return err
		}
		if err := t.refuses(until); err != nil {
			return err
		}
	}
	if version, err = t.passes(version, "value 4"); err != nil {
		return err
	}
	for i := range 5 {
		if i == 0 {
			version, err = t.replaced(version)
		} else {
			version, err = t.swap(t.key("k"), version, []byte("after "+strconv.Itoa(i)))
		}
		if err != nil {
			return fmt.Errorf("after the time given: %w", err)
		}
		if seen[version] {
			return errors.New("a version came back after the time of its value")
		}
		seen[version] = true
	}
	if _, err = t.swapUntil(version, "", time.Now().Add(time.Hour)); err != nil {
		return err
	}
	return t.hasNot(t.key("k"))
}

// stays looks for a value until its time has come.
func (t *trial) stays(value string, version tokenstore.Version, until time.Time) error {
	err := t.has(t.key("k"), []byte(value), version)
	if err != nil && (until.IsZero() || time.Now().Before(until)) {
		return fmt.Errorf("before the time given: %w", err)
	}
	return nil
}

// refuses makes a SwapUntil at a version that is not current.
func (t *trial) refuses(until time.Time) error {
	_, err := t.store.(tokenstore.Expirer).SwapUntil(t.ctx, t.key("k"), "", []byte("other"), until)
	if !errors.Is(err, tokenstore.ErrConflict) && (until.IsZero() || time.Now().Before(until)) {
		return fmt.Errorf("SwapUntil at a version that is not current returned %v instead of ErrConflict", err)
	}
	return nil
}

// passes watches the key until after its value's time, and returns the version that it is at then.
func (t *trial) passes(version tokenstore.Version, value string) (tokenstore.Version, error) {
	gone := false
	for end := time.Now().Add(400 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		got, at, err := t.load(t.key("k"))
		switch {
		case errors.Is(err, tokenstore.ErrNotFound):
			gone = true
		case err != nil:
			return "", fmt.Errorf("Load around the time given failed: %w", err)
		case gone:
			return "", errors.New("a value came back after its time")
		case string(got) != value || at != version:
			return "", errors.New("Load around the time given returned another value or version")
		}
	}
	if gone {
		return "", nil
	}
	return version, nil
}

// replaced replaces a value whose time has come, and which the store may let go at any moment.
func (t *trial) replaced(version tokenstore.Version) (tokenstore.Version, error) {
	now, err := t.try(t.key("k"), version, []byte("replacement"))
	if version != "" && errors.Is(err, tokenstore.ErrConflict) {
		now, err = t.try(t.key("k"), "", []byte("replacement"))
	}
	if err != nil {
		return "", fmt.Errorf("Swap failed: %w", err)
	}
	return now, nil
}

// outlives replaces a value before its time, and looks for the replacement after it.
func outlives(t *trial) error {
	soon := 150 * time.Millisecond
	for range attempts {
		until := time.Now().Add(soon)
		first, err := t.swapUntil("", "short-lived", until)
		if err != nil {
			return err
		}
		second, err := t.try(t.key("k"), first, []byte("long-lived"))
		if errors.Is(err, tokenstore.ErrConflict) && time.Now().After(until) {
			soon *= 4 // the machine was too slow for so short a time
			t.prefix += "again/"
			continue
		}
		if err != nil {
			return fmt.Errorf("Swap before the time given failed: %w", err)
		}
		time.Sleep(time.Until(until) + 100*time.Millisecond)
		if err := t.has(t.key("k"), []byte("long-lived"), second); err != nil {
			return fmt.Errorf("after the time of the value before: %w", err)
		}
		return nil
	}
	return errors.New("Swap at the version that SwapUntil returned is always too late")
}
