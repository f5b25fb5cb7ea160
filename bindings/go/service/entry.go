// SPDX-License-Identifier: MIT OR Apache-2.0

package service

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	capscache "capscache.io/go"
)

// entry is an emulator whose entry was valid. Its document is requested when it is first needed, and then kept.
type entry struct {
	client       *Client
	emulator     string
	groups       capscache.Groups
	version      capscache.Version
	arch         string
	accelerators []capscache.Accelerator
	closed       atomic.Bool

	mutex    sync.Mutex
	document *document
}

func (e *entry) Emulator() string {
	return e.emulator
}

func (e *entry) Version() capscache.Version {
	return e.version
}

func (e *entry) Arch() string {
	return e.arch
}

func (e *entry) Accelerators() []capscache.Accelerator {
	return append([]capscache.Accelerator{}, e.accelerators...)
}

func (e *entry) Query(ctx context.Context, query string) (capscache.Answer, error) {
	answers, err := e.QueryAll(ctx, query)
	return answers[0], err
}

func (e *entry) QueryAll(ctx context.Context, queries ...string) ([]capscache.Answer, error) {
	unknown := make([]capscache.Answer, len(queries))
	for _, query := range queries {
		if err := checkQuery(query); err != nil {
			return unknown, err
		}
	}
	if err := ctx.Err(); err != nil {
		return unknown, err
	}
	if e.closed.Load() {
		return unknown, closed()
	}
	answers := make([]capscache.Answer, 0, len(queries))
	for len(answers) < len(queries) {
		part := queries[len(answers):]
		answered, err := e.queryPart(ctx, part[:countThatFits(e.emulator, part)])
		if err != nil {
			return unknown, err
		}
		answers = append(answers, answered...)
	}
	return answers, nil
}

func (e *entry) queryPart(ctx context.Context, queries []string) ([]capscache.Answer, error) {
	if e.closed.Load() {
		return nil, closed()
	}
	parameters := struct {
		Emulator string   `json:"emulator"`
		Queries  []string `json:"queries"`
	}{e.emulator, queries}
	var found struct {
		Answers []capscache.Answer `json:"answers"`
	}
	if err := e.client.connections.call(ctx, "Query", parameters, &found); err != nil {
		return nil, err
	}
	if len(found.Answers) != len(queries) {
		return nil, failure(capscache.ErrService, "", "the service gave %d answers to %d queries", len(found.Answers), len(queries))
	}
	return found.Answers, nil
}

// load returns the document of the entry.
func (e *entry) load(ctx context.Context) (*document, error) {
	if e.closed.Load() {
		return nil, closed()
	}
	e.mutex.Lock()
	kept := e.document
	e.mutex.Unlock()
	if kept != nil {
		return kept, nil
	}
	// The entry may have more groups by now. They are requested before the document, which has at least these.
	got, err := e.client.connections.get(ctx, e.emulator, e.groups, false)
	if err != nil {
		return nil, err
	}
	parameters := struct {
		Emulator string `json:"emulator"`
		Format   string `json:"format"`
	}{e.emulator, "json"}
	var found struct {
		Document string `json:"document"`
	}
	if err := e.client.connections.call(ctx, "Export", parameters, &found); err != nil {
		return nil, err
	}
	made, err := documentOf(found.Document, capscache.GroupsOf(got.Groups))
	if err != nil {
		return nil, err
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.document == nil {
		e.document = made
	}
	return e.document, nil
}

func (e *entry) under(ctx context.Context, accelerator capscache.Accelerator) (*accelerated, error) {
	found, err := e.load(ctx)
	if err != nil {
		return nil, err
	}
	if accelerator == capscache.Best {
		if len(e.accelerators) == 0 {
			return nil, failure(capscache.ErrUnknown, e.emulator, "the emulator ran under no accelerator")
		}
		accelerator = e.accelerators[0]
	}
	return found.under(accelerator)
}

func (e *entry) Machine(ctx context.Context, accelerator capscache.Accelerator, name string) (capscache.Machine, error) {
	if err := checkText("name", name); err != nil {
		return capscache.Machine{}, err
	}
	found, err := e.under(ctx, accelerator)
	if err != nil {
		return capscache.Machine{}, err
	}
	for _, is := range []func(machine) bool{
		func(m machine) bool { return m.Name == name },
		func(m machine) bool { return m.Alias == name && name != "" },
	} {
		for _, candidate := range found.Machines {
			if is(candidate) {
				return candidate.public(), nil
			}
		}
	}
	if found.Machines == nil {
		return capscache.Machine{}, notQueried("machine", name)
	}
	return capscache.Machine{}, absent("machine", name)
}

func (e *entry) DefaultMachine(ctx context.Context, accelerator capscache.Accelerator) (capscache.Machine, error) {
	found, err := e.under(ctx, accelerator)
	if err != nil {
		return capscache.Machine{}, err
	}
	for _, candidate := range found.Machines {
		if candidate.Default {
			return candidate.public(), nil
		}
	}
	if found.Machines == nil {
		return capscache.Machine{}, notQueried("machine", "default")
	}
	return capscache.Machine{}, absent("machine", "default")
}

func (e *entry) Machines(ctx context.Context, accelerator capscache.Accelerator) ([]capscache.Machine, error) {
	found, err := e.under(ctx, accelerator)
	if err != nil {
		return nil, err
	}
	if found.Machines == nil {
		return nil, notQueried("answer", "machines")
	}
	machines := make([]capscache.Machine, len(found.Machines))
	for at, one := range found.Machines {
		machines[at] = one.public()
	}
	return machines, nil
}

func (e *entry) CPUModel(ctx context.Context, accelerator capscache.Accelerator, name string) (capscache.CPUModel, error) {
	if err := checkText("name", name); err != nil {
		return capscache.CPUModel{}, err
	}
	found, err := e.under(ctx, accelerator)
	if err != nil {
		return capscache.CPUModel{}, err
	}
	for _, candidate := range found.CPUModels {
		if candidate.Name == name {
			return candidate.public(), nil
		}
	}
	if found.CPUModels == nil {
		return capscache.CPUModel{}, notQueried("CPU model", name)
	}
	return capscache.CPUModel{}, absent("CPU model", name)
}

func (e *entry) CPUModels(ctx context.Context, accelerator capscache.Accelerator) ([]capscache.CPUModel, error) {
	found, err := e.under(ctx, accelerator)
	if err != nil {
		return nil, err
	}
	if found.CPUModels == nil {
		return nil, notQueried("answer", "cpu-definitions")
	}
	models := make([]capscache.CPUModel, len(found.CPUModels))
	for at, one := range found.CPUModels {
		models[at] = one.public()
	}
	return models, nil
}

func (e *entry) Properties(ctx context.Context, typeName string) ([]capscache.Property, error) {
	if err := checkText("type", typeName); err != nil {
		return nil, err
	}
	found, err := e.load(ctx)
	if err != nil {
		return nil, err
	}
	properties, ok, err := found.properties(typeName)
	if ok || err != nil {
		return properties, err
	}
	isType, isDevice, err := e.kindOf(ctx, typeName)
	if err != nil {
		return nil, err
	}
	return nil, found.withoutProperties(typeName, isType, isDevice)
}

// kindOf returns whether the emulator has a type, and whether it is a device. The document has no abstract types.
func (e *entry) kindOf(ctx context.Context, typeName string) (isType, isDevice capscache.Answer, err error) {
	queries := []string{"type:" + typeName, "device:" + typeName}
	if typeName == "" || len(queries[1]) > maxQueryBytes {
		// The service takes no such query, and QEMU has no such type.
		return capscache.No, capscache.No, nil
	}
	answers, err := e.queryPart(ctx, queries)
	if err != nil {
		return capscache.Unknown, capscache.Unknown, err
	}
	return answers[0], answers[1], nil
}

func (e *entry) JSON(ctx context.Context, key string) (json.RawMessage, error) {
	if err := checkText("key", key); err != nil {
		return nil, err
	}
	found, err := e.load(ctx)
	if err != nil {
		return nil, err
	}
	if key == "" {
		return append(json.RawMessage{}, found.text...), nil
	}
	part, ok := found.parts[key]
	if !ok {
		return nil, absent("key", key)
	}
	return append(json.RawMessage{}, part...), nil
}

func (e *entry) Close() error {
	e.closed.Store(true)
	return nil
}
