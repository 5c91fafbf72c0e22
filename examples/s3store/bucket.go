// Package s3store is a tokenstore.Store over S3, made of conditional requests: an example to copy, for services that
// have a bucket and no database. It has been run against a stand-in that keeps the rules of If-Match, never against
// S3 itself: try it on your bucket with package tokenstore/storetest before you trust it.
//
// A grant is an object, its version the object's ETag. Encrypt the bucket (SSE-KMS), keep everybody out of it but the
// service, and turn off lifecycle rules that delete objects. A bucket with versioning keeps old refresh tokens. S3
// answers in tens of milliseconds and charges for each request; a grant is written twice for each renewal.
package s3store

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/evergrant/evergrant/tokenstore"
)

// Bucket is a tokenstore.Store. The name of an object is the store's prefix and the key in base64, since keys are
// arbitrary bytes and S3 wants UTF-8.
type Bucket struct {
	client       *s3.Client
	name, prefix string
}

// New makes a Bucket. The client must not retry a Swap by itself: the answer to a lost first try would be a conflict.
func New(client *s3.Client, name, prefix string) *Bucket {
	once := func(o *s3.Options) { o.Retryer = aws.NopRetryer{} }
	return &Bucket{s3.New(client.Options(), once), name, prefix}
}

func (b *Bucket) object(key string) *string {
	return aws.String(b.prefix + base64.RawURLEncoding.EncodeToString([]byte(key)))
}

// Load implements tokenstore.Store.
func (b *Bucket) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	got, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: b.object(key)})
	if statusOf(err) == http.StatusNotFound {
		return nil, "", tokenstore.ErrNotFound
	}
	if err != nil {
		return nil, "", err
	}
	defer got.Body.Close()
	value, err := io.ReadAll(got.Body)
	if err != nil {
		return nil, "", err
	}
	return value, tokenstore.Version(aws.ToString(got.ETag)), nil
}

// Swap implements tokenstore.Store.
func (b *Bucket) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	if len(value) == 0 {
		return "", b.remove(ctx, key, old)
	}
	put := &s3.PutObjectInput{Bucket: &b.name, Key: b.object(key), Body: bytes.NewReader(value)}
	if old == "" {
		put.IfNoneMatch = aws.String("*")
	} else {
		put.IfMatch = aws.String(string(old))
	}
	written, err := b.client.PutObject(ctx, put)
	if err != nil {
		return "", conflict(err)
	}
	return tokenstore.Version(aws.ToString(written.ETag)), nil
}

func (b *Bucket) remove(ctx context.Context, key string, old tokenstore.Version) error {
	if old == "" {
		_, _, err := b.Load(ctx, key)
		if errors.Is(err, tokenstore.ErrNotFound) {
			return nil
		}
		return errors.Join(tokenstore.ErrConflict, err)
	}
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.object(key), IfMatch: aws.String(string(old))})
	return conflict(err)
}

// conflict says what a refused condition means: 412 is another ETag, 404 no object, 409 somebody else's request at the
// same moment. The SDK's errors name bucket and key, and no content.
func conflict(err error) error {
	switch statusOf(err) {
	case http.StatusPreconditionFailed, http.StatusNotFound, http.StatusConflict:
		return tokenstore.ErrConflict
	}
	return err
}

// statusOf is the status of the answer that err is about; 0: there was none. A missing bucket is not a missing object.
func statusOf(err error) int {
	if named, ok := errors.AsType[smithy.APIError](err); ok && named.ErrorCode() == "NoSuchBucket" {
		return 0
	}
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return answer.HTTPStatusCode()
	}
	return 0
}
