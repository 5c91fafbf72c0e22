// Package keyname turns a key of any bytes into a short name that file systems and keychains keep
// apart from every other one.
package keyname

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// longest is the length of the longest name. With a prefix and a suffix it stays below 143 bytes, the
// least that a file system in use allows (eCryptfs).
const longest = 128

// Escape returns the name of key: its lower-case letters, digits and . - _ as they are, every other
// byte as % and two lower-case hexadecimal digits. A name of more than 128 bytes ends in ~ and the
// SHA-256 of the key instead. Two keys never share a name, even where case, Unicode forms or the
// separator do not count.
//
// The name alone may still be reserved (con, .., a final dot on Windows): give it a prefix and a suffix.
func Escape(key string) string {
	const digits = "0123456789abcdef"
	var name strings.Builder
	for i := 0; i < len(key) && name.Len() <= longest; i++ {
		if c := key[i]; isPlain(c) {
			name.WriteByte(c)
		} else {
			name.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	if name.Len() <= longest {
		return name.String()
	}
	sum := sha256.Sum256([]byte(key))
	hash := "~" + hex.EncodeToString(sum[:])
	return name.String()[:longest-len(hash)] + hash
}

func isPlain(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_'
}
