// Package sample has one of each kind of exported name.
package sample

import "fmt"

const (
	// Named has a comment.
	Named Kind = 1
	Next
	hidden
)

// ErrOne has the comment of its group of one.
var ErrOne, errTwo error

// Make is a generic function.
func Make[T any](list []T, more ...string) (*Box[T], error) { return nil, nil }

// Box is a generic struct.
type Box[T any] struct {
	Items []T
	Kind
	label string

	// Width and Height share a comment.
	Width  int
	Height int

	Last int
}

// Open is a method.
func (b *Box[T]) Open(func() T) (ok bool) { return false }

func (b *Box[T]) shut() {}

// Kind is a type of another.
type Kind int

// Alias is the same type.
type Alias = Kind

type secret struct{ Visible int }

// Reveal is not reachable by its type's name.
func (secret) Reveal() {}

// Opener is an interface.
type Opener interface {
	Open() error
	fmt.Stringer
	shut()
}
