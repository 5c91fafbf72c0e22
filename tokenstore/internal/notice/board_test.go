package notice_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore/internal/notice"
)

func TestBoard(t *testing.T) {
	var board notice.Board
	board.Post("k", "nobody listens")
	var first, second []string
	stopFirst := board.Notify(func(key, text string) { first = append(first, key+": "+text) })
	stopSecond := board.Notify(func(key, text string) { second = append(second, key+": "+text) })
	board.Post("k", "one")
	stopFirst()
	stopFirst()
	board.Post("", "two")
	stopSecond()
	board.Post("k", "three")
	require.Equal(t, []string{"k: one"}, first)
	require.Equal(t, []string{"k: one", ": two"}, second)
}
