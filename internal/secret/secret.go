// Package secret holds strings that must not be shown.
package secret

import (
	"fmt"
	"log/slog"
)

// redacted is what every way of formatting a String shows.
const redacted = "[redacted]"

// String is a secret: a token, a code, a verifier, a client secret. It shows itself under no fmt
// verb, slog handler or encoder. The text lies behind a pointer, so that even fmt's reflection on an
// unexported field of somebody's struct prints an address. The zero String is empty.
type String struct{ text *string }

// New makes a String of text.
func New(text string) String {
	if text == "" {
		return String{}
	}
	return String{&text}
}

// Reveal returns the text, for the wire and for the store.
func (s String) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsEmpty reports whether there is no text.
func (s String) IsEmpty() bool { return s.text == nil }

// Format implements fmt.Formatter for every verb.
func (s String) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// String implements fmt.Stringer.
func (s String) String() string {
	if s.text == nil {
		return ""
	}
	return redacted
}

// LogValue implements slog.LogValuer.
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler, so that JSON shows no secret either.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
