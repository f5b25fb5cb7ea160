// SPDX-License-Identifier: MIT OR Apache-2.0

// Package service calls the service of capscache over its socket: Varlink, the interface io.capscache.Cache. It is written in Go
// alone, for programs without cgo and for users who may not read the cache.
package service

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	capscache "capscache.io/go"
)

// Socket is the usual path of the service's socket.
const Socket = "/run/capscache/io.capscache.Cache"

// Client is a cache behind the service. Goroutines may use it at the same time: each call has a connection to itself.
type Client struct {
	connections pool
	closed      atomic.Bool
}

var _ capscache.Cache = (*Client)(nil)

// New returns a client of the service at a socket. It connects with the first call: ErrService if no service accepts a
// connection.
func New(socket string) *Client {
	return &Client{connections: pool{socket: socket}}
}

// Info is the version of the service, the version of the format of its entries, and the root of its cache.
type Info struct {
	Version string `json:"version"`
	Format  int    `json:"format"`
	Root    string `json:"root"`
}

// Info returns facts about the service.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var info Info
	err := c.call(ctx, "GetInfo", nil, &info)
	return info, err
}

// Get implements capscache.Cache. It returns ErrDenied for an emulator without an entry that the service does not probe for this
// user.
func (c *Client) Get(ctx context.Context, emulator string, groups capscache.Groups) (capscache.Entry, error) {
	return c.get(ctx, emulator, groups, false)
}

// Lookup implements capscache.Cache.
func (c *Client) Lookup(ctx context.Context, emulator string) (capscache.Entry, error) {
	return c.get(ctx, emulator, capscache.Core, true)
}

func (c *Client) get(ctx context.Context, emulator string, groups capscache.Groups, noProbe bool) (capscache.Entry, error) {
	path, err := absolute(emulator)
	if err != nil {
		return nil, err
	}
	if err := checkGroups(groups); err != nil {
		return nil, err
	}
	if c.closed.Load() {
		return nil, closed()
	}
	got, err := c.connections.get(ctx, path, groups, noProbe)
	if err != nil {
		return nil, err
	}
	return &entry{
		client:       c,
		emulator:     path,
		groups:       groups | capscache.GroupsOf(got.Groups),
		version:      capscache.Version(got.Version),
		arch:         got.Arch,
		accelerators: got.Accelerators,
	}, nil
}

// summary is the reply to Get.
type summary struct {
	State        capscache.State         `json:"state"`
	Version      version                 `json:"version"`
	Arch         string                  `json:"arch"`
	Accelerators []capscache.Accelerator `json:"accelerators"`
	Groups       []string                `json:"groups"`
}

// get calls Get. Returns ErrNoEntry for an entry that is not valid.
func (p *pool) get(ctx context.Context, emulator string, groups capscache.Groups, noProbe bool) (summary, error) {
	parameters := struct {
		Emulator string   `json:"emulator"`
		NoProbe  bool     `json:"no_probe"`
		Groups   []string `json:"groups"`
	}{emulator, noProbe, groups.Names()}
	var got summary
	if err := p.call(ctx, "Get", parameters, &got); err != nil {
		return summary{}, err
	}
	if got.State != capscache.Valid {
		return summary{}, failure(capscache.ErrNoEntry, emulator, "there is no valid entry of %s: it is %s", emulator, got.State)
	}
	return got, nil
}

// Status implements capscache.Cache.
func (c *Client) Status(ctx context.Context, emulator string, thorough bool) (capscache.Status, error) {
	path, err := absolute(emulator)
	if err != nil {
		return capscache.Status{}, err
	}
	parameters := struct {
		Emulator string `json:"emulator"`
		Thorough bool   `json:"thorough"`
	}{path, thorough}
	var found status
	if err := c.call(ctx, "Status", parameters, &found); err != nil {
		return capscache.Status{}, err
	}
	return found.public(), nil
}

// List implements capscache.Cache.
func (c *Client) List(ctx context.Context) ([]capscache.Listed, error) {
	var found struct {
		Entries []struct {
			status
			Emulator string   `json:"emulator"`
			Version  version  `json:"version"`
			Arch     string   `json:"arch"`
			Groups   []string `json:"groups"`
		} `json:"entries"`
	}
	if err := c.call(ctx, "List", nil, &found); err != nil {
		return nil, err
	}
	listed := make([]capscache.Listed, len(found.Entries))
	for at, one := range found.Entries {
		listed[at] = capscache.Listed{
			Emulator: one.Emulator,
			Status:   one.public(),
			Version:  capscache.Version(one.Version),
			Arch:     one.Arch,
			Groups:   capscache.GroupsOf(one.Groups),
		}
	}
	return listed, nil
}

// Invalidate implements capscache.Cache. Only root and the user of the service may: ErrDenied for other users.
func (c *Client) Invalidate(ctx context.Context, emulator string) (bool, error) {
	path, err := absolute(emulator)
	if err != nil {
		return false, err
	}
	parameters := struct {
		Emulators []string `json:"emulators"`
	}{[]string{path}}
	var removed struct {
		Dropped []string `json:"dropped"`
	}
	err = c.call(ctx, "Invalidate", parameters, &removed)
	return len(removed.Dropped) > 0, err
}

// Close closes the connections that are idle. Calls in progress end as usual, and those of Warm and Monitor when their contexts
// are done. Entries stay usable, and make a connection for each call from then on.
func (c *Client) Close() error {
	c.closed.Store(true)
	c.connections.close()
	return nil
}

// call makes a call of the client itself.
func (c *Client) call(ctx context.Context, method string, parameters, into any) error {
	if c.closed.Load() {
		return closed()
	}
	return c.connections.call(ctx, method, parameters, into)
}

// stream makes a call of the client itself, with several replies.
func (c *Client) stream(ctx context.Context, method string, parameters any, receive func(json.RawMessage) error) error {
	if c.closed.Load() {
		return closed()
	}
	return c.connections.stream(ctx, method, parameters, receive)
}

type version struct {
	Major int `json:"major"`
	Minor int `json:"minor"`
	Micro int `json:"micro"`
}

type status struct {
	State  capscache.State `json:"state"`
	Reason *struct {
		Input    string `json:"input"`
		Path     string `json:"path"`
		Recorded string `json:"recorded"`
		Found    string `json:"found"`
		RetryIn  int64  `json:"retry_in"`
	} `json:"reason"`
}

func (s status) public() capscache.Status {
	if s.Reason == nil {
		return capscache.Status{State: s.State}
	}
	return capscache.Status{
		State:    s.State,
		Input:    s.Reason.Input,
		Path:     s.Reason.Path,
		Recorded: s.Reason.Recorded,
		Reason:   s.Reason.Found,
		RetryIn:  time.Duration(s.Reason.RetryIn) * time.Second,
	}
}
