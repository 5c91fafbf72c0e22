package seal

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/evergrant/evergrant/internal/lockfile"
	"github.com/evergrant/evergrant/internal/secret"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/internal/durable"
)

// Argon2id's cost, of form 1 of the file: the second recommendation of RFC 9106, section 4.
const (
	passes  = 3
	memory  = 64 << 10 // KiB
	threads = 4
)

// The file beside a passphrase is three lines: the form, the salt, and the id of the key, by which a
// wrong passphrase is told at once.
const (
	passphraseFile = "evergrant passphrase "
	passphraseNow  = passphraseFile + "1"
	wordSalt       = "salt "
	wordKey        = "key "
)

// Passphrase is the KeySource of a key that argon2id (RFC 9106) makes of a passphrase, which is used as
// it is given, byte by byte. It takes 64 MiB and about a tenth of a second, once in a process.
//
// The file at path keeps the salt, and tells a wrong passphrase (ErrWrongKey) before anything is sealed
// with it. It is made with the first key, by one of all the processes that try. It may lie in the folder
// of a file.Store. It is not secret, but without it nothing that was sealed opens: keep it with the
// values, in a backup too. To change the passphrase name another path, with this one as a former key.
func Passphrase(path, passphrase string) KeySource {
	return &phrase{
		path: path,
		text: secret.New(passphrase),
		lock: lockfile.New(path + ".lock"),
		turn: make(chan struct{}, 1),
	}
}

type phrase struct {
	path string
	text secret.String
	lock *lockfile.Lock
	turn chan struct{} // full while somebody uses what follows

	salt string        // of known
	key  secret.String // the last one derived
}

// check says what NewBox cannot accept.
func (p *phrase) check() error {
	switch {
	case p.path == "":
		return errors.New("seal: Passphrase needs a path: name a file to keep its salt in")
	case p.text.IsEmpty():
		return errors.New("seal: Passphrase got an empty passphrase")
	}
	return nil
}

// Key implements KeySource. It reads the file each time: while it is missing the key would be lost with
// this process, so nothing more is sealed with it.
func (p *phrase) Key(ctx context.Context, create bool) ([]byte, error) {
	salt, id, err := p.read(ctx)
	if lockfile.IsAbsent(err) {
		if !create {
			return nil, nil
		}
		return p.make(ctx)
	}
	if err != nil {
		return nil, err
	}
	key, err := p.derive(ctx, salt)
	if err != nil {
		return nil, err
	}
	got, err := keyID(key)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(got, id) == 0 {
		return nil, fmt.Errorf("%w: this is not the passphrase that %s was made with", ErrWrongKey, p.path)
	}
	return key, nil
}

// make makes the file, unless somebody else just has.
func (p *phrase) make(ctx context.Context) ([]byte, error) {
	if err := durable.MakeFolder(filepath.Dir(p.path)); err != nil {
		return nil, fmt.Errorf("seal: the folder of the passphrase's salt cannot be made: %w", err)
	}
	if err := lockfile.CheckFolder(filepath.Dir(p.path)); err != nil { // two machines could make one each
		return nil, fmt.Errorf("seal: %w", err)
	}
	release, err := p.lock.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	defer release()
	if _, _, err := p.read(ctx); !lockfile.IsAbsent(err) {
		if err != nil {
			return nil, err
		}
		return p.Key(ctx, false)
	}
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("seal: making a salt: %w", err)
	}
	key, err := p.derive(ctx, salt)
	if err != nil {
		return nil, err
	}
	id, err := keyID(key)
	if err != nil {
		return nil, err
	}
	text := passphraseNow + "\n" + wordSalt + hex.EncodeToString(salt) + "\n" + wordKey + hex.EncodeToString(id) + "\n"
	if err := durable.Write(ctx, p.path, []byte(text), true); err != nil {
		return nil, fmt.Errorf("seal: the passphrase's salt cannot be kept: %w", err)
	}
	return key, nil
}

// read takes the file apart.
func (p *phrase) read(ctx context.Context) (salt, id []byte, err error) {
	var data []byte
	err = durable.Patiently(ctx, func() (err error) {
		data, err = os.ReadFile(p.path)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("seal: the passphrase's salt cannot be read: %w", err)
	}
	lines := strings.Split(string(data), "\n")
	if strings.HasPrefix(lines[0], passphraseFile) && lines[0] != passphraseNow {
		return nil, nil, fmt.Errorf("seal: %s was written by a newer version of the program: update this one", p.path)
	}
	if len(lines) == 4 && lines[0] == passphraseNow && lines[3] == "" {
		var errSalt, errID error
		salt, errSalt = field(lines[1], wordSalt)
		id, errID = field(lines[2], wordKey)
		if errSalt == nil && errID == nil && len(salt) == 16 && len(id) == idLength {
			return salt, id, nil
		}
	}
	return nil, nil, fmt.Errorf("seal: %s: %w: restore it, for nothing that was sealed with it opens without it", p.path, tokenstore.ErrDamaged)
}

func field(line, word string) ([]byte, error) {
	text, found := strings.CutPrefix(line, word)
	if !found {
		return nil, fs.ErrInvalid
	}
	return hex.DecodeString(text)
}

// derive returns the key of the passphrase and salt. Argon2 knows no context, so a caller may leave
// before it is done; the result serves the next one.
func (p *phrase) derive(ctx context.Context, salt []byte) ([]byte, error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if p.salt == string(salt) {
		key := p.key.Reveal()
		<-p.turn
		return []byte(key), nil
	}
	derived := make(chan string, 1)
	go func() {
		key := string(argon2.IDKey([]byte(p.text.Reveal()), salt, passes, memory, threads, keyLength))
		p.salt, p.key = string(salt), secret.New(key)
		<-p.turn
		derived <- key
	}()
	select {
	case key := <-derived:
		return []byte(key), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
