package redisstore_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore/redisstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// Every replica of a service does this. Values are sealed with a key from the secret manager, and Redis gives a change to one
// replica of its own before the program relies on it.
func Example() {
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:    "grants",
		SentinelAddrs: []string{"sentinel-1:26379", "sentinel-2:26379", "sentinel-3:26379"},
		Username:      "evergrant",
		Password:      os.Getenv("REDIS_PASSWORD"),
	})
	defer rdb.Close()
	key, err := base64.StdEncoding.DecodeString(os.Getenv("SEALING_KEY")) // of a secret manager: openssl rand -base64 32
	if err != nil {
		log.Fatal("SEALING_KEY is not base64")
	}
	store, err := redisstore.New(rdb, redisstore.Options{
		Key:      seal.RawKey(key),
		Replicas: 1,
	})
	if err != nil {
		log.Fatal(err)
	}
	grants, err := client.New(client.Config{
		Issuer:   "https://accounts.example.com",
		ClientID: "my-service",
		Store:    store,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer grants.Close(context.Background())
	for account, err := range grants.Keys(context.Background()) {
		fmt.Println(account, err)
	}
}
