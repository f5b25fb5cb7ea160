// SPDX-License-Identifier: MIT OR Apache-2.0

// Package reader reads a cache through the C library of capscache, libcapscache.so.0, and probes emulators without a valid
// entry.
//
// It needs cgo, the header, and pkg-config, by whose name capscache the library is found. Built without cgo, Open returns
// ErrUnsupported: use package service then.
package reader

import "time"

// Options change how a cache is opened. The zero value has the defaults of the library. Open returns ErrInvalidArgument for a time
// that is negative or longer than 2^32 of its units: seconds of FailureTTL, milliseconds of the timeouts, which are rounded up.
type Options struct {
	// Fallbacks are the roots of other caches, such as capscache.SystemRoot, whose valid entries are used where the root has
	// none. They are searched in this order and never written; one that is absent is skipped. Of one that belongs to another user,
	// that user is to be the TrustedOwner.
	Fallbacks []string
	// TrustedOwner is a user whose files are trusted beside those of root and of the user of this process, such as the owner
	// of capscache.SystemRoot; nil stands for none.
	TrustedOwner *uint32
	// FailureTTL is the time, rounded up to whole seconds, after which an emulator that could not be probed is probed again if nothing
	// changes before; 0 stands for a minute.
	FailureTTL time.Duration
	// StartTimeout is the time that one process of a probe may take; 0 stands for ten seconds, or for ProbeTimeout if that is
	// shorter.
	StartTimeout time.Duration
	// ProbeTimeout is the time of the whole probe; 0 stands for a minute, or for StartTimeout if that is longer.
	ProbeTimeout time.Duration
	// Variables are added to the environment of emulators. Answers of emulators with other variables are not used.
	Variables map[string]string
	// Writable are directories that emulators may write to beside their temporary directory.
	Writable []string
	// Libvirt is the release of libvirt whose flags queries of the form flag:NAME name, such as 11.3; empty stands for the
	// installed one, and for the newest that is known if none is installed. Queries return ErrInvalidArgument for a release
	// that is not known.
	Libvirt string
	// User runs emulators as another user, which requires root; nil stands for the user of this process.
	User *User
}

// User is a user that emulators run as. KVM is examined with its rights.
type User struct {
	UID, GID uint32
	// Groups are further groups, such as the one that may open /dev/kvm.
	Groups []uint32
}
