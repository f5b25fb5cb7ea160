// SPDX-License-Identifier: MIT OR Apache-2.0

// Package cache has what the examples share: their arguments and their output.
package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	capscache "capscache.io/go"
	"capscache.io/go/reader"
	"capscache.io/go/service"
)

// Open opens the cache below a directory, or calls the service at a socket.
func Open(path string) (capscache.Cache, error) {
	if found, err := os.Stat(path); err == nil && found.Mode().Type() == os.ModeSocket {
		return service.New(path), nil
	}
	return reader.Open(path, reader.Options{})
}

// Main prints as JSON what answers returns for the emulator that the arguments name: ROOT|SOCKET EMULATOR.
func Main[T any](groups capscache.Groups, answers func(context.Context, capscache.Entry) (T, error)) {
	if len(os.Args) != 3 {
		fmt.Fprintf(os.Stderr, "usage: %s ROOT|SOCKET EMULATOR\n", filepath.Base(os.Args[0]))
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2], groups, answers); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

func run[T any](
	ctx context.Context,
	path, emulator string,
	groups capscache.Groups,
	answers func(context.Context, capscache.Entry) (T, error),
) error {
	opened, err := Open(path)
	if err != nil {
		return err
	}
	defer opened.Close()
	entry, err := opened.Get(ctx, emulator, groups)
	if err != nil {
		return err
	}
	defer entry.Close()
	answered, err := answers(ctx, entry)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(answered)
}
