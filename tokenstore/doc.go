// Package tokenstore says what a store of grants must do, and has the simplest one, which is in memory.
//
// # The contract
//
// A Store loads an opaque value with its version, and replaces it if the version is still the same.
// It knows nothing of tokens, leases or expiry: the renewal engine of package client runs one
// protocol over every Store. The rules stand at Store; package storetest turns them into tests, so
// that a store of your own is proved by one line.
//
// # The stores
//
//	store                     kept                   shared by              for
//	tokenstore.Memory         until the process ends goroutines             tests, daemons with a configured grant
//	tokenstore.Funcs          where two functions do goroutines             a place with a load and a save, and one process
//	tokenstore/file           one file a key         processes              a laptop, a server, a container with a volume
//	tokenstore/keychain       in the OS keychain     a person's processes   programs on a laptop
//	tokenstore/sqlstore       a table (own module)   machines               replicas over PostgreSQL; SQLite on one machine
//	tokenstore/redisstore     Redis (own module)     machines               replicas over Redis or Valkey
//
// A command-line tool takes the keychain, or files sealed with a key that the keychain holds; a
// service on one machine takes files sealed with a key of its own (package seal); replicas take SQL or
// Redis. A CI job that runs once and forgets takes Memory. No store falls back to another one by itself,
// least of all to plain text: keychain.Store.OrElse names one. Copy moves grants from one store to
// another. What a store can do beside Load and Swap:
//
//	                Lister  Waiter  Liveness  Prober  Expirer  Notifier
//	Memory          yes     yes     –         –       –        –
//	file            yes     –       yes       yes     –        yes
//	keychain        yes     –       yes       yes     –        yes
//	sqlstore        yes     LISTEN  –         yes     yes      –
//	redisstore      yes     yes     –         yes     yes      yes
//
// # Keys
//
// The engine's keys are made by Key and taken apart by SplitKey: issuer, client id and session, each
// escaped. They are public: a store may show them in file names and in errors.
//
// # Security
//
// A value holds refresh tokens. Values and versions appear in no error. Files in the clear, a
// keychain that any program of the person may read, a database without encryption: each says in its
// package doc what it protects against and what not.
//
// # Compatibility
//
// Optional abilities are interfaces found by assertion, so that Store itself never grows.
package tokenstore
