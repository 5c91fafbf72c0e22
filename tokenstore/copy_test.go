package tokenstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// grant is a record as the engine stores it.
func grant(id string, generation uint64) *record.Record {
	return &record.Record{Grant: id, Generation: generation, Leases: generation, RefreshToken: "rt-" + strconv.FormatUint(generation, 10)}
}

// put stores r under key, whatever is there.
func put(t *testing.T, store tokenstore.Store, key string, r *record.Record) {
	t.Helper()
	data, err := r.Encode()
	require.NoError(t, err)
	_, version, err := store.Load(t.Context(), key)
	if err != nil {
		require.ErrorIs(t, err, tokenstore.ErrNotFound)
	}
	_, err = store.Swap(t.Context(), key, version, data)
	require.NoError(t, err)
}

// stored is what lies under key; nil: nothing.
func stored(t *testing.T, store tokenstore.Store, key string) *record.Record {
	t.Helper()
	data, _, err := store.Load(t.Context(), key)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return nil
	}
	require.NoError(t, err)
	r, err := record.Decode(data)
	require.NoError(t, err)
	return r
}

func TestCopyMoves(t *testing.T) {
	from, to := tokenstore.NewMemory(), tokenstore.NewMemory()
	for i := range 5 {
		put(t, from, strconv.Itoa(i), grant("g"+strconv.Itoa(i), 7))
	}
	put(t, to, "another", grant("other", 1))
	for range 2 { // the second time there is nothing to do
		require.NoError(t, tokenstore.Copy(t.Context(), from, to))
		for i := range 5 {
			require.Nil(t, stored(t, from, strconv.Itoa(i)))
			got := stored(t, to, strconv.Itoa(i))
			require.Equal(t, "g"+strconv.Itoa(i), got.Grant)
			require.Equal(t, "rt-7", got.RefreshToken)
			require.Nil(t, got.Lease)
		}
		require.Equal(t, "other", stored(t, to, "another").Grant)
	}
}

func TestCopyWhereBothHoldSomething(t *testing.T) {
	for name, c := range map[string]struct {
		from, to, wantFrom, want *record.Record
		err                      error
	}{
		"an older state of the grant": {from: grant("g", 5), to: grant("g", 3), want: grant("g", 5)},
		"a newer state of the grant":  {from: grant("g", 3), to: grant("g", 5), want: grant("g", 5)},
		"the same state":              {from: grant("g", 3), to: grant("g", 3), want: grant("g", 3)},
		"another grant": {
			from: grant("g", 3), to: grant("h", 1), wantFrom: grant("g", 3), want: grant("h", 1), err: tokenstore.ErrConflict,
		},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := tokenstore.NewMemory(), tokenstore.NewMemory()
			put(t, from, "k", c.from)
			put(t, to, "k", c.to)
			put(t, from, "l", grant("l", 1))
			require.ErrorIs(t, tokenstore.Copy(t.Context(), from, to), c.err)
			left := stored(t, from, "k")
			if c.wantFrom == nil {
				require.Nil(t, left)
			} else {
				require.Equal(t, c.wantFrom.RefreshToken, left.RefreshToken)
				require.Nil(t, left.Lease, "nobody gave the lease back")
			}
			got := stored(t, to, "k")
			require.Equal(t, c.want.Grant, got.Grant)
			require.Equal(t, c.want.RefreshToken, got.RefreshToken)
			require.NotNil(t, stored(t, to, "l"), "one key's trouble kept another from being moved")
		})
	}
}

func TestCopyWaitsForRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := tokenstore.NewMemory(), tokenstore.NewMemory()
		leased := grant("g", 3).WithLease(record.Lease{Owner: "o", Attempt: "a", Length: 15 * time.Second})
		put(t, from, "k", leased)
		began := time.Now()
		go func() {
			time.Sleep(10 * time.Second)
			leased.Lease.Beat++
			put(t, from, "k", leased)
			time.Sleep(10 * time.Second)
			require.NotNil(t, stored(t, from, "k").Lease)
			require.Nil(t, stored(t, to, "k"), "the grant was copied under somebody's lease")
			put(t, from, "k", grant("g", 4))
		}()
		require.NoError(t, tokenstore.Copy(t.Context(), from, to))
		require.WithinDuration(t, began.Add(20*time.Second), time.Now(), time.Second)
		require.Equal(t, "rt-4", stored(t, to, "k").RefreshToken)

		// The lease of a dead program ends.
		put(t, from, "l", grant("l", 3).WithLease(record.Lease{Owner: "o", Attempt: "a", Length: 15 * time.Second, Since: began}))
		require.NoError(t, tokenstore.Copy(t.Context(), from, to))
		require.Equal(t, "rt-3", stored(t, to, "l").RefreshToken)
		require.Equal(t, began.UTC(), stored(t, to, "l").Unanswered.UTC(), "it is forgotten that the dead program may have spent the token")

		put(t, from, "m", grant("m", 3).WithLease(record.Lease{Owner: "o", Attempt: "a", Length: 15 * time.Second}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, tokenstore.Copy(ctx, from, to), context.DeadlineExceeded)
	})
}

// failing is a store whose nth Swap fails, after it has taken effect or without.
type failing struct {
	*tokenstore.Memory
	n     int
	after bool
}

var errBroken = errors.New("broken")

func (s *failing) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	s.n--
	if s.n == 0 && !s.after {
		return "", errBroken
	}
	version, err := s.Memory.Swap(ctx, key, old, value)
	if s.n == 0 {
		return "", errBroken
	}
	return version, err
}

func TestCopyThatIsCutShortLosesNothing(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := range 4 { // the lease, the writing, the deletion
			for _, breaksFrom := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					from, to := &failing{Memory: tokenstore.NewMemory()}, &failing{Memory: tokenstore.NewMemory()}
					put(t, from, "k", grant("g", 3))
					broken := to
					if breaksFrom {
						broken = from
					}
					broken.n, broken.after = n, after
					first := tokenstore.Copy(t.Context(), from, to)
					if first != nil {
						require.ErrorIs(t, first, errBroken)
						require.False(t, stored(t, from, "k") == nil && stored(t, to, "k") == nil, "the grant is lost")
					}
					if left := stored(t, from, "k"); left != nil && left.Lease == nil {
						require.Nil(t, stored(t, to, "k"), "it can be spent out of both")
					}
					broken.n = 0
					require.NoError(t, tokenstore.Copy(t.Context(), from, to))
					require.Nil(t, stored(t, from, "k"))
					require.Equal(t, "rt-3", stored(t, to, "k").RefreshToken)
				})
			}
		}
	}
}

// interrupted is a store whose first deletion, that of what was copied, comes after something else.
type interrupted struct {
	*tokenstore.Memory
	by   func()
	came bool
}

func (s *interrupted) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	if len(value) == 0 && !s.came {
		s.came = true
		s.by()
	}
	return s.Memory.Swap(ctx, key, old, value)
}

// cancelling is a store whose first write ends somebody's context.
type cancelling struct {
	*tokenstore.Memory
	cancel context.CancelFunc
}

func (s *cancelling) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	version, err := s.Memory.Swap(ctx, key, old, value)
	s.cancel()
	return version, err
}

// A grant is in one place as soon as it can be, whoever gives up meanwhile.
func TestCopyThatIsCancelledDeletesWhatItHasCopied(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	from, to := tokenstore.NewMemory(), &cancelling{tokenstore.NewMemory(), cancel}
	put(t, from, "k", grant("g", 3))
	require.NoError(t, tokenstore.Copy(ctx, from, to))
	require.Error(t, ctx.Err())
	require.Nil(t, stored(t, from, "k"))
	require.Equal(t, "rt-3", stored(t, to, "k").RefreshToken)
}

func TestCopyThatALogoutMeets(t *testing.T) {
	logout := func(store *tokenstore.Memory) {
		_, version, err := store.Load(t.Context(), "k")
		require.NoError(t, err)
		_, err = store.Swap(t.Context(), "k", version, nil)
		require.NoError(t, err)
	}
	for name, c := range map[string]struct {
		there     *record.Record // in the other store before
		meanwhile func(t *testing.T, from, to *tokenstore.Memory)
		want      *record.Record
	}{
		"logged out where it was": {
			meanwhile: func(_ *testing.T, from, _ *tokenstore.Memory) { logout(from) },
		},
		"logged out, and an earlier Copy had begun": {
			there:     grant("g", 3),
			meanwhile: func(_ *testing.T, from, _ *tokenstore.Memory) { logout(from) },
		},
		"logged out, and somebody goes on from the copy": {
			meanwhile: func(t *testing.T, from, to *tokenstore.Memory) {
				put(t, to, "k", grant("g", 4))
				logout(from)
			},
			want: grant("g", 4),
		},
		"another Copy moves it": {
			meanwhile: func(t *testing.T, from, to *tokenstore.Memory) {
				require.NoError(t, tokenstore.Copy(t.Context(), from, to))
			},
			want: grant("g", 3),
		},
		"logged out in both": {
			meanwhile: func(_ *testing.T, from, to *tokenstore.Memory) { logout(from); logout(to) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from, to := tokenstore.NewMemory(), tokenstore.NewMemory()
				put(t, from, "k", grant("g", 3))
				if c.there != nil {
					put(t, to, "k", c.there)
				}
				s := &interrupted{Memory: from, by: func() { c.meanwhile(t, from, to) }}
				require.NoError(t, tokenstore.Copy(t.Context(), s, to))
				require.Nil(t, stored(t, from, "k"))
				got := stored(t, to, "k")
				if c.want == nil {
					require.Nil(t, got, "the logout is undone")
					return
				}
				require.NotNil(t, got, "the grant is lost")
				require.Equal(t, c.want.RefreshToken, got.RefreshToken)
			})
		})
	}
}

// expiring is a store that is told how long values are of use.
type expiring struct {
	*tokenstore.Memory
	until []time.Time
}

func (s *expiring) SwapUntil(ctx context.Context, key string, old tokenstore.Version, value []byte, until time.Time) (tokenstore.Version, error) {
	s.until = append(s.until, until)
	return s.Memory.Swap(ctx, key, old, value)
}

func TestCopyTellsHowLongAGrantIsOfUse(t *testing.T) {
	from, to := tokenstore.NewMemory(), &expiring{Memory: tokenstore.NewMemory()}
	ends := grant("g", 3)
	ends.Access = map[string]*record.Access{"": {Token: "at", Issued: time.Unix(1e9, 0)}}
	ends.Extra = map[string]json.RawMessage{"refresh_expires_in": json.RawMessage("3600")}
	put(t, from, "k", ends)
	require.NoError(t, tokenstore.Copy(t.Context(), from, to))
	require.Len(t, to.until, 1)
	require.Equal(t, time.Unix(1e9, 0).Add(25*time.Hour).UTC(), to.until[0].UTC())
}

// unlisted is a store without abilities.
type unlisted struct{ tokenstore.Store }

func TestCopyRefuses(t *testing.T) {
	from := tokenstore.NewMemory()
	put(t, from, "k", grant("g", 3))
	t.Run("a store that cannot list", func(t *testing.T) {
		require.ErrorIs(t, tokenstore.Copy(t.Context(), unlisted{from}, tokenstore.NewMemory()), errors.ErrUnsupported)
	})
	t.Run("one place under two names", func(t *testing.T) {
		require.Error(t, tokenstore.Copy(t.Context(), from, unlisted{from}))
		require.Equal(t, "rt-3", stored(t, from, "k").RefreshToken)
		require.Nil(t, stored(t, from, "k").Lease)
	})
	t.Run("what is no grant", func(t *testing.T) {
		_, err := from.Swap(t.Context(), "strange", "", []byte("something"))
		require.NoError(t, err)
		to := tokenstore.NewMemory()
		require.Error(t, tokenstore.Copy(t.Context(), from, to))
		value, _, err := from.Load(t.Context(), "strange")
		require.NoError(t, err)
		require.Equal(t, "something", string(value))
		require.NotNil(t, stored(t, to, "k"))
	})
}
