// Package words makes other people's words fit for errors, events and terminals.
package words

import (
	"strings"
	"unicode"
)

// most is how much of a text is shown, in runes.
const most = 200

// Printable is text with a space for each rune that does not show itself, and its beginning if it is long. What it cannot know is
// whether there is a secret in it.
func Printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if !IsPrintable(r) {
			return ' '
		}
		return r
	}, text)
	runes := []rune(strings.TrimSpace(text))
	return string(runes[:min(len(runes), most)])
}

// List is names made printable, with commas between them.
func List(names []string) string { return Printable(strings.Join(names, ", ")) }

// IsPrintable reports whether r can stand in an error or on a terminal and shows itself only: no control character, no mark that
// turns the direction of text.
func IsPrintable(r rune) bool { return r != unicode.ReplacementChar && unicode.IsPrint(r) }
