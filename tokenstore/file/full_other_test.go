//go:build !linux

package file_test

import (
	"context"

	"github.com/evergrant/evergrant/tokenstore/file"
)

func writeToFullDisk(context.Context, *file.Store) error  { return nil }
func useNetworkFolder(context.Context, *file.Store) error { return nil }
func useSmallDisk(context.Context, *file.Store) error     { return nil }
func loseVolume(context.Context, *file.Store) error       { return nil }
