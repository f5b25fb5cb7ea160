// SPDX-License-Identifier: MIT OR Apache-2.0

package service

import (
	"context"
	"encoding/json"
	"time"
)

// Warmed is an emulator that Warm is done with.
type Warmed struct {
	Emulator string
	// Outcome is cached if there was a valid entry, probed, or failed.
	Outcome string
	// Took is the time that it took.
	Took time.Duration
	// Reason is that of a failure.
	Reason string
}

// Warm probes emulators whose entries are missing or stale, with all groups if full is set. It calls done for each when it is
// done, with the number of those left. Only root and the user of the service may: ErrDenied for other users. At most 1024.
func (c *Client) Warm(ctx context.Context, full bool, emulators []string, done func(warmed Warmed, left int)) error {
	parameters := struct {
		Emulators []string `json:"emulators"`
		Full      bool     `json:"full"`
	}{make([]string, len(emulators)), full}
	for at, emulator := range emulators {
		path, err := absolute(emulator)
		if err != nil {
			return err
		}
		parameters.Emulators[at] = path
	}
	return c.stream(ctx, "Warm", parameters, func(reply json.RawMessage) error {
		var progress struct {
			Warmed []struct {
				Emulator     string `json:"emulator"`
				Outcome      string `json:"outcome"`
				Milliseconds int64  `json:"milliseconds"`
				Reason       string `json:"reason"`
			} `json:"warmed"`
			Left int `json:"left"`
		}
		if err := json.Unmarshal(reply, &progress); err != nil {
			return unreadable(err)
		}
		for _, one := range progress.Warmed {
			took := time.Duration(one.Milliseconds) * time.Millisecond
			done(Warmed{one.Emulator, one.Outcome, took, one.Reason}, progress.Left)
		}
		return nil
	})
}

// Event is a change of the cache.
type Event struct {
	// Kind is appeared, dropped, refreshed, failed or notice. Later versions may have more.
	Kind string
	// Emulator is empty for a notice.
	Emulator string
	// Reason is that of dropped, failed and notice.
	Reason string
	// Probed is true if the emulator was probed for refreshed, which took Took.
	Probed bool
	Took   time.Duration
}

// Monitor calls receive with events from now on, and with the number of those that were missed because the program read too
// slowly, until the context is done, whose error it returns. The first call comes at once, without events.
func (c *Client) Monitor(ctx context.Context, receive func(events []Event, missed int)) error {
	return c.stream(ctx, "Monitor", nil, func(reply json.RawMessage) error {
		var found struct {
			Events []struct {
				Kind         string `json:"kind"`
				Emulator     string `json:"emulator"`
				Reason       string `json:"reason"`
				Probed       bool   `json:"probed"`
				Milliseconds int64  `json:"milliseconds"`
			} `json:"events"`
			Missed int `json:"missed"`
		}
		if err := json.Unmarshal(reply, &found); err != nil {
			return unreadable(err)
		}
		events := make([]Event, len(found.Events))
		for at, one := range found.Events {
			took := time.Duration(one.Milliseconds) * time.Millisecond
			events[at] = Event{one.Kind, one.Emulator, one.Reason, one.Probed, took}
		}
		receive(events, found.Missed)
		return nil
	})
}
