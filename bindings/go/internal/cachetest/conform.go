// SPDX-License-Identifier: MIT OR Apache-2.0

package cachetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	capscache "capscache.io/go"
)

// Conform checks what the interface promises of every implementation. open returns a cache with an empty root.
func Conform(t *testing.T, open func(t *testing.T) capscache.Cache) {
	Need(t, AVR)
	for name, check := range map[string]func(*testing.T, capscache.Cache){
		"an entry has the version and the answers of its emulator":   answers,
		"machines are those that QEMU lists":                         lists,
		"a list of CPU models has each model":                        cpuModels,
		"properties are of a group that is probed when it is needed": properties,
		"the JSON has the keys of the document":                      jsonParts,
		"the state is missing, then valid, then missing":             states,
		"errors have a kind to act on":                               failures,
		"arguments that cannot be passed on are errors":              arguments,
		"queries of any number and length are answered":              manyQueries,
		"a context that is done ends every call":                     contexts,
		"nothing can be used after it was closed":                    closes,
		"goroutines share a cache and an entry, and close them":      goroutines,
	} {
		check := check
		t.Run(name, func(t *testing.T) {
			cache := open(t)
			defer cache.Close()
			check(t, cache)
		})
	}
}

func get(t *testing.T, cache capscache.Cache, groups capscache.Groups) capscache.Entry {
	t.Helper()
	entry, err := cache.Get(context.Background(), AVR, groups)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { entry.Close() })
	return entry
}

func answers(t *testing.T, cache capscache.Cache) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	entry, err := cache.Get(ctx, AVR, capscache.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer entry.Close()
	equal(t, entry.Emulator(), AVR)
	equal(t, entry.Version().String(), VersionOf(t, AVR))
	equal(t, entry.Version().AtLeast(4, 2), true)
	equal(t, entry.Version().AtLeast(entry.Version().Major, entry.Version().Minor+1), false)
	equal(t, entry.Arch(), "avr")
	equal(t, entry.Accelerators(), []capscache.Accelerator{capscache.TCG})
	queries := []string{"machine:uno", "machine:q35", "command:query-version", "device:no-such", "gic:3", "flag:virtio-gpu"}
	expected := []capscache.Answer{capscache.Yes, capscache.No, capscache.Yes, capscache.No, capscache.No, capscache.No}
	all, err := entry.QueryAll(ctx, queries...)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, all, expected)
	for at, query := range queries {
		answer, err := entry.Query(ctx, query)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, answer, expected[at])
	}
	none, err := entry.QueryAll(ctx)
	equal(t, err, nil)
	equal(t, len(none), 0)
}

func lists(t *testing.T, cache capscache.Cache) {
	ctx := context.Background()
	entry := get(t, cache, capscache.Core)
	machines, err := entry.Machines(ctx, capscache.Best)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, line := range strings.Split(Output(t, AVR, "-machine", "help"), "\n")[1:] {
		if words := strings.Fields(line); len(words) > 0 {
			listed[words[0]] = true
		}
	}
	reported := map[string]bool{}
	for _, machine := range machines {
		reported[machine.Name] = true
		if machine.Alias != "" {
			reported[machine.Alias] = true
		}
		same, err := entry.Machine(ctx, capscache.TCG, machine.Name)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, same, machine)
	}
	equal(t, reported, listed)

	uno, err := entry.Machine(ctx, capscache.TCG, "uno")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, uno.Name, "arduino-uno")
	equal(t, uno.MaxCPUs, uint64(1))
	equal(t, uno.Deprecated, capscache.No)
	equal(t, uno.HotpluggableCPUs, false)
	_, err = entry.Machine(ctx, capscache.TCG, "q35")
	isKind(t, err, capscache.ErrAbsent)
	_, err = entry.Machine(ctx, capscache.TCG, "")
	isKind(t, err, capscache.ErrAbsent)
	_, err = entry.DefaultMachine(ctx, capscache.TCG)
	isKind(t, err, capscache.ErrAbsent)
	_, err = entry.Machine(ctx, capscache.KVM, "uno")
	isKind(t, err, capscache.ErrAbsent)
	_, err = entry.Machine(ctx, "xen", "uno")
	isKind(t, err, capscache.ErrInvalidArgument)

	// QEMU has no query-cpu-definitions for AVR: neither the list nor a name in it is known.
	_, err = entry.CPUModels(ctx, capscache.TCG)
	isKind(t, err, capscache.ErrUnknown)
	_, err = entry.CPUModel(ctx, capscache.TCG, "avr5")
	isKind(t, err, capscache.ErrUnknown)
}

func cpuModels(t *testing.T, cache capscache.Cache) {
	ctx := context.Background()
	Need(t, X86)
	entry, err := cache.Get(ctx, X86, capscache.Core)
	if err != nil {
		t.Fatal(err)
	}
	defer entry.Close()
	models, err := entry.CPUModels(ctx, capscache.TCG)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, len(models) > 1, true)
	for _, model := range models {
		same, err := entry.CPUModel(ctx, capscache.TCG, model.Name)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, same, model)
	}
	_, err = entry.CPUModel(ctx, capscache.TCG, "no-such")
	isKind(t, err, capscache.ErrAbsent)
	_, err = entry.DefaultMachine(ctx, capscache.TCG)
	equal(t, err, nil)
}

func properties(t *testing.T, cache capscache.Cache) {
	ctx := context.Background()
	core := get(t, cache, capscache.Core)
	for _, name := range []string{"loader", "bus", "device"} {
		_, err := core.Properties(ctx, name)
		isKind(t, err, capscache.ErrNotProbed)
	}
	_, err := core.Properties(ctx, "no-such")
	isKind(t, err, capscache.ErrAbsent)
	entry := get(t, cache, capscache.Devices|capscache.Objects)
	found, err := entry.Properties(ctx, "loader")
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]capscache.Property{}
	for _, property := range found {
		byName[property.Name] = property
	}
	equal(t, byName["addr"].TypeName, "uint64")
	equal(t, string(byName["addr"].Default), "0")
	equal(t, byName["file"].Default, json.RawMessage(nil))
	_, err = entry.Properties(ctx, "iothread")
	equal(t, err, nil)
	for _, name := range []string{"no-such", "", strings.Repeat("x", 5000)} {
		_, err = entry.Properties(ctx, name)
		isKind(t, err, capscache.ErrAbsent)
	}
	// QEMU has these abstract types, whose properties it is not queried for.
	for _, name := range []string{"bus", "device"} {
		_, err = entry.Properties(ctx, name)
		isKind(t, err, capscache.ErrUnknown)
	}
	// An entry has the groups that were probed, whoever requested them.
	hit, err := cache.Lookup(ctx, AVR)
	if err != nil {
		t.Fatal(err)
	}
	defer hit.Close()
	var types []struct{ Name string }
	text, err := entry.JSON(ctx, "types")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &types); err != nil {
		t.Fatal(err)
	}
	equal(t, len(types) > 0, true)
	for _, entry := range []capscache.Entry{entry, hit, get(t, cache, capscache.Core)} {
		for _, one := range types {
			if _, err := entry.Properties(ctx, one.Name); errors.Is(err, capscache.ErrNotProbed) {
				t.Fatalf("%s: %v", one.Name, err)
			}
		}
	}
}

func jsonParts(t *testing.T, cache capscache.Cache) {
	ctx := context.Background()
	entry := get(t, cache, capscache.Core)
	arch, err := entry.JSON(ctx, "arch")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, string(arch), `"avr"`)
	whole, err := entry.JSON(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(whole, &parts); err != nil {
		t.Fatal(err)
	}
	schema, err := entry.JSON(ctx, "schema")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, bytes.Equal(parts["schema"], schema), true)
	_, err = entry.JSON(ctx, "no-such")
	isKind(t, err, capscache.ErrAbsent)
}

func states(t *testing.T, cache capscache.Cache) {
	ctx := context.Background()
	state := func(thorough bool) capscache.State {
		t.Helper()
		status, err := cache.Status(ctx, AVR, thorough)
		if err != nil {
			t.Fatal(err)
		}
		return status.State
	}
	equal(t, state(false), capscache.Missing)
	_, err := cache.Lookup(ctx, AVR)
	isKind(t, err, capscache.ErrNoEntry)
	entry := get(t, cache, capscache.Objects)
	equal(t, state(false), capscache.Valid)
	equal(t, state(true), capscache.Valid)
	found, err := cache.Lookup(ctx, AVR)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, found.Version(), entry.Version())
	found.Close()
	listed, err := cache.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, listed, []capscache.Listed{{
		Emulator: AVR,
		Status:   capscache.Status{State: capscache.Valid},
		Version:  entry.Version(),
		Arch:     "avr",
		Groups:   capscache.Objects,
	}})
	for _, had := range []bool{true, false} {
		removed, err := cache.Invalidate(ctx, AVR)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, removed, had)
	}
	equal(t, state(false), capscache.Missing)
}

func failures(t *testing.T, cache capscache.Cache) {
	ctx := context.Background()
	_, err := cache.Get(ctx, "/nowhere/qemu-system-avr", capscache.Core)
	isKind(t, err, capscache.ErrEmulator)
	equal(t, err.Error(), "cannot stat the emulator /nowhere/qemu-system-avr: No such file or directory")
	equal(t, errors.Is(err, syscall.ENOENT), true)
	_, err = cache.Get(ctx, AVR+"/x", capscache.Core)
	isKind(t, err, capscache.ErrEmulator)
	equal(t, errors.Is(err, syscall.ENOTDIR), true)
	_, err = cache.Get(ctx, "/"+strings.Repeat("x", 5000), capscache.Core)
	isKind(t, err, capscache.ErrEmulator)
	_, err = cache.Get(ctx, "/nowhere\x1b\n", capscache.Core)
	isKind(t, err, capscache.ErrEmulator)
	if strings.ContainsAny(err.Error(), "\x1b\n") {
		t.Fatalf("%q is not escaped", err.Error())
	}
	silent := Program(t, "qemu-system-avr", "#!/bin/sh\nexit 0\n")
	_, err = cache.Get(ctx, silent, capscache.Core)
	isKind(t, err, capscache.ErrNotAnEmulator)
	status, err := cache.Status(ctx, silent, false)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, status.State, capscache.Failed)
	equal(t, status.Reason != "" && status.RetryIn > 0, true)

	entry := get(t, cache, capscache.Core)
	answer, err := entry.Query(ctx, "colour:red")
	isKind(t, err, capscache.ErrInvalidQuery)
	equal(t, answer, capscache.Unknown)
	all, err := entry.QueryAll(ctx, "machine:uno", "colour:red")
	isKind(t, err, capscache.ErrInvalidQuery)
	equal(t, all, []capscache.Answer{capscache.Unknown, capscache.Unknown})
	_, err = entry.Query(ctx, "machine:\xff")
	isKind(t, err, capscache.ErrInvalidArgument)
}

func arguments(t *testing.T, cache capscache.Cache) {
	ctx := context.Background()
	for _, emulator := range []string{"", "/nowhere\x00"} {
		for name, call := range map[string]func() error{
			"Get":        func() error { _, err := cache.Get(ctx, emulator, capscache.Core); return err },
			"Lookup":     func() error { _, err := cache.Lookup(ctx, emulator); return err },
			"Status":     func() error { _, err := cache.Status(ctx, emulator, false); return err },
			"Invalidate": func() error { _, err := cache.Invalidate(ctx, emulator); return err },
		} {
			err := call()
			if !errors.Is(err, capscache.ErrInvalidArgument) {
				t.Errorf("%s(%q) returned %v", name, emulator, err)
			}
			if emulator == "" && err != nil {
				equal(t, err.Error(), "invalid argument: emulator is empty")
			}
		}
	}
	for _, groups := range []capscache.Groups{8, capscache.Devices | 1<<31} {
		_, err := cache.Get(ctx, AVR, groups)
		isKind(t, err, capscache.ErrInvalidArgument)
	}
	entry := get(t, cache, capscache.Core)
	for _, text := range []string{"a\x00", "\xff"} {
		for name, call := range map[string]func() error{
			"Query":      func() error { _, err := entry.Query(ctx, "machine:"+text); return err },
			"Machine":    func() error { _, err := entry.Machine(ctx, capscache.TCG, text); return err },
			"CPUModel":   func() error { _, err := entry.CPUModel(ctx, capscache.TCG, text); return err },
			"Properties": func() error { _, err := entry.Properties(ctx, text); return err },
			"JSON":       func() error { _, err := entry.JSON(ctx, text); return err },
		} {
			if err := call(); !errors.Is(err, capscache.ErrInvalidArgument) {
				t.Errorf("%s(%q) returned %v", name, text, err)
			}
		}
	}
}

func manyQueries(t *testing.T, cache capscache.Cache) {
	ctx := context.Background()
	entry := get(t, cache, capscache.Core)
	longest := 4096 - len("machine:")
	var queries []string
	var expected []capscache.Answer
	add := func(count int, query string, answer capscache.Answer) {
		for ; count > 0; count-- {
			queries = append(queries, query)
			expected = append(expected, answer)
		}
	}
	// More than the service takes in one call: commas and brackets, bytes, and then queries.
	add(10, "machine:"+strings.Repeat(",[{", longest/3), capscache.No)
	add(60, "machine:"+strings.Repeat("<", longest), capscache.No)
	add(3000, "machine:uno", capscache.Yes)
	answered, err := entry.QueryAll(ctx, queries...)
	equal(t, err, nil)
	equal(t, answered, expected)

	_, err = entry.Query(ctx, "machine:"+strings.Repeat("x", longest+1))
	isKind(t, err, capscache.ErrInvalidQuery)
}

func contexts(t *testing.T, cache capscache.Cache) {
	entry := get(t, cache, capscache.Core)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, call := range calls(ctx, cache, entry) {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s returned %v", name, err)
		}
	}
}

// calls makes a call of each method that has a context.
func calls(ctx context.Context, cache capscache.Cache, entry capscache.Entry) map[string]func() error {
	all := entryCalls(ctx, entry)
	for name, call := range cacheCalls(ctx, cache) {
		all[name] = call
	}
	return all
}

func cacheCalls(ctx context.Context, cache capscache.Cache) map[string]func() error {
	return map[string]func() error{
		"Get":        func() error { _, err := cache.Get(ctx, AVR, capscache.Core); return err },
		"Lookup":     func() error { _, err := cache.Lookup(ctx, AVR); return err },
		"Status":     func() error { _, err := cache.Status(ctx, AVR, false); return err },
		"List":       func() error { _, err := cache.List(ctx); return err },
		"Invalidate": func() error { _, err := cache.Invalidate(ctx, "/usr/bin/qemu-system-none"); return err },
	}
}

func entryCalls(ctx context.Context, entry capscache.Entry) map[string]func() error {
	return map[string]func() error{
		"Query":          func() error { _, err := entry.Query(ctx, "machine:uno"); return err },
		"QueryAll()":     func() error { _, err := entry.QueryAll(ctx); return err },
		"QueryAll":       func() error { _, err := entry.QueryAll(ctx, "machine:uno"); return err },
		"Machine":        func() error { _, err := entry.Machine(ctx, capscache.Best, "uno"); return err },
		"DefaultMachine": func() error { _, err := entry.DefaultMachine(ctx, capscache.Best); return err },
		"Machines":       func() error { _, err := entry.Machines(ctx, capscache.Best); return err },
		"CPUModel":       func() error { _, err := entry.CPUModel(ctx, capscache.Best, "avr5"); return err },
		"CPUModels":      func() error { _, err := entry.CPUModels(ctx, capscache.Best); return err },
		"Properties":     func() error { _, err := entry.Properties(ctx, "loader"); return err },
		"JSON":           func() error { _, err := entry.JSON(ctx, "arch"); return err },
	}
}

func closes(t *testing.T, cache capscache.Cache) {
	ctx := context.Background()
	first, second := get(t, cache, capscache.Core), get(t, cache, capscache.Core)
	equal(t, first.Close(), nil)
	equal(t, first.Close(), nil)
	for _, call := range entryCalls(ctx, first) {
		isKind(t, call(), capscache.ErrClosed)
	}
	// Must not crash.
	first.Arch()
	first.Accelerators()

	equal(t, cache.Close(), nil)
	equal(t, cache.Close(), nil)
	for _, call := range cacheCalls(ctx, cache) {
		isKind(t, call(), capscache.ErrClosed)
	}
	answer, err := second.Query(ctx, "machine:uno")
	equal(t, err, nil)
	equal(t, answer, capscache.Yes)
}

func goroutines(t *testing.T, cache capscache.Cache) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	shared := get(t, cache, capscache.Core)
	var group sync.WaitGroup
	check := func(name string, err error) {
		// An entry or cache that another goroutine closed; and what this emulator does not have.
		for _, kind := range []capscache.Kind{capscache.ErrClosed, capscache.ErrAbsent, capscache.ErrNotProbed, capscache.ErrUnknown} {
			if errors.Is(err, kind) {
				return
			}
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for worker := 0; worker < 8; worker++ {
		worker := worker
		group.Add(1)
		go func() {
			defer group.Done()
			for round := 0; round < 20; round++ {
				for name, call := range calls(ctx, cache, shared) {
					check(name, call())
				}
				own, err := cache.Get(ctx, AVR, capscache.Core)
				check("Get", err)
				if err == nil {
					check("Query", entryCalls(ctx, own)["Query"]())
					own.Close()
				}
				if worker == 0 && round == 15 {
					shared.Close()
				}
				if worker == 1 && round == 18 {
					cache.Close()
				}
			}
		}()
	}
	group.Wait()
}

func equal[T any](t testing.TB, found, expected T) {
	t.Helper()
	if !reflect.DeepEqual(found, expected) {
		t.Fatalf("%#v is not %#v", found, expected)
	}
}

// isKind checks the kind of an error by both ways in which programs do.
func isKind(t testing.TB, err error, kind capscache.Kind) {
	t.Helper()
	var failed *capscache.Error
	if !errors.Is(err, kind) || !errors.As(err, &failed) || failed.Kind != kind {
		t.Fatalf("%#v (%v) is not of the kind %v", err, err, kind)
	}
	if failed.Message == "" {
		t.Fatalf("%#v has no message", failed)
	}
}
