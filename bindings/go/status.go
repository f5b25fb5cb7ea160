// SPDX-License-Identifier: MIT OR Apache-2.0

package capscache

import "time"

// State is the state of an emulator's entry, by its name. Later versions may have further states.
type State string

const (
	// Missing: there is no entry.
	Missing State = "missing"
	// Valid: the entry answers for its emulator.
	Valid State = "valid"
	// Stale: an input changed.
	Stale State = "stale"
	// Damaged: the file of the entry is damaged.
	Damaged State = "damaged"
	// Unreadable: the file of the entry cannot be read.
	Unreadable State = "unreadable"
	// Failed: there is no valid entry, and the last probe failed.
	Failed State = "failed"
)

// Status is the state of an emulator's entry, and the reason for it.
type Status struct {
	State State
	// Input is the kind of the input that changed, such as emulator or kernel; empty if the entry is not stale.
	Input string
	// Path is that of the input that changed, or of the file that is damaged or cannot be read; empty if there is none.
	Path string
	// Recorded is the recorded state of the input that changed; empty if the entry is not stale.
	Recorded string
	// Reason is the present state of the input that changed, the damage, or the reason of the failure, in one line; empty
	// for an entry that is valid or missing.
	Reason string
	// RetryIn is the time until Get probes again after a failure; 0 otherwise.
	RetryIn time.Duration
}

// Listed is an entry of a list. One that is damaged may have only its status.
type Listed struct {
	Emulator string
	Status   Status
	Version  Version
	Arch     string
	Groups   Groups
}
