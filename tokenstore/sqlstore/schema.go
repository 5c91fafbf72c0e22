package sqlstore

import (
	"context"
	"strings"
)

// Schema returns the SQL that makes the table and its index, for a migration tool: statements that end in
// a semicolon and change nothing that is there.
func (s *Store) Schema() string { return strings.Join(s.statements.schema, ";\n") + ";\n" }

// Migrate runs Schema. Any number of processes may do that at the same time, and again at every start. It
// needs the right to create tables; programs that should not have it leave it to a migration tool.
func (s *Store) Migrate(ctx context.Context) error {
	return s.try(ctx, "migrate", true, func() error {
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		statements := s.statements.schema
		if s.statements.lock != "" {
			statements = append([]string{s.statements.lock}, statements...)
		}
		for _, statement := range statements {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return tx.Commit()
	})
}
