// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo

package reader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	capscache "capscache.io/go"
	"capscache.io/go/internal/cachetest"
)

func TestAbandonedCallsOfGetKeepNoThreads(t *testing.T) {
	endless := cachetest.Program(t, "qemu-system-endless", "#!/bin/sh\nexec sleep 1000\n")
	opened := open(t, Options{StartTimeout: 10 * time.Second, ProbeTimeout: 10 * time.Second})
	ctx, cancel := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	before := threads(t)
	for caller := 0; caller < 500; caller++ {
		callers.Add(1)
		go func() {
			defer callers.Done()
			if _, err := opened.Get(ctx, endless, capscache.Core); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		}()
	}
	opened.(*cache).flights.waiters(t, request{endless, capscache.Core}, 500)
	cancel()
	callers.Wait()
	// Lookups of all callers run at the same time, on a few threads for each processor; the slower the machine, the more threads
	// Go starts for them.
	limit := 100 + 4*runtime.NumCPU()
	if limit < 250 {
		limit = 250
	}
	if added := threads(t) - before; added > limit {
		t.Errorf("%d threads were started, more than %d", added, limit)
	}
	// The library has one probe, which all callers share.
	if _, err := opened.Get(context.Background(), endless, capscache.Core); !errors.Is(err, capscache.ErrTimedOut) {
		t.Errorf("%v", err)
	}
}

func threads(t *testing.T) int {
	t.Helper()
	listed, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(listed)
}

func TestCallersThatWaitTogetherHaveEntriesOfTheirOwn(t *testing.T) {
	cachetest.Need(t, cachetest.AVR)
	slow := cachetest.Program(t, "qemu-system-avr", fmt.Sprintf("#!/bin/sh\nsleep 0.3\nexec %s \"$@\"\n", cachetest.AVR))
	cache := open(t, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var callers sync.WaitGroup
	for caller := 0; caller < 20; caller++ {
		callers.Add(1)
		go func() {
			defer callers.Done()
			found, err := cache.Get(ctx, slow, capscache.Core)
			if err != nil {
				t.Errorf("%v", err)
				return
			}
			answer, err := found.Query(ctx, "machine:uno")
			if answer != capscache.Yes || err != nil {
				t.Errorf("%v, %v", answer, err)
			}
			found.Close()
		}()
	}
	callers.Wait()
}

// heldCall is a call that ends when it is sent an error or nil, and counts how often it was made and its value freed.
type heldCall struct {
	end   chan error
	mutex sync.Mutex
	calls int
	freed int
}

func (h *heldCall) call() (int, func(), error) {
	h.mutex.Lock()
	h.calls++
	h.mutex.Unlock()
	if err := <-h.end; err != nil {
		return 0, nil, err
	}
	return 7, func() {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		h.freed++
	}, nil
}

func (h *heldCall) counts() [2]int {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return [2]int{h.calls, h.freed}
}

func (h *heldCall) becomes(t *testing.T, expected [2]int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); h.counts() != expected; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("calls and frees are %v, not %v", h.counts(), expected)
		}
	}
}

// waiters waits until a number of callers wait.
func (f *flights[T]) waiters(t *testing.T, wanted request, expected int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		f.mutex.Lock()
		found := 0
		if joined := f.inFlight[wanted]; joined != nil {
			found = len(joined.waiters)
		}
		f.mutex.Unlock()
		if found == expected {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d callers wait", found)
		}
	}
}

func TestASharedResultIsFreedAfterItsLastRelease(t *testing.T) {
	var waiting flights[int]
	one := heldCall{end: make(chan error)}
	releases := make(chan func(), 3)
	for caller := 0; caller < 3; caller++ {
		go func() {
			value, release, err := waiting.wait(context.Background(), request{"/x", 0}, one.call)
			if value != 7 || err != nil {
				t.Errorf("%d, %v", value, err)
			}
			releases <- release
		}()
	}
	waiting.waiters(t, request{"/x", 0}, 3)
	one.end <- nil
	for left := 2; left >= 0; left-- {
		if counts := one.counts(); counts != [2]int{1, 0} {
			t.Fatalf("calls and frees are %v", counts)
		}
		(<-releases)()
	}
	one.becomes(t, [2]int{1, 1})
	if len(waiting.inFlight) != 0 {
		t.Fatalf("%d calls are kept", len(waiting.inFlight))
	}
}

func TestAResultThatNobodyWaitsForIsFreed(t *testing.T) {
	var waiting flights[int]
	one := heldCall{end: make(chan error)}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for caller := 0; caller < 3; caller++ {
		if _, _, err := waiting.wait(ctx, request{"/x", 0}, one.call); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v", err)
		}
	}
	waiting.waiters(t, request{"/x", 0}, 0)
	one.end <- nil
	one.becomes(t, [2]int{1, 1})
}

func TestResultsAreFreedOnceWhenCallersLeaveAsTheyArrive(t *testing.T) {
	var waiting flights[int]
	for round := 1; round <= 200; round++ {
		one := heldCall{end: make(chan error, 1)}
		ctx, cancel := context.WithCancel(context.Background())
		var callers sync.WaitGroup
		callers.Add(1)
		go func() {
			defer callers.Done()
			if _, release, err := waiting.wait(ctx, request{"/x", 0}, one.call); err == nil {
				release()
			}
		}()
		waiting.waiters(t, request{"/x", 0}, 1)
		go cancel()
		one.end <- nil
		callers.Wait()
		one.becomes(t, [2]int{1, 1})
	}
}

func TestCallersShareAnErrorAndTheNextOneCallsAgain(t *testing.T) {
	var waiting flights[int]
	one := heldCall{end: make(chan error, 1)}
	for round := 1; round <= 2; round++ {
		one.end <- capscache.ErrProbe
		if _, _, err := waiting.wait(context.Background(), request{"/x", 0}, one.call); err != capscache.ErrProbe {
			t.Fatalf("%v", err)
		}
		one.becomes(t, [2]int{round, 0})
	}
}

func TestOtherEmulatorsAndGroupsAreOtherCalls(t *testing.T) {
	var waiting flights[int]
	one := heldCall{end: make(chan error)}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, wanted := range []request{{"/x", 0}, {"/x", capscache.Devices}, {"/y", 0}} {
		_, _, _ = waiting.wait(ctx, wanted, one.call)
	}
	one.becomes(t, [2]int{3, 0})
	for range []int{1, 2, 3} {
		one.end <- nil
	}
	one.becomes(t, [2]int{3, 3})
}
