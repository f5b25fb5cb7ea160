// SPDX-License-Identifier: MIT OR Apache-2.0

// Package capscache has the capabilities of every QEMU of a host: probed once, answered from one cache.
//
// The package has the interface. Two packages implement it: reader on the C library, which reads the files of the cache and
// probes where an entry is missing, and service, in Go alone, which calls the service of capscache over its socket.
//
//	cache, err := reader.Open("/var/lib/my-driver/capscache", reader.Options{}) // or: service.New(service.Socket), nil
//	if err != nil {
//		return err
//	}
//	defer cache.Close()
//	entry, err := cache.Get(ctx, "/usr/bin/qemu-system-x86_64", capscache.Core)
//	if err != nil {
//		return err
//	}
//	defer entry.Close()
//	answer, err := entry.Query(ctx, "cpu:EPYC@kvm") // yes, no or unknown
//
// Goroutines may use one Cache and one Entry at the same time, and close them while others use them: calls in progress end as
// usual, later ones return ErrClosed. What is not closed is released when the garbage collector finds it.
package capscache

import (
	"context"
	"encoding/json"
)

// SystemRoot is the root of the cache of the whole system, which the service fills.
const SystemRoot = "/var/cache/capscache"

// Cache answers for the emulators of this host.
//
// An emulator is named by its path. A path that is not absolute is resolved against the working directory; an empty one is
// ErrInvalidArgument.
type Cache interface {
	// Get returns the capabilities of an emulator, with groups: from the cache if it has a valid entry, else from one probe,
	// for which the call waits. After the context is done it returns at once; the probe goes on for the next caller.
	Get(ctx context.Context, emulator string, groups Groups) (Entry, error)

	// Lookup returns the valid entry of an emulator, with the groups that it has, and never probes: ErrNoEntry if there is
	// none.
	Lookup(ctx context.Context, emulator string) (Entry, error)

	// Status returns the state of an emulator's entry, and never probes. A thorough check includes the files that a hit does
	// not compare: every module, every shared object.
	Status(ctx context.Context, emulator string, thorough bool) (Status, error)

	// List returns all entries, valid or not, ordered by the paths of their emulators.
	List(ctx context.Context) ([]Listed, error)

	// Invalidate removes the entry of an emulator, and a failure that is remembered. Returns true if there was an entry.
	Invalidate(ctx context.Context, emulator string) (bool, error)

	// Close releases the cache; its entries stay usable. Returns nil, also when called again.
	Close() error
}

// Entry is the capabilities of one emulator.
//
// The answers of an entry of package reader do not change. One of package service calls the service, which answers from the
// present entry of the emulator, and probes it if it is stale. The methods without a context return what was true when the
// entry was returned; after Close they may return zero values.
type Entry interface {
	// Emulator returns the path of the emulator, made absolute.
	Emulator() string
	// Version returns the version of QEMU (query-version).
	Version() Version
	// Arch returns QEMU's name of the guest's architecture, such as x86_64 (query-target).
	Arch() string
	// Accelerators returns the accelerators that the emulator ran under on this host, the best first.
	Accelerators() []Accelerator

	// Query answers a query in the language of `capscache query`: machine:q35, cpu:EPYC@kvm, device:virtio-blk-pci,
	// property:virtio-blk-pci.queue-size, schema:blockdev-add/arg-type/+file/aio/^io_uring, version:>=8.2, flag:virtio-gpu,
	// firmware:uefi,secure-boot. It is Unknown if QEMU did not report it, if its group was not probed (the service probes
	// it), and after an error: ErrInvalidQuery for text that cannot be parsed.
	Query(ctx context.Context, query string) (Answer, error)

	// QueryAll answers queries in their order, however many. All are Unknown after an error. The service answers as many at a time
	// as it takes in one call, so that answers to many queries may be of the entry before and after the emulator changed.
	QueryAll(ctx context.Context, queries ...string) ([]Answer, error)

	// Machine returns the machine type whose name or, if there is none, whose alias is name (query-machines): ErrAbsent if
	// the emulator does not have it. As the other methods, it returns ErrAbsent or ErrUnknown if the emulator did not run
	// under the accelerator.
	Machine(ctx context.Context, accelerator Accelerator, name string) (Machine, error)
	// DefaultMachine returns the machine type that QEMU uses by default: ErrAbsent if there is none, as for ARM, ErrUnknown if
	// QEMU did not report its machine types.
	DefaultMachine(ctx context.Context, accelerator Accelerator) (Machine, error)
	// Machines returns all machine types in QEMU's order: ErrUnknown if QEMU did not report them.
	Machines(ctx context.Context, accelerator Accelerator) ([]Machine, error)

	// CPUModel returns the CPU model of a name (query-cpu-definitions): ErrAbsent if the emulator does not have it.
	CPUModel(ctx context.Context, accelerator Accelerator, name string) (CPUModel, error)
	// CPUModels returns all CPU models in QEMU's order: ErrUnknown if QEMU did not report them, as for AVR.
	CPUModels(ctx context.Context, accelerator Accelerator) ([]CPUModel, error)

	// Properties returns the properties of a type as a device, else as an object, in QEMU's order (device-list-properties,
	// qom-list-properties):
	// ErrAbsent if the emulator does not have the type, ErrNotProbed without the group Devices or Objects, except for what
	// drivers query at start-up, ErrUnknown if QEMU did not report them, as for abstract types.
	Properties(ctx context.Context, typeName string) ([]Property, error)

	// JSON returns the part of the entry under a key of docs/json.md, such as accelerators or schema; the whole entry for an
	// empty key: ErrAbsent for a key that the entry does not have.
	JSON(ctx context.Context, key string) (json.RawMessage, error)

	// Close releases the entry. Returns nil, also when called again.
	Close() error
}
