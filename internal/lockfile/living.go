package lockfile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"

	"github.com/gofrs/flock"
)

// Living is a folder in which the holders of names show that they live: each keeps the lock on a file
// of its own. Names are used once. A Living is safe for concurrent use.
type Living struct{ dir string }

// NewLiving makes the Living in the folder dir, which must exist by the time of Hold.
func NewLiving(dir string) Living { return Living{dir} }

// Hold locks name until release is called or the process dies. When Hold returns, the file is there
// and locked, so the name may be announced.
func (l Living) Hold(ctx context.Context, name string) (release func(), err error) {
	path, err := l.path(name)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := take(ctx, path)
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() { remove(file) }), nil
}

// Held reports whether somebody alive holds name. A missing file is nobody's; one that a dead holder
// left behind is removed. For the instant of such a removal another waiter may be told that the
// holder lives: a later look says better.
func (l Living) Held(ctx context.Context, name string) (bool, error) {
	path, err := l.path(name)
	if err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	file := flock.New(path, flock.SetFlag(os.O_RDONLY))
	locked, err := file.TryLock()
	switch {
	case IsAbsent(err):
		return false, nil
	case IsMomentary(err): // somebody else is removing it
		return true, nil
	case err != nil:
		return false, fmt.Errorf("lockfile: the lock file %s cannot be looked at: %w", path, err)
	case !locked:
		return true, nil
	}
	if isCurrent(file) {
		remove(file)
	} else {
		_ = file.Unlock()
	}
	return false, nil
}

// remove unlocks and removes a file that the caller has locked. Windows removes no open file; it also
// refuses to remove one that somebody else has opened meanwhile, so that nobody's lock is lost there.
// Elsewhere the file goes while it is locked: whoever opened it before sees that it is not current.
func remove(file *flock.Flock) {
	if runtime.GOOS == "windows" {
		_ = file.Unlock()
		_ = os.Remove(file.Path())
		return
	}
	_ = os.Remove(file.Path())
	_ = file.Unlock()
}

// word is what a name may be: it comes out of a stored record, so it could name anything.
var word = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (l Living) path(name string) (string, error) {
	if !word.MatchString(name) {
		return "", fmt.Errorf("lockfile: %.80q is no name for a lock: use 1 to 64 letters, digits, - and _", name)
	}
	return filepath.Join(l.dir, "live-"+name), nil
}
