// SPDX-License-Identifier: MIT OR Apache-2.0

package service

import (
	"encoding/json"

	capscache "capscache.io/go"
)

// document is the JSON of an entry, as docs/json.md describes it. It does not change.
type document struct {
	text         []byte
	parts        map[string]json.RawMessage
	accelerators map[string]*accelerated
	present      map[string]bool
	types        map[string]bool
	devices      map[string]json.RawMessage
	objects      map[string]json.RawMessage
}

// accelerated has what the emulator reported under an accelerator. A list that is nil was not reported.
type accelerated struct {
	Machines  []machine  `json:"machines"`
	CPUModels []cpuModel `json:"cpu-definitions"`
}

func documentOf(text string) (*document, error) {
	d := &document{text: []byte(text)}
	if err := json.Unmarshal(d.text, &d.parts); err != nil {
		return nil, unreadable(err)
	}
	var present []string
	var types []struct {
		Name string `json:"name"`
	}
	for key, into := range map[string]any{
		"accelerators":         &d.accelerators,
		"accelerators-present": &present,
		"types":                &types,
		"devices":              &d.devices,
		"objects":              &d.objects,
	} {
		part, ok := d.parts[key]
		if !ok {
			continue
		}
		if err := json.Unmarshal(part, into); err != nil {
			return nil, unreadable(err)
		}
	}
	d.present = make(map[string]bool, len(present))
	for _, name := range present {
		d.present[name] = true
	}
	d.types = make(map[string]bool, len(types))
	for _, one := range types {
		d.types[one.Name] = true
	}
	return d, nil
}

func (d *document) under(accelerator capscache.Accelerator) (*accelerated, error) {
	name := string(accelerator)
	if found := d.accelerators[name]; found != nil {
		return found, nil
	}
	switch accelerator {
	case capscache.KVM, capscache.HVF, capscache.TCG, capscache.QTest:
	default:
		return nil, failure(capscache.ErrInvalidArgument, "", "unknown accelerator %q: known are kvm, hvf, tcg, qtest", name)
	}
	if d.present[name] {
		return nil, failure(capscache.ErrUnknown, "", "the emulator did not run under %s", name)
	}
	return nil, absent("accelerator", name)
}

// properties returns those of a type, of which an entry with groups has at least those in groups.
func (d *document) properties(typeName string, groups capscache.Groups) ([]capscache.Property, error) {
	for _, lists := range []map[string]json.RawMessage{d.devices, d.objects} {
		list, ok := lists[typeName]
		if !ok {
			continue
		}
		var found []struct {
			Name        string          `json:"name"`
			Type        string          `json:"type"`
			Description string          `json:"description"`
			Default     json.RawMessage `json:"default-value"`
		}
		if err := json.Unmarshal(list, &found); err != nil {
			return nil, unreadable(err)
		}
		if found == nil {
			return nil, failure(capscache.ErrUnknown, "", "QEMU refused the query for the properties of %q", typeName)
		}
		properties := make([]capscache.Property, len(found))
		for at, one := range found {
			properties[at] = capscache.Property{
				Name: one.Name, TypeName: one.Type, Description: one.Description, Default: one.Default,
			}
		}
		return properties, nil
	}
	all := capscache.Devices | capscache.Objects
	switch {
	case !d.types[typeName]:
		return nil, absent("device or object", typeName)
	case groups&all == all:
		return nil, notQueried("type", typeName)
	default:
		return nil, failure(capscache.ErrNotProbed, "",
			"the properties of %q were not probed: get the entry with the groups devices and objects", typeName)
	}
}

func absent(what, name string) error {
	return failure(capscache.ErrAbsent, "", "the emulator has no %s %q", what, name)
}

func notQueried(what, name string) error {
	return failure(capscache.ErrUnknown, "", "the emulator was not queried for %s %q", what, name)
}

type machine struct {
	Name             string `json:"name"`
	Alias            string `json:"alias"`
	MaxCPUs          uint64 `json:"cpu-max"`
	Default          bool   `json:"is-default"`
	Deprecated       *bool  `json:"deprecated"`
	HotpluggableCPUs bool   `json:"hotpluggable-cpus"`
	NUMAMemory       *bool  `json:"numa-mem-supported"`
	ACPI             *bool  `json:"acpi"`
	DefaultCPUType   string `json:"default-cpu-type"`
	DefaultRAMID     string `json:"default-ram-id"`
}

func (m machine) public() capscache.Machine {
	return capscache.Machine{
		Name:             m.Name,
		Alias:            m.Alias,
		MaxCPUs:          m.MaxCPUs,
		Default:          m.Default,
		Deprecated:       answerOf(m.Deprecated),
		HotpluggableCPUs: m.HotpluggableCPUs,
		NUMAMemory:       answerOf(m.NUMAMemory),
		ACPI:             answerOf(m.ACPI),
		DefaultCPUType:   m.DefaultCPUType,
		DefaultRAMID:     m.DefaultRAMID,
	}
}

type cpuModel struct {
	Name                string   `json:"name"`
	TypeName            string   `json:"typename"`
	UnavailableFeatures []string `json:"unavailable-features"`
	AliasOf             string   `json:"alias-of"`
	Static              bool     `json:"static"`
	MigrationSafe       *bool    `json:"migration-safe"`
	Deprecated          bool     `json:"deprecated"`
}

func (m cpuModel) public() capscache.CPUModel {
	usable := capscache.Unknown
	var lacking []string
	if m.UnavailableFeatures != nil {
		usable = capscache.AnswerOf(len(m.UnavailableFeatures) == 0)
		// The caller may change it, and the document must not change.
		lacking = append([]string{}, m.UnavailableFeatures...)
	}
	return capscache.CPUModel{
		Name:                m.Name,
		Usable:              usable,
		UnavailableFeatures: lacking,
		TypeName:            m.TypeName,
		AliasOf:             m.AliasOf,
		Static:              m.Static,
		MigrationSafe:       answerOf(m.MigrationSafe),
		Deprecated:          m.Deprecated,
	}
}

func answerOf(is *bool) capscache.Answer {
	if is == nil {
		return capscache.Unknown
	}
	return capscache.AnswerOf(*is)
}
