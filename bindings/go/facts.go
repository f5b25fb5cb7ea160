// SPDX-License-Identifier: MIT OR Apache-2.0

package capscache

import (
	"encoding/json"
	"fmt"
)

// Version is a version of QEMU.
type Version struct {
	Major, Minor, Micro int
}

// String returns the version with dots.
func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro)
}

// AtLeast returns true for this version of QEMU and later ones.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// Machine is a machine type: QAPI's MachineInfo.
type Machine struct {
	// Name is the versioned name, such as pc-q35-7.2.
	Name string
	// Alias names a newer version in each release of QEMU, such as q35; empty if there is none.
	Alias string
	// MaxCPUs is the largest number of CPUs; 0 if QEMU did not report it.
	MaxCPUs uint64
	// Default is true if QEMU uses it by default.
	Default bool
	// Deprecated is Yes if QEMU will remove it.
	Deprecated Answer
	// HotpluggableCPUs is true if CPUs can be plugged while it runs.
	HotpluggableCPUs bool
	// NUMAMemory is Yes if its NUMA nodes can have memory of their own (QEMU 4.1 and later).
	NUMAMemory Answer
	// ACPI is Yes if it supports ACPI (QEMU 10.0 and later).
	ACPI Answer
	// DefaultCPUType is the QOM type of the default CPU; empty if QEMU did not report it.
	DefaultCPUType string
	// DefaultRAMID is the name of the memory backend that it creates by default; empty if QEMU did not report it.
	DefaultRAMID string
}

// CPUModel is a CPU model: QAPI's CpuDefinitionInfo.
type CPUModel struct {
	// Name is the name, such as EPYC.
	Name string
	// Usable is Yes if it runs on this host under its accelerator.
	Usable Answer
	// UnavailableFeatures keep it from running on this host; nil if QEMU did not report them.
	UnavailableFeatures []string
	// TypeName is the QOM type; empty if QEMU did not report it.
	TypeName string
	// AliasOf is the versioned model that it is an alias of; empty if it is not an alias.
	AliasOf string
	// Static is true if it is the same on every host and version of QEMU.
	Static bool
	// MigrationSafe is Yes if a guest that uses it can be migrated.
	MigrationSafe Answer
	// Deprecated is true if QEMU will remove it.
	Deprecated bool
}

// Property is a property of a device or object: QAPI's ObjectPropertyInfo.
type Property struct {
	// Name is the name.
	Name string
	// TypeName is QOM's name of the type, such as uint16 or link<bus>.
	TypeName string
	// Description describes its purpose; empty if there is none.
	Description string
	// Default is the value if it is not set; nil if QEMU did not report it.
	Default json.RawMessage
}
