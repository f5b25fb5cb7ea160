// SPDX-License-Identifier: MIT OR Apache-2.0

package capscache

import (
	"fmt"
	"syscall"
)

// Kind is the kind of an error, on which a program can act with errors.Is. Later versions may have further kinds.
type Kind uint8

const (
	// ErrInvalidArgument: an argument has a zero byte, is not UTF-8 where that is needed, is an empty path, or is not one of its
	// enumeration.
	ErrInvalidArgument Kind = iota + 1
	// ErrInvalidQuery: a query cannot be parsed.
	ErrInvalidQuery
	// ErrRoot: the directory of the cache cannot be made or read.
	ErrRoot
	// ErrUnsafe: another user could have written a directory or an entry of the cache.
	ErrUnsafe
	// ErrEmulator: there is no emulator at the path, or it cannot be examined.
	ErrEmulator
	// ErrEntry: an entry cannot be read or written.
	ErrEntry
	// ErrDamaged: an entry is damaged; Get replaces it.
	ErrDamaged
	// ErrNoEntry: there is no valid entry, and the call does not probe.
	ErrNoEntry
	// ErrNotAnEmulator: the file is not an emulator of QEMU's.
	ErrNotAnEmulator
	// ErrCrashed: the emulator exited, was killed, or broke the protocol.
	ErrCrashed
	// ErrTimedOut: the emulator did not answer in time.
	ErrTimedOut
	// ErrNotPermitted: the kernel or a security module refused to execute the emulator.
	ErrNotPermitted
	// ErrShortage: the process lacks memory, processes, descriptors or processor time; another one may succeed.
	ErrShortage
	// ErrProbe: the probe failed for another cause, or the service did not report which.
	ErrProbe
	// ErrAbsent: the emulator does not have what was named.
	ErrAbsent
	// ErrUnknown: the emulator did not report it.
	ErrUnknown
	// ErrNotProbed: the answer is in a group that was not probed; get the entry with it.
	ErrNotProbed
	// ErrUnsupported: the library was built without what the call needs: probes, or cgo.
	ErrUnsupported
	// ErrInternal: a fault of the library.
	ErrInternal
	// ErrDenied: the service does not serve this call to this user.
	ErrDenied
	// ErrService: the service cannot be reached, or broke the protocol.
	ErrService
	// ErrClosed: the cache or entry was closed.
	ErrClosed
)

var kinds = [...]string{
	ErrInvalidArgument: "invalid argument",
	ErrInvalidQuery:    "invalid query",
	ErrRoot:            "unusable root of the cache",
	ErrUnsafe:          "unsafe owner or mode",
	ErrEmulator:        "no emulator",
	ErrEntry:           "unusable entry",
	ErrDamaged:         "damaged entry",
	ErrNoEntry:         "no valid entry",
	ErrNotAnEmulator:   "not an emulator",
	ErrCrashed:         "the emulator ended",
	ErrTimedOut:        "the emulator did not answer in time",
	ErrNotPermitted:    "not permitted to execute the emulator",
	ErrShortage:        "shortage of resources",
	ErrProbe:           "the probe failed",
	ErrAbsent:          "absent",
	ErrUnknown:         "not reported",
	ErrNotProbed:       "not probed",
	ErrUnsupported:     "not supported by this build",
	ErrInternal:        "fault of the library",
	ErrDenied:          "denied by the service",
	ErrService:         "the service cannot be used",
	ErrClosed:          "closed",
}

// Error returns the kind in words.
func (k Kind) Error() string {
	if int(k) >= len(kinds) || kinds[k] == "" {
		return fmt.Sprintf("Kind(%d)", uint8(k))
	}
	return kinds[k]
}

// Error is the reason why a call failed. errors.As returns it, errors.Is compares its kind, and the system's error number.
type Error struct {
	// Kind is the kind of the error.
	Kind Kind
	// Message is the error and its causes in one line, without characters that a terminal acts on.
	Message string
	// Path is the file or directory that the error is about; empty if there is none.
	Path string
	// Errno is the number of the system's error that is the cause; 0 if there is none.
	Errno syscall.Errno
	// Cause is an error of Go's that is the cause; nil if there is none.
	Cause error
}

// Error returns the message.
func (e *Error) Error() string {
	return e.Message
}

// Is returns true for the error's kind.
func (e *Error) Is(target error) bool {
	kind, ok := target.(Kind)
	return ok && kind == e.Kind
}

// Unwrap returns the cause, if it is known.
func (e *Error) Unwrap() error {
	if e.Cause == nil && e.Errno != 0 {
		return e.Errno
	}
	return e.Cause
}
