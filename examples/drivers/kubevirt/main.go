// SPDX-License-Identifier: MIT OR Apache-2.0

// The questions of KubeVirt's node labeller: which CPU models and machine types run on this node, which features its CPU has,
// and whether SEV protects guests. The labeller reads them in libvirt's domain capabilities.
//
//	go run ./kubevirt /var/tmp/capscache /usr/bin/qemu-system-x86_64
package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	capscache "capscache.io/go"
	"capscache.io/go/examples/drivers/internal/cache"
)

// The labels of a node.
const (
	modelLabel   = "cpu-model.node.kubevirt.io/"
	featureLabel = "cpu-feature.node.kubevirt.io/"
	vendorLabel  = "cpu-vendor.node.kubevirt.io/"
	hypervLabel  = "hyperv.node.kubevirt.io/"
	machineLabel = "machine-type.node.kubevirt.io/"
	sevLabel     = "kubevirt.io/sev"
)

func main() {
	cache.Main(capscache.Core, labels)
}

// labels returns the labels of the node. What is unknown has none.
func labels(ctx context.Context, entry capscache.Entry) (map[string]string, error) {
	labels := map[string]string{}
	machines, err := entry.Machines(ctx, capscache.Best)
	if err != nil {
		return nil, err
	}
	for _, machine := range machines {
		labels[machineLabel+machine.Name] = "true"
		if machine.Alias != "" {
			labels[machineLabel+machine.Alias] = "true"
		}
	}
	// Unknown for architectures without a list, such as AVR.
	models, err := entry.CPUModels(ctx, capscache.Best)
	if err != nil && !errors.Is(err, capscache.ErrUnknown) {
		return nil, err
	}
	for _, model := range models {
		// A guest with host, max or base is not the same on another node.
		if model.Usable == capscache.Yes && model.MigrationSafe == capscache.Yes && !model.Static {
			labels[modelLabel+model.Name] = "true"
		}
	}
	if err := hostCPU(ctx, entry, labels); err != nil {
		return nil, err
	}
	// Null if QEMU refused the query, absent for other architectures.
	sev, err := entry.JSON(ctx, "sev-capabilities")
	if err != nil && !errors.Is(err, capscache.ErrAbsent) {
		return nil, err
	}
	if err == nil && string(sev) != "null" {
		labels[sevLabel] = ""
	}
	return labels, nil
}

// hostCPU adds the labels of the CPU model host, or max where KVM does not run.
func hostCPU(ctx context.Context, entry capscache.Entry, labels map[string]string) error {
	text, err := entry.JSON(ctx, "accelerators")
	if err != nil {
		return err
	}
	var accelerators map[capscache.Accelerator]struct {
		HostCPU []expansion `json:"host-cpu"`
	}
	if err := json.Unmarshal(text, &accelerators); err != nil {
		return err
	}
	ran := entry.Accelerators()
	if len(ran) == 0 {
		return nil
	}
	for _, expansion := range accelerators[ran[0]].HostCPU {
		if expansion.Return == nil {
			continue
		}
		requested := expansion.Arguments.Model.Props
		for name, value := range expansion.Return.Model.Props {
			hyperV := strings.TrimPrefix(name, "hv-")
			switch {
			// A guest with features that are not migratable cannot leave the node.
			case expansion.Arguments.Type == "static" && len(requested) == 0:
				if vendor, ok := value.(string); ok && name == "vendor" {
					labels[vendorLabel+vendor] = "true"
				} else if value == true {
					labels[featureLabel+name] = "true"
				}
			// With hv-passthrough, QEMU reports the enlightenments of Hyper-V that KVM supports.
			case requested["hv-passthrough"] == true && hyperV != name && hyperV != "passthrough" && value == true:
				labels[hypervLabel+hyperV] = "true"
			}
		}
	}
	return nil
}

// expansion is a query-cpu-model-expansion; its return is null if QEMU refused it.
type expansion struct {
	Arguments struct {
		Type  string `json:"type"`
		Model struct {
			Props map[string]any `json:"props"`
		} `json:"model"`
	} `json:"arguments"`
	Return *struct {
		Model struct {
			Props map[string]any `json:"props"`
		} `json:"model"`
	} `json:"return"`
}
