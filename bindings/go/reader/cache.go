// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo

package reader

// #cgo pkg-config: capscache
// #include <capscache.h>
import "C"

import (
	"context"
	"errors"
	"math"
	"runtime"
	"time"

	capscache "capscache.io/go"
	"capscache.io/go/internal/paths"
)

// Version returns the version of the library that runs.
func Version() string {
	return C.GoString(C.capscache_version())
}

type cache struct {
	handle handle
	object *C.capscache
	// A release of libvirt, or empty.
	libvirt string
	flights flights[*C.capscache_entry]
}

// Open opens the cache in a directory, which the first write creates: ErrRoot for a root that is not a directory, ErrUnsafe
// for one that a user other than root and the user of this process could write or replace. Nothing outside of it is written.
func Open(root string, options Options) (capscache.Cache, error) {
	chosen, err := optionsOf(root, options)
	if err != nil {
		return nil, err
	}
	defer C.capscache_options_free(chosen)
	var failed *C.capscache_error
	object := C.capscache_open_with(chosen, &failed)
	if object == nil {
		return nil, taken(failed)
	}
	c := &cache{object: object, libvirt: options.Libvirt}
	c.handle.init(func() { C.capscache_free(object) })
	runtime.SetFinalizer(c, (*cache).Close)
	return c, nil
}

func optionsOf(root string, options Options) (*C.capscache_options, error) {
	path, err := textOf(root)
	if err != nil {
		return nil, err
	}
	var failed *C.capscache_error
	chosen := C.capscache_options_new(path.pointer(), &failed)
	if chosen == nil {
		return nil, taken(failed)
	}
	if err := set(chosen, options); err != nil {
		C.capscache_options_free(chosen)
		return nil, err
	}
	return chosen, nil
}

func set(chosen *C.capscache_options, options Options) error {
	for _, root := range options.Fallbacks {
		path, err := textOf(root)
		if err != nil {
			return err
		}
		C.capscache_options_add_fallback(chosen, path.pointer())
	}
	if uid := options.TrustedOwner; uid != nil {
		C.capscache_options_set_trusted_owner(chosen, C.uint32_t(*uid))
	}
	if options.FailureTTL != 0 {
		seconds, err := count("FailureTTL", options.FailureTTL, time.Second)
		if err != nil {
			return err
		}
		C.capscache_options_set_failure_ttl(chosen, seconds)
	}
	if options.StartTimeout != 0 || options.ProbeTimeout != 0 {
		start, probe := timeouts(options.StartTimeout, options.ProbeTimeout)
		startMS, err := count("StartTimeout", start, time.Millisecond)
		if err != nil {
			return err
		}
		probeMS, err := count("ProbeTimeout", probe, time.Millisecond)
		if err != nil {
			return err
		}
		C.capscache_options_set_timeouts(chosen, startMS, probeMS)
	}
	for name, value := range options.Variables {
		variable, err := textOf(name)
		if err != nil {
			return err
		}
		content, err := textOf(value)
		if err != nil {
			return err
		}
		C.capscache_options_add_variable(chosen, variable.pointer(), content.pointer())
	}
	for _, directory := range options.Writable {
		path, err := textOf(directory)
		if err != nil {
			return err
		}
		C.capscache_options_add_writable(chosen, path.pointer())
	}
	if user := options.User; user != nil {
		C.capscache_options_set_user(chosen, C.uint32_t(user.UID), C.uint32_t(user.GID))
		for _, gid := range user.Groups {
			C.capscache_options_add_user_group(chosen, C.uint32_t(gid))
		}
	}
	return nil
}

// count returns the units in a time, rounded up. The library takes 32 bits.
func count(option string, length, unit time.Duration) (C.uint32_t, error) {
	units := length / unit
	if length%unit > 0 {
		units++
	}
	if length < 0 || units > math.MaxUint32 {
		return 0, invalid("%s is %v: it must be between 0 and %d times %v", option, length, uint32(math.MaxUint32), unit)
	}
	return C.uint32_t(units), nil
}

// timeouts returns both limits where one may be missing.
func timeouts(start, probe time.Duration) (time.Duration, time.Duration) {
	if probe == 0 {
		probe = time.Minute
		if start > probe {
			probe = start
		}
	}
	if start == 0 {
		start = 10 * time.Second
		if start > probe {
			start = probe
		}
	}
	return start, probe
}

func (c *cache) Get(ctx context.Context, emulator string, groups capscache.Groups) (capscache.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if ctx.Done() == nil {
		return c.get(emulator, groups)
	}
	// A hit does not wait, so that no goroutine has to.
	found, err := c.lookup(emulator, groups)
	if err == nil || errors.Is(err, capscache.ErrClosed) {
		return found, err
	}
	path, err := paths.Absolute(emulator)
	if err != nil {
		return nil, err
	}
	object, release, err := c.flights.wait(ctx, request{path, groups}, func() (*C.capscache_entry, func(), error) {
		return c.probe(path, groups)
	})
	if err != nil {
		return nil, err
	}
	return newEntry(object, c.libvirt, release), nil
}

// about calls the library about an emulator while the cache is kept. ok is false if the library returned an error.
func about[T any](c *cache, emulator string, call func(path *C.char, failed **C.capscache_error) (found T, ok bool)) (T, error) {
	var none T
	path, err := textOf(emulator)
	if err != nil {
		return none, err
	}
	if err := c.handle.acquire(); err != nil {
		return none, err
	}
	defer c.handle.release()
	var failed *C.capscache_error
	found, ok := call(path.pointer(), &failed)
	runtime.KeepAlive(path)
	if !ok {
		return none, taken(failed)
	}
	return found, nil
}

// get returns an entry of the caller's own.
func (c *cache) get(emulator string, groups capscache.Groups) (capscache.Entry, error) {
	object, free, err := c.probe(emulator, groups)
	if err != nil {
		return nil, err
	}
	return newEntry(object, c.libvirt, free), nil
}

// probe waits for a probe, whatever the context is: the library does not end one that other callers may wait for. The function
// frees the entry.
func (c *cache) probe(emulator string, groups capscache.Groups) (*C.capscache_entry, func(), error) {
	object, err := about(c, emulator, func(path *C.char, failed **C.capscache_error) (*C.capscache_entry, bool) {
		object := C.capscache_get(c.object, path, C.uint32_t(groups), failed)
		return object, object != nil
	})
	if err != nil {
		return nil, nil, err
	}
	return object, func() { C.capscache_entry_free(object) }, nil
}

func (c *cache) Lookup(ctx context.Context, emulator string) (capscache.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return c.lookup(emulator, capscache.Core)
}

// lookup returns a valid entry that has groups.
func (c *cache) lookup(emulator string, groups capscache.Groups) (capscache.Entry, error) {
	object, err := about(c, emulator, func(path *C.char, failed **C.capscache_error) (*C.capscache_entry, bool) {
		object := C.capscache_lookup(c.object, path, C.CAPSCACHE_VALIDATION_FAST, failed)
		return object, object != nil
	})
	if err != nil {
		return nil, err
	}
	if groups != capscache.Core && groups&^capscache.Groups(C.capscache_entry_groups(object)) != 0 {
		C.capscache_entry_free(object)
		return nil, &capscache.Error{
			Kind:    capscache.ErrNotProbed,
			Message: "the entry lacks groups: get it with them",
			Path:    emulator,
		}
	}
	return newEntry(object, c.libvirt, func() { C.capscache_entry_free(object) }), nil
}

func (c *cache) Status(ctx context.Context, emulator string, thorough bool) (capscache.Status, error) {
	if err := ctx.Err(); err != nil {
		return capscache.Status{}, err
	}
	validation := C.uint32_t(C.CAPSCACHE_VALIDATION_FAST)
	if thorough {
		validation = C.CAPSCACHE_VALIDATION_THOROUGH
	}
	return about(c, emulator, func(path *C.char, failed **C.capscache_error) (capscache.Status, bool) {
		status := C.capscache_status_of(c.object, path, validation, failed)
		if status == nil {
			return capscache.Status{}, false
		}
		defer C.capscache_status_free(status)
		return statusOf(status), true
	})
}

func statusOf(status *C.capscache_status) capscache.Status {
	state := capscache.Unreadable
	switch C.capscache_status_state(status) {
	case C.CAPSCACHE_STATE_MISSING:
		state = capscache.Missing
	case C.CAPSCACHE_STATE_VALID:
		state = capscache.Valid
	case C.CAPSCACHE_STATE_STALE:
		state = capscache.Stale
	case C.CAPSCACHE_STATE_DAMAGED:
		state = capscache.Damaged
	case C.CAPSCACHE_STATE_FAILED:
		state = capscache.Failed
	}
	return capscache.Status{
		State:    state,
		Input:    C.GoString(C.capscache_status_input(status)),
		Path:     C.GoString(C.capscache_status_path(status)),
		Recorded: C.GoString(C.capscache_status_recorded(status)),
		Reason:   C.GoString(C.capscache_status_reason(status)),
		RetryIn:  time.Duration(C.capscache_status_retry_in(status)) * time.Second,
	}
}

func (c *cache) List(ctx context.Context) ([]capscache.Listed, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := c.handle.acquire(); err != nil {
		return nil, err
	}
	defer c.handle.release()
	var failed *C.capscache_error
	list := C.capscache_list_of(c.object, &failed)
	if list == nil {
		return nil, taken(failed)
	}
	defer C.capscache_list_free(list)
	listed := make([]capscache.Listed, C.capscache_list_length(list))
	for at := range listed {
		position := C.size_t(at)
		listed[at] = capscache.Listed{
			Emulator: C.GoString(C.capscache_list_emulator(list, position)),
			Status:   statusOf(C.capscache_list_status(list, position)),
		}
		if object := C.capscache_list_entry(list, position); object != nil {
			listed[at].Version = versionOf(C.capscache_entry_version_number(object))
			listed[at].Arch = C.GoString(C.capscache_entry_arch(object))
			listed[at].Groups = capscache.Groups(C.capscache_entry_groups(object))
		}
	}
	return listed, nil
}

func (c *cache) Invalidate(ctx context.Context, emulator string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	return about(c, emulator, func(path *C.char, failed **C.capscache_error) (bool, bool) {
		removed := C.capscache_invalidate(c.object, path, failed)
		return removed > 0, removed >= 0
	})
}

func (c *cache) Close() error {
	if c.handle.close() {
		runtime.SetFinalizer(c, nil)
	}
	return nil
}
