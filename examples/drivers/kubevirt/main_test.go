// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"context"
	"reflect"
	"testing"

	capscache "capscache.io/go"
	"capscache.io/go/examples/drivers/internal/drivertest"
)

func TestTheLabelsAreThoseOfTheEmulator(t *testing.T) {
	emulator := drivertest.Emulator(t)
	found, err := labels(context.Background(), drivertest.Entry(t, emulator, capscache.Core))
	if err != nil {
		t.Fatal(err)
	}
	monitor := drivertest.Start(t, emulator, "none")
	expected := map[string]string{}
	var machines []struct{ Name, Alias string }
	monitor.Execute("query-machines", nil, &machines)
	for _, machine := range machines {
		expected[machineLabel+machine.Name] = "true"
		if machine.Alias != "" {
			expected[machineLabel+machine.Alias] = "true"
		}
	}
	var models []struct {
		Name        string
		Unavailable []string `json:"unavailable-features"`
		Safe        bool     `json:"migration-safe"`
		Static      bool
	}
	monitor.Execute("query-cpu-definitions", nil, &models)
	for _, model := range models {
		if len(model.Unavailable) == 0 && model.Safe && !model.Static {
			expected[modelLabel+model.Name] = "true"
		}
	}
	expand := func(kind string, props map[string]bool) map[string]any {
		var expansion struct {
			Model struct{ Props map[string]any }
		}
		model := map[string]any{"name": "host"}
		if props != nil {
			model["props"] = props
		}
		arguments := map[string]any{"type": kind, "model": model}
		if !monitor.Execute("query-cpu-model-expansion", arguments, &expansion) {
			t.Fatal("QEMU does not expand the CPU of the host")
		}
		return expansion.Model.Props
	}
	for name, value := range expand("static", nil) {
		switch {
		case name == "vendor":
			expected[vendorLabel+value.(string)] = "true"
		case value == true:
			expected[featureLabel+name] = "true"
		}
	}
	for name, value := range expand("full", map[string]bool{"migratable": false, "hv-passthrough": true}) {
		if len(name) > 3 && name[:3] == "hv-" && name != "hv-passthrough" && value == true {
			expected[hypervLabel+name[3:]] = "true"
		}
	}
	if monitor.Execute("query-sev-capabilities", nil, nil) {
		expected[sevLabel] = ""
	}
	if !reflect.DeepEqual(found, expected) {
		for label := range expected {
			if _, ok := found[label]; !ok {
				t.Errorf("%s is missing", label)
			}
		}
		for label := range found {
			if _, ok := expected[label]; !ok {
				t.Errorf("%s is not what QEMU reports", label)
			}
		}
	}
}
