// Package tokenstore says what a place must do in which grants are kept, and has the simplest such
// place: memory.
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
//	store                     kept                   shared by              Lister  Waiter  Liveness
//	tokenstore.Memory         until the process ends goroutines             yes     yes     no
//	tokenstore/file           one file a key         processes              yes     no      yes
//	tokenstore/keychain       in the OS keychain     a person's processes   no      no      yes
//	tokenstore/redisstore     Redis (own module)     machines               see there
//	tokenstore/sqlstore       a table (own module)   machines               see there
//
// A command-line tool takes the keychain, or files sealed with a key that the keychain holds; a
// service on one machine takes files sealed with a key of its own; replicas take Redis or SQL. No
// store falls back to another one, least of all to plain text: which one it is, the program says.
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
