// Package redisstore keeps grants in Redis or Valkey.
package redisstore
