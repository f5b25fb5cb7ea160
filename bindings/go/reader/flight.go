// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo

package reader

import (
	"context"
	"sync"

	capscache "capscache.io/go"
)

// request is what calls of Get have in common that can share a result.
type request struct {
	// An absolute path.
	emulator string
	groups   capscache.Groups
}

// flights are the calls that callers with contexts wait for: one goroutine for each request, however many callers there are.
// The zero value has none.
type flights[T any] struct {
	mutex    sync.Mutex
	inFlight map[request]*flight[T]
}

// flight is a call in progress. Each waiter has a channel with room for its result.
type flight[T any] struct {
	waiters map[chan result[T]]struct{}
}

// result is what a call returned, which its receiver must release if there is no error.
type result[T any] struct {
	value   T
	release func()
	err     error
}

// wait returns the result of call, shared with other callers that make the same request before it ends. call is made on a
// goroutine of its own, and returns a function that frees the value, which is done after the last release. After the context is
// done, wait returns its error, and call goes on.
func (f *flights[T]) wait(ctx context.Context, wanted request, call func() (T, func(), error)) (T, func(), error) {
	done := make(chan result[T], 1)
	f.mutex.Lock()
	joined := f.inFlight[wanted]
	if joined == nil {
		joined = &flight[T]{waiters: map[chan result[T]]struct{}{}}
		if f.inFlight == nil {
			f.inFlight = map[request]*flight[T]{}
		}
		f.inFlight[wanted] = joined
		go f.run(wanted, joined, call)
	}
	joined.waiters[done] = struct{}{}
	f.mutex.Unlock()

	select {
	case got := <-done:
		return got.value, got.release, got.err
	case <-ctx.Done():
	}
	f.mutex.Lock()
	delete(joined.waiters, done)
	f.mutex.Unlock()
	// Results are sent under the mutex: one that is not here by now does not come.
	select {
	case got := <-done:
		if got.err == nil {
			got.release()
		}
	default:
	}
	var none T
	return none, nil, ctx.Err()
}

func (f *flights[T]) run(wanted request, ended *flight[T], call func() (T, func(), error)) {
	value, free, err := call()
	var shared handle
	if err == nil {
		shared.init(free)
		// Frees the value at once if no caller waits.
		defer shared.close()
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	delete(f.inFlight, wanted)
	for waiter := range ended.waiters {
		if err == nil {
			// It is not closed yet.
			_ = shared.acquire()
		}
		waiter <- result[T]{value, shared.release, err}
	}
}
