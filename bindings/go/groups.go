// SPDX-License-Identifier: MIT OR Apache-2.0

package capscache

// Groups is a set of the parts of an entry that are probed when they are first needed.
type Groups uint32

const (
	// Core has all that drivers query at start-up; every entry has it.
	Core Groups = 0
	// Devices has the properties of every concrete device.
	Devices Groups = 1
	// Objects has the properties of every user-creatable object.
	Objects Groups = 2
	// CPUModels has the static and full expansion of every CPU model.
	CPUModels Groups = 4
)

// groupNames are those of the Varlink interface and of docs/json.md.
var groupNames = [...]struct {
	group Groups
	name  string
}{{Devices, "devices"}, {Objects, "objects"}, {CPUModels, "cpu-models"}}

// Names returns the names of the groups beside Core: devices, objects, cpu-models.
func (g Groups) Names() []string {
	names := []string{}
	for _, known := range groupNames {
		if g&known.group != 0 {
			names = append(names, known.name)
		}
	}
	return names
}

// GroupsOf returns the set of the groups with these names; names that are unknown are ignored.
func GroupsOf(names []string) Groups {
	groups := Core
	for _, name := range names {
		for _, known := range groupNames {
			if name == known.name {
				groups |= known.group
			}
		}
	}
	return groups
}

// Accelerator runs the guest's instructions: QEMU's -accel, by its name.
type Accelerator string

const (
	// Best is the best accelerator that the emulator ran under: KVM before TCG.
	Best Accelerator = ""
	// KVM is Linux's Kernel-based Virtual Machine.
	KVM Accelerator = "kvm"
	// HVF is the hypervisor framework of macOS.
	HVF Accelerator = "hvf"
	// TCG is QEMU's own translator, which needs no hardware support.
	TCG Accelerator = "tcg"
	// QTest runs no instructions.
	QTest Accelerator = "qtest"
)
