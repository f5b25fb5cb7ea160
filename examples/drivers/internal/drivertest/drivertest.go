// SPDX-License-Identifier: MIT OR Apache-2.0

// Package drivertest has what the tests of the examples share: an entry, and the emulator itself to compare it with.
package drivertest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	capscache "capscache.io/go"
	"capscache.io/go/examples/drivers/internal/cache"
	"capscache.io/go/internal/cachetest"
)

// Emulator returns the emulator of this host's architecture; it skips a test of x86 elsewhere, and without KVM.
func Emulator(t *testing.T) string {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("SKIPPED: the test compares answers for x86_64")
	}
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	kvm.Close()
	emulator := "/usr/bin/qemu-system-x86_64"
	cachetest.Need(t, emulator)
	return emulator
}

// Entry returns the entry of an emulator in a cache of the test's, through the library or, without cgo, the service.
func Entry(t *testing.T, emulator string, groups capscache.Groups) capscache.Entry {
	t.Helper()
	root := filepath.Join(t.TempDir(), "cache")
	opened, err := cache.Open(root)
	if errors.Is(err, capscache.ErrUnsupported) {
		opened, err = cache.Open(cachetest.Serve(t, root))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	entry, err := opened.Get(context.Background(), emulator, groups)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { entry.Close() })
	return entry
}

// Monitor is a QMP session with an emulator.
type Monitor struct {
	t      *testing.T
	input  io.Writer
	output *bufio.Reader
}

// Start starts an emulator under KVM with a machine type, without devices, and stops it after the test.
func Start(t *testing.T, emulator, machine string) *Monitor {
	t.Helper()
	program := exec.Command(emulator, "-S", "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", machine, "-accel", "kvm", "-qmp", "stdio")
	input, err := program.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = program.Process.Kill()
		_ = program.Wait()
	})
	m := &Monitor{t, input, bufio.NewReader(output)}
	if greeting := m.read(); !strings.Contains(greeting, `"QMP"`) {
		t.Fatalf("the emulator greets with %q", greeting)
	}
	m.Execute("qmp_capabilities", nil, nil)
	return m
}

// Execute executes a command, reads what it returns, and returns true; false if QEMU replies with an error.
func (m *Monitor) Execute(command string, arguments, into any) bool {
	m.t.Helper()
	message := map[string]any{"execute": command}
	if arguments != nil {
		message["arguments"] = arguments
	}
	text, err := json.Marshal(message)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.input.Write(append(text, '\n')); err != nil {
		m.t.Fatal(err)
	}
	for {
		line := m.read()
		var reply struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := json.Unmarshal([]byte(line), &reply); err != nil {
			m.t.Fatalf("%q: %v", line, err)
		}
		switch {
		case reply.Error != nil:
			m.t.Logf("%s: %s", command, reply.Error.Desc)
			return false
		case reply.Return == nil:
			// An event.
		case into == nil:
			return true
		default:
			if err := json.Unmarshal(reply.Return, into); err != nil {
				m.t.Fatal(err)
			}
			return true
		}
	}
}

func (m *Monitor) read() string {
	m.t.Helper()
	line, err := m.output.ReadString('\n')
	if err != nil {
		m.t.Fatalf("the emulator ended: %v", err)
	}
	return line
}
