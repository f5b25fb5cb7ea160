// SPDX-License-Identifier: MIT OR Apache-2.0

package service

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	capscache "capscache.io/go"
	"capscache.io/go/internal/cachetest"
)

func serve(t *testing.T, arguments ...string) *Client {
	t.Helper()
	client := New(cachetest.Serve(t, filepath.Join(t.TempDir(), "cache"), arguments...))
	t.Cleanup(func() { client.Close() })
	return client
}

func TestTheClientIsACache(t *testing.T) {
	cachetest.Conform(t, func(t *testing.T) capscache.Cache { return serve(t) })
}

func TestTheServiceHasARoot(t *testing.T) {
	info, err := serve(t).Info(context.Background())
	if err != nil || !filepath.IsAbs(info.Root) || info.Version == "" || info.Format == 0 {
		t.Fatalf("%+v, %v", info, err)
	}
}

func TestWithoutAServiceThereIsAnError(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	_, err := New(socket).Get(context.Background(), cachetest.AVR, capscache.Core)
	var failed *capscache.Error
	var cause *net.OpError
	if !errors.As(err, &failed) || failed.Kind != capscache.ErrService || failed.Path != socket || !errors.As(err, &cause) {
		t.Fatalf("%#v", err)
	}
}

func TestACallerThatLeavesReturnsAtOnce(t *testing.T) {
	endless := cachetest.Program(t, "qemu-system-endless", "#!/bin/sh\nexec sleep 1000\n")
	client := serve(t, "--start-timeout", "2", "--probe-timeout", "2")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Get(ctx, endless, capscache.Core); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	if _, err := client.Get(context.Background(), endless, capscache.Core); !errors.Is(err, capscache.ErrProbe) {
		t.Fatalf("%v", err)
	}
}

func TestWarmReportsEachEmulatorWhenItIsDone(t *testing.T) {
	cachetest.Need(t, cachetest.AVR)
	client := serve(t)
	var outcomes []string
	var lefts []int
	emulators := []string{cachetest.AVR, "/nowhere/qemu-system-avr"}
	err := client.Warm(context.Background(), false, emulators, func(warmed Warmed, left int) {
		outcomes = append(outcomes, warmed.Emulator+" "+warmed.Outcome)
		lefts = append(lefts, left)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(outcomes) != 2 || lefts[0] != 1 || lefts[1] != 0 {
		t.Fatalf("%v, %v left", outcomes, lefts)
	}
	for _, outcome := range outcomes {
		if outcome != cachetest.AVR+" probed" && outcome != "/nowhere/qemu-system-avr failed" {
			t.Fatalf("%v", outcomes)
		}
	}
}

func TestMonitorReportsEventsUntilItsContextIsDone(t *testing.T) {
	cachetest.Need(t, cachetest.AVR)
	client := serve(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := false
	err := client.Monitor(ctx, func(events []Event, missed int) {
		if !began {
			began = true
			if len(events) != 0 || missed != 0 {
				t.Errorf("the first reply has %v, %d missed", events, missed)
			}
			go func() {
				if found, err := client.Get(ctx, cachetest.AVR, capscache.Core); err == nil {
					found.Close()
				}
			}()
		}
		for _, event := range events {
			if event.Kind == "refreshed" && event.Emulator == cachetest.AVR {
				cancel()
			}
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
}

// listen answers each message on each connection with the next of the replies, and then closes the connection.
func listen(t *testing.T, replies ...string) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for _, reply := range replies {
			accepted, err := listener.Accept()
			if err != nil {
				return
			}
			message := make([]byte, 1<<16)
			_, _ = accepted.Read(message)
			_, _ = accepted.Write([]byte(reply))
			accepted.Close()
		}
	}()
	client := New(socket)
	t.Cleanup(func() { client.Close() })
	return client
}

func TestAReplyThatIsNotOneIsAnError(t *testing.T) {
	for _, reply := range []string{"", "{", "{\x00", "[]\x00", "{\"parameters\":[]}\x00", "{\"error\":\"x.Y\"}\x00", "{\"error\":1}\x00"} {
		_, err := listen(t, reply).List(context.Background())
		if !errors.Is(err, capscache.ErrService) {
			t.Errorf("%q: %v", reply, err)
		}
	}
}

func TestFewerAnswersThanQueriesAreAnError(t *testing.T) {
	got := "{\"parameters\":{\"state\":\"valid\",\"arch\":\"avr\",\"accelerators\":[]}}\x00"
	client := listen(t, got, "{\"parameters\":{\"answers\":[\"yes\"]}}\x00", "{\"parameters\":{\"answers\":[\"maybe\",\"no\"]}}\x00")
	found, err := client.Get(context.Background(), "/x", capscache.Core)
	if err != nil {
		t.Fatal(err)
	}
	for range []int{1, 2} {
		answers, err := found.QueryAll(context.Background(), "machine:a", "machine:b")
		if !errors.Is(err, capscache.ErrService) || len(answers) != 2 || answers[0] != capscache.Unknown {
			t.Fatalf("%v, %v", answers, err)
		}
	}
}

func TestAConnectionThatTheServiceClosedIsReplaced(t *testing.T) {
	empty := "{\"parameters\":{\"entries\":[]}}\x00"
	client := listen(t, empty, empty, empty)
	for range []int{1, 2, 3} {
		if _, err := client.List(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestErrorsOfTheInterfaceHaveTheKindsOfTheReader(t *testing.T) {
	for name, kind := range map[string]capscache.Kind{
		"BadPath":        capscache.ErrEmulator,
		"NoSuchEmulator": capscache.ErrEmulator,
		"CacheUnusable":  capscache.ErrEntry,
	} {
		if err := refusal(interfaceName+name, nil); !errors.Is(err, kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMessagesHaveNoCharactersThatATerminalActsOn(t *testing.T) {
	for text, escaped := range map[string]string{
		"no entry of /q é": "no entry of /q é",
		"/\x1b[2J\n\x00":   `/\x1b[2J\n\x00`,
		"/\u202e\u200b":    `/\u202e\u200b`,
		"/\xff":            `/\xff`,
	} {
		if found := failure(capscache.ErrService, text, "%s", text); found.Message != escaped || found.Path != text {
			t.Errorf("%q is %q", text, found.Message)
		}
	}
	client := New(filepath.Join(t.TempDir(), "\x1b"))
	if _, err := client.List(context.Background()); strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%q", err.Error())
	}
	stale := listen(t, "{\"parameters\":{\"state\":\"stale\",\"accelerators\":[],\"groups\":[]}}\x00")
	if _, err := stale.Lookup(context.Background(), "/\x1b"); !errors.Is(err, capscache.ErrNoEntry) || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%q", err.Error())
	}
}

func TestErrorsOfTheInterfaceHaveKinds(t *testing.T) {
	for name, kind := range kinds {
		parameters, err := json.Marshal(map[string]string{"reason": "because", "emulator": "/x"})
		if err != nil {
			t.Fatal(err)
		}
		err = refusal(name, parameters)
		var failed *capscache.Error
		message := "because"
		if name == interfaceName+"NoSuchEmulator" {
			message = "cannot stat the emulator /x: because"
		}
		if !errors.Is(err, kind) || !errors.As(err, &failed) || failed.Message != message || failed.Errno != 0 || failed.Path != "/x" {
			t.Errorf("%s: %#v", name, err)
		}
	}
}

func TestTheReasonOfAFileThatCannotBeExaminedHasItsNumber(t *testing.T) {
	for reason, number := range map[string]syscall.Errno{
		"No such file or directory": syscall.ENOENT,
		"Permission denied":         syscall.EACCES,
		"because":                   0,
	} {
		if found := numberOf(reason); found != number {
			t.Errorf("%q has the number %d", reason, found)
		}
	}
}

func TestGroupsThatWereProbedSinceGetCount(t *testing.T) {
	cachetest.Need(t, cachetest.AVR)
	ctx := context.Background()
	client := serve(t)
	before, err := client.Get(ctx, cachetest.AVR, capscache.Core)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(ctx, cachetest.AVR, capscache.Devices|capscache.Objects); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bus", "container"} {
		if _, err := before.Properties(ctx, name); !errors.Is(err, capscache.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if found, err := before.Properties(ctx, "loader"); err != nil || len(found) == 0 {
		t.Errorf("%v, %v", found, err)
	}
}

func TestPropertiesThatQEMURefusedForADeviceAreThoseOfTheObject(t *testing.T) {
	d, err := documentOf(`{"devices":{"a":null,"b":null},"objects":{"a":[{"name":"x","type":"bool"}]}}`, capscache.Devices)
	if err != nil {
		t.Fatal(err)
	}
	if found, ok, err := d.properties("a"); err != nil || !ok || len(found) != 1 || found[0].Name != "x" {
		t.Errorf("%v, %v, %v", found, ok, err)
	}
	if _, ok, err := d.properties("b"); ok || !errors.Is(err, capscache.ErrUnknown) {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestAQueryOrPathThatIsTooLongIsNotSent(t *testing.T) {
	ctx := context.Background()
	client := New(filepath.Join(t.TempDir(), "socket"))
	answer, err := (&entry{client: client}).Query(ctx, "machine:"+strings.Repeat("x", maxQueryBytes))
	if answer != capscache.Unknown || !errors.Is(err, capscache.ErrInvalidQuery) {
		t.Errorf("%v, %v", answer, err)
	}
	if _, err := client.Get(ctx, "/"+strings.Repeat("x", 1<<21), capscache.Core); !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("%v", err)
	}
}

func TestACallHasAsManyQueriesAsFit(t *testing.T) {
	for _, test := range []struct {
		query  string
		count  int
		fitted int
	}{
		{"machine:q35", 0, 0},
		{"machine:q35", 1, 1},
		{"machine:q35", 1024, 1024},
		{"machine:q35", 1025, 1024},
		// 16,384 commas, of which 17 are reserved and one is before each query.
		{strings.Repeat(",", 1023), 100, 15},
		// Each is 24,578 bytes as JSON, and a comma.
		{strings.Repeat("<", 4096), 100, 42},
		// Alone it is sent whatever it has.
		{strings.Repeat(",", 1<<20), 2, 1},
	} {
		queries := make([]string, test.count)
		for at := range queries {
			queries[at] = test.query
		}
		if found := countThatFits("/x", queries); found != test.fitted {
			t.Errorf("%d of %d × %.12s…", found, test.count, test.query)
		}
	}
}
