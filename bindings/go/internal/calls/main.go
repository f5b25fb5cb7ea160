// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo

// Calls makes calls of the reader, as often as it is requested to, and prints how long one took: the counterpart of
// bench/src/calls.c for `capscache-bench`.
//
//	calls ROOT EMULATOR QUERY…
//
// Each line of the standard input names the work: "hit" is a validated get, "answers" opens the cache and the entry and answers
// all queries. Each is followed by a line with the nanoseconds of one.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"time"

	capscache "capscache.io/go"
	"capscache.io/go/reader"
)

const repeatFor = 20 * time.Millisecond

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "calls:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 4 {
		return fmt.Errorf("usage: calls ROOT EMULATOR QUERY…")
	}
	root, emulator, queries := os.Args[1], os.Args[2], os.Args[3:]
	// Callers have contexts that can end.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cache, err := reader.Open(root, reader.Options{})
	if err != nil {
		return err
	}
	defer cache.Close()
	work := map[string]func() error{
		"hit":     func() error { return hit(ctx, cache, emulator) },
		"answers": func() error { return answers(ctx, root, emulator, queries) },
	}
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		one, ok := work[input.Text()]
		if !ok {
			return fmt.Errorf("unknown work %q", input.Text())
		}
		began, count := time.Now(), time.Duration(0)
		for time.Since(began) < repeatFor {
			if err := one(); err != nil {
				return err
			}
			count++
		}
		fmt.Println((time.Since(began) / count).Nanoseconds())
	}
	return nil
}

func hit(ctx context.Context, cache capscache.Cache, emulator string) error {
	entry, err := cache.Get(ctx, emulator, capscache.Core)
	if err != nil {
		return err
	}
	return entry.Close()
}

func answers(ctx context.Context, root, emulator string, queries []string) error {
	cache, err := reader.Open(root, reader.Options{})
	if err != nil {
		return err
	}
	defer cache.Close()
	entry, err := cache.Lookup(ctx, emulator)
	if err != nil {
		return err
	}
	defer entry.Close()
	answered, err := entry.QueryAll(ctx, queries...)
	if err != nil {
		return err
	}
	for at, answer := range answered {
		if answer == capscache.Unknown {
			return fmt.Errorf("%s has no answer", queries[at])
		}
	}
	return nil
}
