// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo

package reader

import (
	"sync/atomic"

	capscache "capscache.io/go"
)

// handle counts the users of an object of the C library, which no thread may use while another one frees it.
type handle struct {
	// One for the owner, until it closes the handle, and one for each call in progress.
	users  atomic.Int64
	closed atomic.Bool
	free   func()
}

func (h *handle) init(free func()) {
	h.users.Store(1)
	h.free = free
}

// acquire keeps the object until release; ErrClosed if its owner closed it.
func (h *handle) acquire() error {
	for {
		users := h.users.Load()
		if users == 0 || h.closed.Load() {
			return &capscache.Error{Kind: capscache.ErrClosed, Message: "cannot use the cache or entry: it was closed"}
		}
		if h.users.CompareAndSwap(users, users+1) {
			return nil
		}
	}
}

func (h *handle) release() {
	if h.users.Add(-1) == 0 {
		h.free()
	}
}

// close frees the object when the calls in progress have ended. Returns false if it was closed before.
func (h *handle) close() bool {
	isFirst := h.closed.CompareAndSwap(false, true)
	if isFirst {
		h.release()
	}
	return isFirst
}
