package tokenstore_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// A program that has kept its grants in plain files seals them from now on. It does so at every start, before it
// makes its Client: there is nothing to do from the second one on.
func ExampleCopy() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	plain, err := file.New(filepath.Join(dir, "grants"), file.Options{Plaintext: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	logIn(ctx, plain, "alice") // some version ago

	sealed, err := file.New(filepath.Join(dir, "sealed grants"), file.Options{
		Key: seal.Passphrase(filepath.Join(dir, "salt"), "a passphrase that only the person knows"),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := tokenstore.Copy(ctx, plain, sealed); err != nil {
		fmt.Println(err)
		return
	}
	for _, store := range []*file.Store{plain, sealed} {
		for key := range store.Keys(ctx, "") {
			_, _, session, err := tokenstore.SplitKey(key)
			fmt.Println(session, err)
		}
	}
	// Output: alice <nil>
}

// logIn stores a grant.
func logIn(ctx context.Context, store tokenstore.Store, session string) {
	value, err := (&record.Record{Grant: "1", Generation: 1, Leases: 1, RefreshToken: "r"}).Encode()
	if err == nil {
		_, err = store.Swap(ctx, tokenstore.Key("https://op.example", "client", session), "", value)
	}
	if err != nil {
		fmt.Println(err)
	}
}
