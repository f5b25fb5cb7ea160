// SPDX-License-Identifier: MIT OR Apache-2.0

// Package cachetest has what the tests of both implementations share.
package cachetest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// AVR is an emulator that is small, so that tests are quick.
const AVR = "/usr/bin/qemu-system-avr"

// X86 is an emulator that reports CPU models.
const X86 = "/usr/bin/qemu-system-x86_64"

// deadline is the time after which a test gives up, on a host with load.
const deadline = time.Minute

// Need skips a test without an emulator.
func Need(t testing.TB, emulator string) {
	t.Helper()
	if _, err := os.Stat(emulator); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
}

// VersionOf returns the version that an emulator prints.
func VersionOf(t testing.TB, emulator string) string {
	t.Helper()
	printed := Output(t, emulator, "--version")
	words := strings.Fields(printed)
	if len(words) < 4 {
		t.Fatalf("%s --version printed %q", emulator, printed)
	}
	return words[3]
}

// Output returns what a program prints.
func Output(t testing.TB, program string, arguments ...string) string {
	t.Helper()
	printed, err := exec.Command(program, arguments...).Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return string(printed)
}

// Serve starts the service on a root, and returns its socket. It uses the command that CAPSCACHE_COMMAND names, or capscache on
// PATH, and skips the test without one.
func Serve(t testing.TB, root string, arguments ...string) string {
	t.Helper()
	command := os.Getenv("CAPSCACHE_COMMAND")
	if command == "" {
		found, err := exec.LookPath("capscache")
		if err != nil {
			t.Skipf("SKIPPED: no CAPSCACHE_COMMAND, and %v", err)
		}
		command = found
	}
	// The name of a test would make the path of the socket too long.
	directory, err := os.MkdirTemp("", "capscache")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	socket := filepath.Join(directory, "socket")
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(directory, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	var log bytes.Buffer
	service := exec.Command(command, append([]string{"serve", "--root", root, "--socket", socket}, arguments...)...)
	service.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(directory, "notify"))
	service.Stderr = &log
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = service.Process.Kill()
		_ = service.Wait()
		if t.Failed() {
			t.Logf("the service logged:\n%s", log.String())
		}
	})
	if err := ready.SetReadDeadline(time.Now().Add(deadline)); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, 4096)
	for {
		length, err := ready.Read(message)
		if err != nil {
			t.Fatalf("the service is not ready: %v", err)
		}
		if bytes.Contains(message[:length], []byte("READY=1")) {
			return socket
		}
	}
}

// Program writes an executable file below a directory of the test, and returns its path.
func Program(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
