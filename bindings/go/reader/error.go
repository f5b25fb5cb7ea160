// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo

package reader

// #include <capscache.h>
import "C"

import (
	"fmt"
	"syscall"

	capscache "capscache.io/go"
)

// kinds are indexed by code: those of later libraries are ErrInternal.
var kinds = map[uint32]capscache.Kind{
	C.CAPSCACHE_CODE_INVALID_ARGUMENT: capscache.ErrInvalidArgument,
	C.CAPSCACHE_CODE_INVALID_QUERY:    capscache.ErrInvalidQuery,
	C.CAPSCACHE_CODE_ROOT:             capscache.ErrRoot,
	C.CAPSCACHE_CODE_UNSAFE:           capscache.ErrUnsafe,
	C.CAPSCACHE_CODE_EMULATOR:         capscache.ErrEmulator,
	C.CAPSCACHE_CODE_ENTRY:            capscache.ErrEntry,
	C.CAPSCACHE_CODE_DAMAGED:          capscache.ErrDamaged,
	C.CAPSCACHE_CODE_NO_ENTRY:         capscache.ErrNoEntry,
	C.CAPSCACHE_CODE_NOT_AN_EMULATOR:  capscache.ErrNotAnEmulator,
	C.CAPSCACHE_CODE_CRASHED:          capscache.ErrCrashed,
	C.CAPSCACHE_CODE_TIMED_OUT:        capscache.ErrTimedOut,
	C.CAPSCACHE_CODE_NOT_PERMITTED:    capscache.ErrNotPermitted,
	C.CAPSCACHE_CODE_SHORTAGE:         capscache.ErrShortage,
	C.CAPSCACHE_CODE_PROBE:            capscache.ErrProbe,
	C.CAPSCACHE_CODE_ABSENT:           capscache.ErrAbsent,
	C.CAPSCACHE_CODE_UNKNOWN:          capscache.ErrUnknown,
	C.CAPSCACHE_CODE_NOT_PROBED:       capscache.ErrNotProbed,
	C.CAPSCACHE_CODE_UNSUPPORTED:      capscache.ErrUnsupported,
	C.CAPSCACHE_CODE_INTERNAL:         capscache.ErrInternal,
}

// taken returns an error of the library's as one of Go's, and frees it.
func taken(failed *C.capscache_error) error {
	defer C.capscache_error_free(failed)
	kind, ok := kinds[C.capscache_error_code(failed)]
	if !ok {
		kind = capscache.ErrInternal
	}
	return &capscache.Error{
		Kind:    kind,
		Message: C.GoString(C.capscache_error_message(failed)),
		Path:    C.GoString(C.capscache_error_path(failed)),
		Errno:   syscall.Errno(C.capscache_error_errno(failed)),
	}
}

func invalid(format string, values ...any) error {
	return &capscache.Error{Kind: capscache.ErrInvalidArgument, Message: fmt.Sprintf(format, values...)}
}
