// SPDX-License-Identifier: MIT OR Apache-2.0

package service

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	capscache "capscache.io/go"
)

const (
	// interfaceName is the interface with the dot before a method.
	interfaceName = "io.capscache.Cache."
	// maxReply bounds the memory that a reply may take, in bytes: the longest document has some megabytes.
	maxReply = 256 << 20
	// maxIdle is the number of connections that are kept for later calls.
	maxIdle = 4
)

// connection is one to the service, with at most one call in progress.
type connection struct {
	net.Conn
	reader *bufio.Reader
}

type reply struct {
	Parameters json.RawMessage `json:"parameters"`
	Error      string          `json:"error"`
	Continues  bool            `json:"continues"`
}

// pool has the connections to one socket.
type pool struct {
	socket string

	mutex sync.Mutex
	idle  []*connection
	// After close no connection is kept.
	closed bool
}

// call makes a call with one reply, and reads its parameters.
func (p *pool) call(ctx context.Context, method string, parameters, into any) error {
	found, err := p.exchange(ctx, method, parameters)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(found, into); err != nil {
		return unreadable(err)
	}
	return nil
}

func (p *pool) exchange(ctx context.Context, method string, parameters any) (json.RawMessage, error) {
	message, err := messageOf(method, parameters, false)
	if err != nil {
		return nil, err
	}
	for {
		c, isIdle, err := p.take(ctx)
		if err != nil {
			return nil, err
		}
		var found reply
		err = c.during(ctx, func() error {
			if _, err := c.Write(message); err != nil {
				return err
			}
			found, err = c.receive()
			return err
		})
		if err != nil {
			c.Close()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			// The service may have ended since the last call. No method does harm when it is called twice.
			if isIdle {
				continue
			}
			return nil, broken(err)
		}
		p.put(c)
		if found.Error != "" {
			return nil, refusal(found.Error, found.Parameters)
		}
		return found.Parameters, nil
	}
}

// stream makes a call with several replies, on a connection of its own.
func (p *pool) stream(ctx context.Context, method string, parameters any, receive func(json.RawMessage) error) error {
	message, err := messageOf(method, parameters, true)
	if err != nil {
		return err
	}
	c, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	var failed error
	err = c.during(ctx, func() error {
		if _, err := c.Write(message); err != nil {
			return err
		}
		for {
			found, err := c.receive()
			if err != nil {
				return err
			}
			if found.Error != "" {
				failed = refusal(found.Error, found.Parameters)
				return nil
			}
			if failed = receive(found.Parameters); failed != nil || !found.Continues {
				return nil
			}
		}
	})
	switch {
	case failed != nil:
		return failed
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return broken(err)
	}
}

func messageOf(method string, parameters any, more bool) ([]byte, error) {
	if parameters == nil {
		parameters = struct{}{}
	}
	message, err := json.Marshal(struct {
		Method     string `json:"method"`
		Parameters any    `json:"parameters"`
		More       bool   `json:"more,omitempty"`
	}{interfaceName + method, parameters, more})
	if err != nil {
		return nil, failure(capscache.ErrInternal, "", "cannot write the call: %v", err)
	}
	return append(message, 0), nil
}

// take returns an idle connection, or a new one.
func (p *pool) take(ctx context.Context) (c *connection, isIdle bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	p.mutex.Lock()
	if last := len(p.idle) - 1; last >= 0 {
		c, p.idle = p.idle[last], p.idle[:last]
	}
	p.mutex.Unlock()
	if c != nil {
		return c, true, nil
	}
	c, err = p.connect(ctx)
	return c, false, err
}

func (p *pool) put(c *connection) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.closed || len(p.idle) >= maxIdle {
		c.Close()
		return
	}
	p.idle = append(p.idle, c)
}

func (p *pool) connect(ctx context.Context) (*connection, error) {
	var dialer net.Dialer
	made, err := dialer.DialContext(ctx, "unix", p.socket)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failed := failure(capscache.ErrService, p.socket, "cannot connect to the service: %v", err)
		failed.Cause = err
		return nil, failed
	}
	return &connection{made, bufio.NewReader(made)}, nil
}

func (p *pool) close() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.Close()
	}
	p.idle = nil
}

// during does work on the connection, and interrupts it when the context is done.
func (c *connection) during(ctx context.Context, work func() error) error {
	if ctx.Done() == nil {
		return work()
	}
	ended := make(chan struct{})
	var interrupting sync.WaitGroup
	interrupting.Add(1)
	go func() {
		defer interrupting.Done()
		select {
		case <-ctx.Done():
			_ = c.SetDeadline(time.Unix(1, 0))
		case <-ended:
		}
	}()
	err := work()
	close(ended)
	interrupting.Wait()
	if err == nil {
		// The reply may have come just before the deadline: the next call must not end at it.
		err = c.SetDeadline(time.Time{})
	}
	return err
}

var errTooLong = errors.New("the reply is too long")

// receive reads one reply, to the zero byte at its end. A descriptor that comes with it is closed by the kernel, since it is
// not received.
func (c *connection) receive() (reply, error) {
	var text []byte
	for {
		part, err := c.reader.ReadSlice(0)
		text = append(text, part...)
		if err == nil {
			break
		}
		if err != bufio.ErrBufferFull {
			if err == io.EOF && len(text) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return reply{}, err
		}
		if len(text) > maxReply {
			return reply{}, errTooLong
		}
	}
	var found reply
	err := json.Unmarshal(text[:len(text)-1], &found)
	if len(found.Parameters) == 0 {
		found.Parameters = json.RawMessage("{}")
	}
	return found, err
}

func broken(cause error) error {
	failed := failure(capscache.ErrService, "", "the service did not answer: %v", cause)
	failed.Cause = cause
	return failed
}
