// SPDX-License-Identifier: MIT OR Apache-2.0

package service

import (
	"encoding/json"

	capscache "capscache.io/go"
)

// document is the JSON of an entry, as docs/json.md describes it. It does not change.
type document struct {
	// The entry had at least these.
	groups       capscache.Groups
	text         []byte
	parts        map[string]json.RawMessage
	accelerators map[string]*accelerated
	present      map[string]bool
	devices      map[string]json.RawMessage
	objects      map[string]json.RawMessage
}

// accelerated has what the emulator reported under an accelerator. A list that is nil was not reported.
type accelerated struct {
	Machines  []machine  `json:"machines"`
	CPUModels []cpuModel `json:"cpu-definitions"`
}

func documentOf(text string, groups capscache.Groups) (*document, error) {
	d := &document{groups: groups, text: []byte(text)}
	if err := json.Unmarshal(d.text, &d.parts); err != nil {
		return nil, unreadable(err)
	}
	var present []string
	for key, into := range map[string]any{
		"accelerators":         &d.accelerators,
		"accelerators-present": &present,
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

// properties returns those of a type as a device, else as an object; false if the document has neither.
func (d *document) properties(typeName string) ([]capscache.Property, bool, error) {
	isRefused := false
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
			return nil, false, unreadable(err)
		}
		if found == nil {
			isRefused = true
			continue
		}
		properties := make([]capscache.Property, len(found))
		for at, one := range found {
			properties[at] = capscache.Property{
				Name: one.Name, TypeName: one.Type, Description: one.Description, Default: one.Default,
			}
		}
		return properties, true, nil
	}
	if isRefused {
		return nil, false, failure(capscache.ErrUnknown, "", "QEMU refused the query for the properties of %q", typeName)
	}
	return nil, false, nil
}

// withoutProperties returns the reason why the document has no properties of a type: Entry::properties of the Rust library decides
// in the same way.
func (d *document) withoutProperties(typeName string, isType, isDevice capscache.Answer) error {
	what, group := "object", capscache.Objects
	if isDevice != capscache.No {
		what, group = "device", capscache.Devices
	}
	switch {
	case isType == capscache.No:
		return absent(what, typeName)
	case isType == capscache.Unknown && isDevice == capscache.Unknown:
		return failure(capscache.ErrUnknown, "", "it is unknown whether the emulator has the type %q", typeName)
	case d.groups&group != 0:
		return notQueried(what, typeName)
	default:
		return failure(capscache.ErrNotProbed, "", "%s %q was not probed; get the entry with the group %s", what, typeName, group.Names()[0])
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
