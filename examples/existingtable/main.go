// Existingtable is the nightly job of a service that keeps the OAuth grants of its accounts in a table of its own.
// Evergrant works over that table as it is: see table.go. Several of these jobs may run at once.
//
//	CLIENT_SECRET=… go run -C examples ./existingtable -db accounts.db -issuer https://accounts.example.com \
//		-client-id my-app -url https://api.example.com/me
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	_ "modernc.org/sqlite"

	"github.com/evergrant/evergrant/client"
)

func main() {
	var config client.Config
	flag.StringVar(&config.Issuer, "issuer", "", "issuer identifier of the authorization server")
	flag.StringVar(&config.ClientID, "client-id", "", "client id of this service")
	path := flag.String("db", "accounts.db", "the SQLite database")
	url := flag.String("url", "", "what to call for each account")
	flag.Parse()
	config.ClientSecret = os.Getenv("CLIENT_SECRET") // arguments are seen by everybody on the machine

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	db, err := open(*path)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if err := run(ctx, os.Stdout, db, config, *url); err != nil {
		log.Fatal(err)
	}
}

// open opens the database. Writers wait for one another: a grant is written in a millisecond.
func open(path string) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
}

// run calls url for every account that has a grant, and says in out what came of it.
func run(ctx context.Context, out io.Writer, db *sql.DB, config client.Config, url string) (err error) {
	config.Store = newTable(db, config.Issuer, config.ClientID)
	c, err := client.New(config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, c.Close(ctx)) // new tokens that are not saved yet
	}()
	names, err := accounts(ctx, db)
	if err != nil {
		return err
	}
	for _, name := range names {
		answer, err := call(ctx, c.Session(name).HTTPClient(), url)
		switch {
		case errors.Is(err, client.ErrLoginRequired):
			answer = "has to log in again" // the account's person is asked at the next visit
		case err != nil:
			return err
		}
		fmt.Fprintf(out, "%s: %s\n", name, answer)
	}
	return nil
}

// accounts are the names of the accounts that have a grant.
func accounts(ctx context.Context, db *sql.DB) (names []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT name FROM accounts WHERE oauth_grant IS NOT NULL ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

func call(ctx context.Context, hc *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := hc.Do(request)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", url, resp.Status)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	return string(answer), err
}
