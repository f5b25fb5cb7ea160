// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"context"
	"strings"
	"testing"

	capscache "capscache.io/go"
	"capscache.io/go/examples/drivers/internal/drivertest"
	"capscache.io/go/internal/cachetest"
)

func TestTheAnswersAreThoseOfTheEmulator(t *testing.T) {
	emulator := drivertest.Emulator(t)
	report, err := answers(context.Background(), drivertest.Entry(t, emulator, capscache.Core))
	if err != nil {
		t.Fatal(err)
	}
	if report.Version != cachetest.VersionOf(t, emulator) || report.Host != capscache.Yes {
		t.Fatalf("%+v", report)
	}
	monitor := drivertest.Start(t, emulator, "none")
	var machines []struct {
		Name, Alias string
		MaxCPUs     uint64 `json:"cpu-max"`
		Hotplug     bool   `json:"hotpluggable-cpus"`
	}
	monitor.Execute("query-machines", nil, &machines)
	found := 0
	for _, machine := range machines {
		for _, name := range []string{machine.Name, machine.Alias} {
			if reported, ok := report.Machines[name]; ok {
				found++
				if reported.Name != machine.Name || reported.MaxCPUs != machine.MaxCPUs || reported.CPUHotplug != machine.Hotplug {
					t.Errorf("%+v is not %+v", reported, machine)
				}
			}
		}
	}
	if found != len(report.Machines) || found == 0 {
		t.Errorf("%d of %v are machine types of QEMU's", found, report.Machines)
	}
	var types []struct{ Name string }
	monitor.Execute("qom-list-types", nil, &types)
	hasType := map[string]bool{}
	for _, one := range types {
		hasType[one.Name] = true
	}
	devices := cachetest.Output(t, emulator, "-device", "help")
	for feature, query := range questions {
		answer := report.Answers[feature]
		kind, name, _ := strings.Cut(query, ":")
		switch kind {
		case "device":
			if has := strings.Contains(devices, `name "`+name+`"`); answer != capscache.AnswerOf(has) {
				t.Errorf("%s: %v", query, answer)
			}
		case "type":
			if answer != capscache.AnswerOf(hasType[name]) {
				t.Errorf("%s: %v", query, answer)
			}
		default:
			if answer == capscache.Unknown {
				t.Errorf("%s: %v", query, answer)
			}
		}
	}
	var capabilities []struct{ Capability string }
	monitor.Execute("query-migrate-capabilities", nil, &capabilities)
	hasIgnoreShared := false
	for _, one := range capabilities {
		hasIgnoreShared = hasIgnoreShared || one.Capability == "x-ignore-shared"
	}
	if answer := report.Answers["templates without their memory"]; answer != capscache.AnswerOf(hasIgnoreShared) {
		t.Errorf("x-ignore-shared: %v", answer)
	}
}
