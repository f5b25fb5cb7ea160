// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo

package reader

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	capscache "capscache.io/go"
	"capscache.io/go/internal/cachetest"
)

func open(t testing.TB, options Options) capscache.Cache {
	t.Helper()
	opened, err := Open(filepath.Join(t.TempDir(), "cache"), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened
}

func TestTheReaderIsACache(t *testing.T) {
	cachetest.Conform(t, func(t *testing.T) capscache.Cache { return open(t, Options{}) })
}

func TestTheLibraryHasAVersion(t *testing.T) {
	if Version() == "" {
		t.Fatal("the library has no version")
	}
}

func TestFlagsAreThoseOfTheChosenReleaseOfLibvirt(t *testing.T) {
	cachetest.Need(t, cachetest.AVR)
	for _, test := range []struct {
		libvirt, query string
		answer         capscache.Answer
		err            error
	}{
		{"12.8", "flag:nvme", capscache.No, nil},
		{"11.3", "flag:nvme", capscache.Unknown, capscache.ErrInvalidQuery},
		{"8.0", "flag:nvme", capscache.Unknown, capscache.ErrInvalidArgument},
		{"11.3", "machine:uno", capscache.Yes, nil},
	} {
		entry, err := open(t, Options{Libvirt: test.libvirt}).Get(context.Background(), cachetest.AVR, capscache.Core)
		if err != nil {
			t.Fatal(err)
		}
		defer entry.Close()
		answer, err := entry.Query(context.Background(), test.query)
		if answer != test.answer || !errors.Is(err, test.err) {
			t.Errorf("%+v: %v, %v", test, answer, err)
		}
	}
}

func TestARootThatIsAFileIsAnErrorWithItsPathAndNumber(t *testing.T) {
	root := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(root, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(root, Options{})
	var failed *capscache.Error
	if !errors.As(err, &failed) || failed.Kind != capscache.ErrRoot || failed.Path != root {
		t.Fatalf("%#v", err)
	}
	if failed.Errno != syscall.ENOTDIR || !errors.Is(err, syscall.ENOTDIR) {
		t.Fatalf("%#v does not unwrap to its number", err)
	}
	if errors.Is(err, syscall.EBUSY) {
		t.Fatalf("%v is also another number", err)
	}
}

func TestACallerThatLeavesDoesNotEndTheProbe(t *testing.T) {
	endless := cachetest.Program(t, "qemu-system-endless", "#!/bin/sh\nexec sleep 1000\n")
	cache := open(t, Options{StartTimeout: 2 * time.Second, ProbeTimeout: 2 * time.Second})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := cache.Get(ctx, endless, capscache.Core); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	// The next caller shares the probe, or receives its remembered failure.
	if _, err := cache.Get(context.Background(), endless, capscache.Core); !errors.Is(err, capscache.ErrTimedOut) {
		t.Fatalf("%v", err)
	}
}

func TestEntriesOfAFallbackAreUsed(t *testing.T) {
	cachetest.Need(t, cachetest.AVR)
	system := filepath.Join(t.TempDir(), "system")
	filled, err := Open(system, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer filled.Close()
	probed, err := filled.Get(context.Background(), cachetest.AVR, capscache.Core)
	if err != nil {
		t.Fatal(err)
	}
	probed.Close()
	owner := uint32(os.Getuid())
	options := Options{
		Fallbacks:    []string{"/nowhere", system},
		TrustedOwner: &owner,
		FailureTTL:   time.Second,
		StartTimeout: time.Minute,
	}
	found, err := open(t, options).Lookup(context.Background(), cachetest.AVR)
	if err != nil {
		t.Fatal(err)
	}
	found.Close()
	// Answers with other variables are not used.
	options.Variables = map[string]string{"QEMU_AUDIO_DRV": "none"}
	if _, err := open(t, options).Lookup(context.Background(), cachetest.AVR); !errors.Is(err, capscache.ErrNoEntry) {
		t.Fatalf("%v", err)
	}
}

func TestOptionsWithAZeroByteAreErrors(t *testing.T) {
	for _, options := range []Options{
		{Fallbacks: []string{"\x00"}},
		{Variables: map[string]string{"A\x00": ""}},
		{Variables: map[string]string{"A": "\x00"}},
		{Writable: []string{"\x00"}},
	} {
		if _, err := Open(t.TempDir(), options); !errors.Is(err, capscache.ErrInvalidArgument) {
			t.Fatalf("%v", err)
		}
	}
}

func TestTimesThatTheLibraryCannotTakeAreErrors(t *testing.T) {
	for _, options := range []Options{
		{FailureTTL: -time.Nanosecond},
		{FailureTTL: (1 << 32) * time.Second},
		{StartTimeout: -time.Second},
		{ProbeTimeout: -time.Second},
		{StartTimeout: (1 << 32) * time.Millisecond},
		{ProbeTimeout: 1<<63 - 1},
	} {
		if _, err := Open(t.TempDir(), options); !errors.Is(err, capscache.ErrInvalidArgument) {
			t.Errorf("%+v: %v", options, err)
		}
	}
}

func TestAFailureIsRememberedForAtLeastItsTime(t *testing.T) {
	silent := cachetest.Program(t, "qemu-system-avr", "#!/bin/sh\nexit 0\n")
	cache := open(t, Options{FailureTTL: time.Hour + time.Nanosecond})
	if _, err := cache.Get(context.Background(), silent, capscache.Core); !errors.Is(err, capscache.ErrNotAnEmulator) {
		t.Fatalf("%v", err)
	}
	status, err := cache.Status(context.Background(), silent, false)
	if err != nil || status.RetryIn <= 30*time.Minute || status.RetryIn > time.Hour+time.Second {
		t.Fatalf("%+v, %v", status, err)
	}
	if number, err := count("", time.Nanosecond, time.Second); number != 1 || err != nil {
		t.Fatalf("%d, %v", number, err)
	}
}

func TestTheGarbageCollectorFreesWhatWasNotClosed(t *testing.T) {
	cachetest.Need(t, cachetest.AVR)
	var freed atomic.Int32
	count := func(h *handle) {
		free := h.free
		h.free = func() { free(); freed.Add(1) }
	}
	func() {
		opened, err := Open(filepath.Join(t.TempDir(), "cache"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		count(&opened.(*cache).handle)
		found, err := opened.Get(context.Background(), cachetest.AVR, capscache.Core)
		if err != nil {
			t.Fatal(err)
		}
		count(&found.(*entry).handle)
	}()
	deadline := time.Now().Add(time.Minute)
	for freed.Load() < 2 {
		if time.Now().After(deadline) {
			t.Fatalf("%d of 2 objects were freed", freed.Load())
		}
		runtime.GC()
		runtime.Gosched()
	}
}

func TestAnObjectIsFreedOnceAfterItsLastCall(t *testing.T) {
	var freed int
	var h handle
	h.init(func() { freed++ })
	if err := h.acquire(); err != nil {
		t.Fatal(err)
	}
	h.close()
	h.close()
	if err := h.acquire(); !errors.Is(err, capscache.ErrClosed) || freed != 0 {
		t.Fatalf("%v, freed %d times", err, freed)
	}
	h.release()
	if freed != 1 {
		t.Fatalf("freed %d times", freed)
	}
}
