// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo

package capscache_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"testing"

	capscache "capscache.io/go"
	"capscache.io/go/internal/cachetest"
	"capscache.io/go/reader"
	"capscache.io/go/service"
)

func TestBothImplementationsAgreeOnEveryAnswer(t *testing.T) {
	for _, emulator := range []string{cachetest.AVR, "/usr/bin/qemu-system-x86_64"} {
		for _, groups := range []capscache.Groups{
			capscache.Core, capscache.Devices, capscache.Objects, capscache.Devices | capscache.Objects,
		} {
			t.Run(filepath.Base(emulator), func(t *testing.T) { agree(t, emulator, groups) })
		}
	}
}

func agree(t *testing.T, emulator string, groups capscache.Groups) {
	cachetest.Need(t, emulator)
	ctx := context.Background()
	root := filepath.Join(t.TempDir(), "cache")
	local, err := reader.Open(root, reader.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	remote := service.New(cachetest.Serve(t, root))
	defer remote.Close()
	var entries []capscache.Entry
	for _, cache := range []capscache.Cache{local, remote} {
		entry, err := cache.Get(ctx, emulator, groups)
		if err != nil {
			t.Fatal(err)
		}
		defer entry.Close()
		entries = append(entries, entry)
	}
	both := func(what string, call func(capscache.Entry) (any, error)) any {
		t.Helper()
		first, firstErr := call(entries[0])
		second, secondErr := call(entries[1])
		var a, b *capscache.Error
		if (firstErr != nil) != (secondErr != nil) || errors.As(firstErr, &a) && errors.As(secondErr, &b) && a.Kind != b.Kind {
			t.Fatalf("%s: %v, %v", what, firstErr, secondErr)
		}
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("%s: %#v is not %#v", what, first, second)
		}
		return first
	}
	both("emulator", func(e capscache.Entry) (any, error) { return e.Emulator(), nil })
	both("version", func(e capscache.Entry) (any, error) { return e.Version(), nil })
	both("arch", func(e capscache.Entry) (any, error) { return e.Arch(), nil })
	both("accelerators", func(e capscache.Entry) (any, error) { return e.Accelerators(), nil })
	for _, accelerator := range []capscache.Accelerator{capscache.Best, capscache.KVM, capscache.TCG, capscache.HVF, "xen"} {
		both("machines", func(e capscache.Entry) (any, error) { return e.Machines(ctx, accelerator) })
		both("models", func(e capscache.Entry) (any, error) { return e.CPUModels(ctx, accelerator) })
		both("default", func(e capscache.Entry) (any, error) { return e.DefaultMachine(ctx, accelerator) })
		for _, name := range []string{"q35", "pc", "uno", "no-such", ""} {
			both(name, func(e capscache.Entry) (any, error) { return e.Machine(ctx, accelerator, name) })
			both(name, func(e capscache.Entry) (any, error) { return e.CPUModel(ctx, accelerator, name) })
		}
	}
	types := both("types", func(e capscache.Entry) (any, error) {
		text, err := e.JSON(ctx, "types")
		var types []struct{ Name, Parent string }
		if err == nil {
			err = json.Unmarshal(text, &types)
		}
		return types, err
	})
	compared, parents := 0, map[string]bool{}
	for _, one := range types.([]struct{ Name, Parent string }) {
		found := both(one.Name, func(e capscache.Entry) (any, error) { return e.Properties(ctx, one.Name) })
		compared += len(found.([]capscache.Property))
		// Most are abstract.
		parents[one.Parent] = true
	}
	if groups != capscache.Core && compared < 100 {
		t.Fatalf("%d properties were compared", compared)
	}
	for _, name := range []string{"bus", "object", "no-such", ""} {
		parents[name] = true
	}
	for name := range parents {
		name := name
		both(name, func(e capscache.Entry) (any, error) { return e.Properties(ctx, name) })
	}
	both("document", func(e capscache.Entry) (any, error) { return e.JSON(ctx, "") })
	both("no key", func(e capscache.Entry) (any, error) { return e.JSON(ctx, "no-such") })
	queries := []string{
		"machine:q35", "cpu:EPYC@kvm", "device:virtio-blk-pci", "version:>=8.2", "type:iothread", "event:SHUTDOWN",
		"schema:blockdev-add/arg-type/+file/aio/^io_uring", "gic:3", "option:spice", "machine-deprecated:pc",
		"flag:virtio-gpu", "firmware:uefi", "firmware:uefi,no-such", "cpu-model:EPYC", "command:blockdev-add",
		"property:max-x86_64-cpu.pmu",
	}
	both("queries", func(e capscache.Entry) (any, error) { return e.QueryAll(ctx, queries...) })
}
