// Package redisstore keeps grants in Redis or Valkey, for programs on many machines that share them. It speaks through
// github.com/redis/go-redis/v9.
//
// # Use
//
//	client := redis.NewFailoverClient(&redis.FailoverOptions{…}) // or NewClient, NewClusterClient
//	store, err := redisstore.New(client, redisstore.Options{Key: seal.RawKey(key)})
//
// A Store is a Lister, Waiter, Prober, Expirer and Notifier. The client stays the program's: the Store never closes it.
// *redis.Ring and clients that read from replicas are refused, as far as a client tells (ReplicaOnly it does not). Options.Key seals the values; Options.Plaintext does not.
//
// # What is kept
//
// Each key is one string in Redis, under Options.Prefix and the key as it is: a version of 130 random bits, one byte for the
// form, the value, sealed or not. Load is a GET; Swap is one script of that key alone, so that every slot of a cluster
// will do; each is one round trip. A server that does not know the script yet, after a restart, gets it in a second one.
// The first Swap also reads INFO. A Swap whose connection breaks is tried once more, with the same version: a first
// try that was done is recognised. Where that cannot be told (a deletion, or somebody wrote since) the error is no
// tokenstore.ErrConflict, and says that the outcome is open.
//
// A value with an end (SwapUntil) is removed by Redis a day after it, counted from the moment of the Swap: the clocks of
// Redis and of the program need not agree.
//
// # Durability
//
// Swap returns nil when the primary has made the change. What that is worth is a matter of its settings:
//
//	appendonly yes, appendfsync always   a change survives a crash of the server and of its machine
//	appendonly yes, appendfsync everysec the last second can be lost
//	snapshots only, or neither           a restart brings back old grants, or none
//	maxmemory-policy noeviction          any other removes grants when the memory is full, those with an end first
//	min-replicas-to-write 1              a primary that is cut off soon takes no writes, which then are not lost (scripts,
//	                                     and so Swap, heed it from Redis 7.0 only)
//
// Probe and the first Swap look at the two of these that a server tells, and post a notice where they cost grants; where
// INFO is forbidden they say nothing. A full memory without eviction is an error, and nothing is lost.
//
// Redis replicates asynchronously. When Sentinel, a cluster or a cloud's control plane promotes a replica, changes that
// it had not got are gone, usually those of the last milliseconds, and those that a primary took while it was cut off.
// Options.Replicas has every Swap wait until so many replicas have the change, for a second at most: a fail-over
// to one of them then loses nothing. It is a wait, not a quorum: a Swap that too few confirm in time is an error, its change
// stays, and the engine, which finds it there, goes on. Neither Redis nor this package can promise more; where a lost
// grant is worse than a slow one, use package sqlstore over a database that replicates synchronously.
//
// What the engine does after such a loss, by what was lost:
//
//   - A lease: its holder finds it gone before it sends anything again. A request that was out already may meet one of
//     another process, which took the lease on the new primary: the refresh token is then presented twice.
//   - The save after a rotation: the older refresh token is back. The process that renewed has the newer one in memory
//     and goes on from it. Another process that renews first presents the older one: a server with a leeway answers with
//     the successor; a strict one takes it for theft and ends the grant, and the person logs in anew.
//   - A login: the person logs in anew. A logout: the grant is back, and revoked, which its next renewal finds out.
//
// Versions are random, so that a Swap at a version that was lost is a conflict and never a silent overwrite.
//
// # Waiting
//
// Swap publishes to the channel that is called like the key. All who wait on one Store share one connection, beside the
// client's pool, which is there only meanwhile: a Store at rest has no goroutine, no timer and no connection of its own. A
// message can be lost; Wait looks after it has begun to listen, and returns by itself after ten seconds. On a cluster
// every message goes to every server.
//
// # Concurrency
//
// A Store is safe for concurrent use, and any number of them in any number of processes behave as one. A call returns as
// soon as its context ends. go-redis cannot leave a read: what was begun ends by itself, within ReadTimeout of the client,
// and a Swap may still take effect. So leave ReadTimeout as it is, or above zero. A call that can be left runs in a goroutine
// of its own.
//
// # Errors
//
// What the server or the network refuses is an *Error, whose Code is the server's own word: READONLY, OOM, MISCONF,
// NOREPLICAS, NOAUTH, WRONGPASS, NOPERM, LOADING, CLUSTERDOWN …, and whose text says what to do. The next call asks again;
// nothing needs to be made anew. A key whose value this package did not write is tokenstore.ErrDamaged; one that another key
// seals, or none, is seal.ErrWrongKey. Neither is overwritten.
//
// # Security
//
// Sealed values are bound to their prefix, key and version: see package seal. The names of the keys show issuers, client
// ids and the program's names for its accounts. Whoever can write to Redis can still delete a grant, or bring back an
// older one. Without a seal whoever reads Redis, its files, its replicas or its traffic reads the tokens. In both cases use
// TLS (TLSConfig of the client) beyond one machine, and a user of its own:
//
//	ACL SETUSER evergrant on >password ~evergrant:* &evergrant:* +get +getrange +set +del +append
//	    +evalsha +eval +publish +subscribe +unsubscribe +scan +info +wait
//
// Without the channels (&) Swap works and Wait is an error, for which the engine polls. Without +info there are no notices;
// +scan is for Keys, +wait for Options.Replicas.
//
// # Compatibility
//
// Redis 6.2 and later, and Valkey, which has the same commands. The tests run on the Redis of Debian 12 (7.0), alone, with
// replicas, under Sentinel and as a cluster of three; on a machine that has only Valkey they take that. Redis and Valkey
// in the same cluster, Redis Enterprise and proxies in front of Redis are not tested.
package redisstore
