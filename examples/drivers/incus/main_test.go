// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	capscache "capscache.io/go"
	"capscache.io/go/examples/drivers/internal/drivertest"
	"capscache.io/go/internal/cachetest"
)

// descriptor is that of a firmware, as QEMU's docs/interop/firmware.json has it.
const descriptor = `{
	"interface-types": ["uefi"], "features": [], "mapping": {"device": "memory", "filename": "/x"},
	"targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}]
}`

func TestTheAnswersAreThoseOfAQEMUThatIncusWouldStart(t *testing.T) {
	emulator := drivertest.Emulator(t)
	// A firmware of this user comes before those of the host.
	configuration := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", configuration)
	descriptors := filepath.Join(configuration, "qemu", "firmware")
	if err := os.MkdirAll(descriptors, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(descriptors, "00-test.json"), []byte(descriptor), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := answers(context.Background(), drivertest.Entry(t, emulator, capscache.CPUModels))
	if err != nil {
		t.Fatal(err)
	}
	if report.Version != cachetest.VersionOf(t, emulator) || report.KVM != capscache.Yes || report.UEFI != capscache.Yes {
		t.Fatalf("%+v", report)
	}
	monitor := drivertest.Start(t, emulator, "q35")
	var listed []struct {
		Name, Alias string
		MaxCPUs     uint64 `json:"cpu-max"`
	}
	monitor.Execute("query-machines", nil, &listed)
	for _, machine := range listed {
		if machine.Alias == "q35" && (machine.Name != report.Machine || machine.MaxCPUs != report.MaxCPUs) {
			t.Errorf("%+v is not %+v", report, machine)
		}
	}
	if has := monitor.Execute("query-hotpluggable-cpus", nil, nil); report.CPUHotplug != capscache.AnswerOf(has) {
		t.Errorf("CPU hotplug: %v is not %v", report.CPUHotplug, has)
	}
	if has := monitor.Execute("query-sev-capabilities", nil, nil); (report.SEV != nil) != has {
		t.Errorf("SEV: %s is not %v", report.SEV, has)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	node := map[string]string{"node-name": "check", "driver": "file", "filename": disk, "aio": "io_uring"}
	// A kernel without io_uring refuses what QEMU can do.
	if monitor.Execute("blockdev-add", node, nil) && report.IOUring != capscache.Yes {
		t.Errorf("io_uring: %v", report.IOUring)
	}
	var expansion struct {
		Model struct{ Props map[string]any }
	}
	arguments := map[string]any{"type": "full", "model": map[string]string{"name": baseline}}
	if !monitor.Execute("query-cpu-model-expansion", arguments, &expansion) {
		t.Fatal("QEMU does not expand the baseline")
	}
	flags := map[string]bool{}
	for name, value := range expansion.Model.Props {
		if is, ok := value.(bool); ok {
			flags[name] = is
		}
	}
	if len(flags) < 100 || !reflect.DeepEqual(flags, report.Flags) {
		t.Errorf("%d flags are not the %d of QEMU", len(report.Flags), len(flags))
	}
}
