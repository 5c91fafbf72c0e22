package main

import (
	"crypto/rand"
	"fmt"
	"os"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/keychain"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// place is where the grant lives. Each life of the program opens it anew.
type place struct {
	name   string
	open   func() (tokenstore.Store, error)
	remove func()
}

func newPlace(kind string) (*place, error) {
	keep := func() {}
	switch kind {
	case "file":
		dir, err := os.MkdirTemp("", "evergrant-quickstart-")
		if err != nil {
			return nil, err
		}
		key := make([]byte, 32) // a program keeps its key apart from the folder, or uses the keychain
		rand.Read(key)
		open := func() (tokenstore.Store, error) { return file.New(dir, file.Options{Key: seal.RawKey(key)}) }
		return &place{"sealed files under " + dir, open, func() { os.RemoveAll(dir) }}, nil
	case "keychain":
		open := func() (tokenstore.Store, error) {
			return keychain.New("evergrant-quickstart", keychain.Options{})
		}
		return &place{"the keychain", open, keep}, nil
	case "memory":
		memory := tokenstore.NewMemory()
		return &place{"memory", func() (tokenstore.Store, error) { return memory, nil }, keep}, nil
	}
	return nil, fmt.Errorf("-store is %q; it is file, keychain or memory", kind)
}
