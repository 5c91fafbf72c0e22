package sqlstore

import (
	"strings"
	"time"
)

// Dialect is the SQL that a database speaks.
type Dialect int

const (
	PostgreSQL Dialect = iota // tested with 15; uses nothing that is newer than 12
	SQLite                    // 3.38 or later
)

// statements are what a Store says to its database. Each is one round trip.
type statements struct {
	table string // as it is written in a statement
	time  func(time.Time) any

	schema []string // in this order
	load   string   // key: version, value, sealed
	create string   // key, version, value, sealed, until
	// replace and remove are followed by the version that is expected.
	replace string // as create
	remove  string // key
	count   string // key: 1 or 0
	version string // key: version
	some    string // 1 or 0 rows: whether there is any row
	keys    string // least key, number: that many keys
	rows    string // least key, number: key, version, value, sealed
	reseal  string // key, version, value
	tell    string // a JSON array of numbers: tells those who wait for them
	purge   string // number: the keys of so many rows that have ended and are deleted
	lock    string // for the time of a transaction, against others who migrate; empty: the database's own locks do
}

func (d Dialect) statements(schema, name string, notify bool) statements {
	s := statements{
		load:    `SELECT version, value, sealed FROM {table} WHERE key = $1`,
		create:  `INSERT INTO {table} (key, version, value, sealed, expires_at, updated_at) VALUES ($1, $2, $3, $4, $5, {now}) ON CONFLICT (key) DO NOTHING`,
		replace: `UPDATE {table} SET version = $2, value = $3, sealed = $4, expires_at = $5, updated_at = {now} WHERE key = $1 AND version = $6`,
		remove:  `DELETE FROM {table} WHERE key = $1 AND version = $2`,
		count:   `SELECT count(*) FROM {table} WHERE key = $1`,
		version: `SELECT version FROM {table} WHERE key = $1`,
		some:    `SELECT 1 FROM {table} LIMIT 1`,
		keys:    `SELECT key FROM {table} WHERE key >= $1 ORDER BY key LIMIT $2`,
		rows:    `SELECT key, version, value, sealed FROM {table} WHERE key >= $1 ORDER BY key LIMIT $2`,
		reseal:  `UPDATE {table} SET value = $3 WHERE key = $1 AND version = $2 AND sealed`,
		purge:   `DELETE FROM {table} WHERE key IN (SELECT key FROM {table} WHERE expires_at <= {now} ORDER BY expires_at LIMIT $1{skip}) RETURNING key`,
		schema: []string{`CREATE TABLE IF NOT EXISTS {table} (
	key        {bytes} PRIMARY KEY,
	version    {bytes} NOT NULL,
	value      {bytes} NOT NULL,
	sealed     boolean NOT NULL,
	expires_at {time},
	updated_at {time} NOT NULL
){with}`, `CREATE INDEX IF NOT EXISTS "{index}" ON {table} (expires_at) WHERE expires_at IS NOT NULL`},
	}
	s.table = `"` + name + `"`
	words := []string{"{index}", name + "_expires_at"}
	if schema != "" {
		s.table = `"` + schema + `".` + s.table
	}
	switch d {
	case SQLite:
		// $1 would be a parameter's name there; ?1 is its place.
		words = append(words, "{now}", "unixepoch()", "{bytes}", "BLOB", "{time}", "INTEGER", "{skip}", "", "{with}", " WITHOUT ROWID", "$", "?")
		s.time = seconds
	default:
		// Half of what changes in a row is written beside it: room for that keeps the indices still.
		words = append(words, "{now}", "now()", "{bytes}", "bytea", "{time}", "timestamptz", "{skip}", " FOR UPDATE SKIP LOCKED", "{with}", " WITH (fillfactor = 70)")
		s.time = timestamp
		s.tell = `SELECT pg_notify('` + channel + `', value) FROM json_array_elements_text($1::text::json)`
		s.lock = `SELECT pg_advisory_xact_lock(hashtext('evergrant'), hashtext('{table}'))`
	}
	if notify {
		s.create += tell("$6")
		s.replace += tell("$7")
		s.remove += tell("$3")
	}
	r := strings.NewReplacer(append(words, "{table}", s.table)...)
	for _, statement := range []*string{
		&s.load, &s.create, &s.replace, &s.remove, &s.count, &s.version, &s.some, &s.keys, &s.rows, &s.reseal, &s.purge, &s.lock,
	} {
		*statement = r.Replace(*statement)
	}
	for i := range s.schema {
		s.schema[i] = r.Replace(s.schema[i])
	}
	return s
}

// tell notifies those who wait for the key whose number is the parameter. They hold a lock of that number,
// and where nobody does nothing is sent: PostgreSQL commits transactions that notify one after the other.
// Who takes the lock later waits for this transaction to end, and then sees what it did.
func tell(parameter string) string {
	return strings.ReplaceAll(` RETURNING CASE WHEN NOT pg_try_advisory_xact_lock(#::bigint) THEN pg_notify('`+channel+`', #::bigint::text) END`, "#", parameter)
}

// timestamp is t for PostgreSQL.
func timestamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

// seconds is t for SQLite, which has no type for times: seconds since 1970, none of them cut short.
func seconds(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Add(time.Second - time.Nanosecond).Unix()
}
