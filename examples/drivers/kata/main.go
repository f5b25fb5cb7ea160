// SPDX-License-Identifier: MIT OR Apache-2.0

// The questions of Kata Containers before it starts a sandbox: does the configured machine type exist, how many CPUs can it
// have, can CPUs and memory be plugged, which devices share files and sockets with the guest, and which protection of guests.
// Kata has tables of that by architecture, and finds what a QEMU lacks when it does not start.
//
//	go run ./kata /var/tmp/capscache /usr/bin/qemu-system-x86_64
package main

import (
	"context"
	"errors"

	capscache "capscache.io/go"
	"capscache.io/go/examples/drivers/internal/cache"
)

// Report has the answers.
type Report struct {
	Version  string                      `json:"version"`
	Host     capscache.Answer            `json:"cpu_host"`
	Machines map[string]Machine          `json:"machines"`
	Answers  map[string]capscache.Answer `json:"answers"`
}

// Machine is a machine type that Kata can be configured with.
type Machine struct {
	Name       string           `json:"name"`
	MaxCPUs    uint64           `json:"max_cpus"`
	CPUHotplug bool             `json:"cpu_hotplug"`
	Deprecated capscache.Answer `json:"deprecated"`
}

// machines are the machine types that Kata can be configured with, by the architecture of the guest.
var machines = map[string][]string{
	"x86_64":  {"q35", "microvm", "virt"},
	"aarch64": {"virt"},
	"ppc64":   {"pseries"},
	"s390x":   {"s390-ccw-virtio"},
	"riscv64": {"virt"},
}

// questions are the others, by the feature that depends on them.
var questions = map[string]string{
	"agent over vsock":               "device:vhost-vsock-pci",
	"shared file system, virtio-fs":  "device:vhost-user-fs-pci",
	"shared file system, 9p":         "device:virtio-9p-pci",
	"vhost for networks":             "schema:netdev_add/arg-type/+tap/vhost",
	"several queues for networks":    "property:virtio-net-pci.mq",
	"vhost-user disks":               "device:vhost-user-blk-pci",
	"SCSI disks":                     "device:virtio-scsi-pci",
	"disks with io_uring":            "schema:blockdev-add/arg-type/+file/aio/^io_uring",
	"image as NVDIMM":                "device:nvdimm",
	"memory hotplug, DIMM":           "device:pc-dimm",
	"memory hotplug, virtio-mem":     "device:virtio-mem-pci",
	"ports for PCI Express hotplug":  "device:pcie-root-port",
	"devices of the host":            "device:vfio-pci",
	"IOMMU for the guest":            "device:intel-iommu",
	"report of panics":               "device:pvpanic",
	"entropy":                        "device:virtio-rng-pci",
	"templates without their memory": "schema:migrate-set-capabilities/arg-type/capabilities/capability/^x-ignore-shared",
	"seccomp sandbox":                "option:sandbox",
	"protection by SEV":              "type:sev-guest",
	"protection by SEV-SNP":          "type:sev-snp-guest",
	"protection by TDX":              "type:tdx-guest",
	"protection by Secure Execution": "type:s390-pv-guest",
	"protection by PEF":              "type:pef-guest",
	"enclaves of SGX":                "type:memory-backend-epc",
}

func main() {
	cache.Main(capscache.Core, answers)
}

func answers(ctx context.Context, entry capscache.Entry) (*Report, error) {
	report := &Report{
		Version:  entry.Version().String(),
		Machines: map[string]Machine{},
		Answers:  map[string]capscache.Answer{},
	}
	var err error
	if report.Host, err = entry.Query(ctx, "cpu:host@kvm"); err != nil {
		return nil, err
	}
	for _, name := range machines[entry.Arch()] {
		machine, err := entry.Machine(ctx, capscache.Best, name)
		if errors.Is(err, capscache.ErrAbsent) {
			continue
		}
		if err != nil {
			return nil, err
		}
		report.Machines[name] = Machine{
			Name:       machine.Name,
			MaxCPUs:    machine.MaxCPUs,
			CPUHotplug: machine.HotpluggableCPUs,
			Deprecated: machine.Deprecated,
		}
	}
	features, queries := []string{}, []string{}
	for feature, query := range questions {
		features, queries = append(features, feature), append(queries, query)
	}
	answered, err := entry.QueryAll(ctx, queries...)
	if err != nil {
		return nil, err
	}
	for at, feature := range features {
		report.Answers[feature] = answered[at]
	}
	return report, nil
}
