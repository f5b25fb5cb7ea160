// SPDX-License-Identifier: MIT OR Apache-2.0

// The questions of Incus when it starts: which QEMU, does its machine type run here, io_uring, hotplug of CPUs, vhost, UEFI, SEV,
// and the flags of the CPU that its guests have at least. Incus starts a QEMU for them, with a monitor and a file as a disk.
//
//	go run ./incus /var/tmp/capscache /usr/bin/qemu-system-x86_64
package main

import (
	"context"
	"encoding/json"
	"errors"

	capscache "capscache.io/go"
	"capscache.io/go/examples/drivers/internal/cache"
)

// Report has the features under the names that Incus gives them.
type Report struct {
	Version    string           `json:"version"`
	KVM        capscache.Answer `json:"kvm"`
	Machine    string           `json:"machine"`
	MaxCPUs    uint64           `json:"max_cpus"`
	IOUring    capscache.Answer `json:"io_uring"`
	CPUHotplug capscache.Answer `json:"cpu_hotplug"`
	VhostNet   capscache.Answer `json:"vhost_net"`
	VhostVsock capscache.Answer `json:"vhost_vsock"`
	UEFI       capscache.Answer `json:"uefi"`
	SEV        json.RawMessage  `json:"sev,omitempty"`
	Flags      map[string]bool  `json:"flags,omitempty"`
}

// machines are the machine types of Incus by the architecture of the guest.
var machines = map[string]string{
	"x86_64":  "q35",
	"aarch64": "virt",
	"ppc64":   "pseries",
	"s390x":   "s390-ccw-virtio",
}

// baseline is the CPU model of x86_64 whose flags Incus compares between the members of a cluster.
const baseline = "kvm64"

func main() {
	cache.Main(capscache.CPUModels, answers)
}

func answers(ctx context.Context, entry capscache.Entry) (*Report, error) {
	report := &Report{Version: entry.Version().String(), KVM: capscache.No}
	for _, accelerator := range entry.Accelerators() {
		if accelerator == capscache.KVM {
			report.KVM = capscache.Yes
		}
	}
	machine, err := entry.Machine(ctx, capscache.Best, machines[entry.Arch()])
	if err != nil {
		return nil, err
	}
	report.Machine = machine.Name
	report.MaxCPUs = machine.MaxCPUs
	report.CPUHotplug = capscache.AnswerOf(machine.HotpluggableCPUs)
	answered, err := entry.QueryAll(ctx,
		"schema:blockdev-add/arg-type/+file/aio/^io_uring",
		"schema:netdev_add/arg-type/+tap/vhost",
		"device:vhost-vsock-pci",
		"firmware:uefi",
	)
	if err != nil {
		return nil, err
	}
	report.IOUring, report.VhostNet, report.VhostVsock, report.UEFI = answered[0], answered[1], answered[2], answered[3]

	// Null if QEMU refused the query, absent for other architectures.
	report.SEV, err = entry.JSON(ctx, "sev-capabilities")
	if err != nil && !errors.Is(err, capscache.ErrAbsent) {
		return nil, err
	}
	if string(report.SEV) == "null" {
		report.SEV = nil
	}
	if entry.Arch() == "x86_64" && report.KVM == capscache.Yes {
		report.Flags, err = flags(ctx, entry)
	}
	return report, err
}

// flags returns the properties of the baseline that are true or false, as KVM has them here.
func flags(ctx context.Context, entry capscache.Entry) (map[string]bool, error) {
	text, err := entry.JSON(ctx, "accelerators")
	if err != nil {
		return nil, err
	}
	var accelerators map[capscache.Accelerator]struct {
		Models map[string]struct {
			Full struct {
				Model struct {
					Props map[string]any `json:"props"`
				} `json:"model"`
			} `json:"full"`
		} `json:"cpu-models"`
	}
	if err := json.Unmarshal(text, &accelerators); err != nil {
		return nil, err
	}
	flags := map[string]bool{}
	for name, value := range accelerators[capscache.KVM].Models[baseline].Full.Model.Props {
		if is, ok := value.(bool); ok {
			flags[name] = is
		}
	}
	return flags, nil
}
