package crew_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/internal/e2e/crew"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestInDoubt(t *testing.T) {
	leased := func(token string) crew.Event { return crew.Event{Name: crew.Leased, Detail: token} }
	settled := func(token string) crew.Event { return crew.Event{Name: crew.Settled, Detail: token} }
	sending, called := crew.Event{Name: crew.Sending}, crew.Event{Name: crew.Called}
	for _, tt := range []struct {
		name   string
		events []crew.Event
		want   string
	}{
		{"nothing has happened", nil, ""},
		{"the lease alone", []crew.Event{leased("a")}, ""},
		{"sent", []crew.Event{leased("a"), sending, called}, "a"},
		{"sent, and the lease extended", []crew.Event{leased("a"), sending, leased("a")}, "a"},
		{"sent again", []crew.Event{leased("a"), sending, sending}, "a"},
		{"saved", []crew.Event{leased("a"), sending, settled("b")}, ""},
		{"the next one sent", []crew.Event{leased("a"), sending, settled("b"), leased("b"), sending}, "b"},
		{"outdone, and the next one leased", []crew.Event{leased("a"), sending, leased("b")}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, crew.InDoubt(tt.events)) })
	}
}
