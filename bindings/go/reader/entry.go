// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build cgo

package reader

/*
#include <capscache.h>

typedef struct facts {
	const char *emulator;
	const char *arch;
	uint64_t version;
	// A bit for each accelerator that the emulator ran under.
	uint32_t accelerators;
} facts;

// Reads the facts in one call: a call from Go costs as much as several of these.
static facts facts_of(const capscache_entry *entry)
{
	facts found = {
		.emulator = capscache_entry_emulator(entry),
		.arch = capscache_entry_arch(entry),
		.version = capscache_entry_version_number(entry),
	};
	for (uint32_t accelerator = CAPSCACHE_ACCELERATOR_KVM; accelerator <= CAPSCACHE_ACCELERATOR_QTEST; accelerator++) {
		if (capscache_entry_has_accelerator(entry, accelerator, NULL) == CAPSCACHE_TRI_YES) {
			found.accelerators |= UINT32_C(1) << accelerator;
		}
	}
	return found;
}

// Parses a query and answers it. An empty release of libvirt stands for the installed one.
static enum capscache_tri answer_for(
	const capscache_entry *entry, const char *text, const char *libvirt, capscache_error **error)
{
	if (*libvirt == 0) {
		return capscache_entry_query(entry, text, error);
	}
	capscache_query *query = capscache_query_parse_for_libvirt(text, libvirt, error);
	enum capscache_tri answer = capscache_entry_answer(entry, query);
	capscache_query_free(query);
	return answer;
}
*/
import "C"

import (
	"context"
	"encoding/json"
	"runtime"
	"sync"
	"unsafe"

	capscache "capscache.io/go"
)

type entry struct {
	handle  handle
	object  *C.capscache_entry
	libvirt string

	// Not all callers need the facts.
	once  sync.Once
	facts facts
}

type facts struct {
	emulator     string
	arch         string
	version      capscache.Version
	accelerators []capscache.Accelerator
}

// newEntry takes an entry of the library's, which free releases. Flags are those of a release of libvirt.
func newEntry(object *C.capscache_entry, libvirt string, free func()) *entry {
	e := &entry{object: object, libvirt: libvirt}
	e.handle.init(free)
	runtime.SetFinalizer(e, (*entry).Close)
	return e
}

// read reads the facts, once; they are empty if the entry was closed before.
func (e *entry) read() *facts {
	e.once.Do(func() {
		if e.handle.acquire() != nil {
			return
		}
		defer e.handle.release()
		found := C.facts_of(e.object)
		e.facts = facts{
			emulator: C.GoString(found.emulator),
			arch:     C.GoString(found.arch),
			version:  versionOf(found.version),
		}
		for _, accelerator := range []capscache.Accelerator{capscache.KVM, capscache.HVF, capscache.TCG, capscache.QTest} {
			if number, err := acceleratorOf(accelerator); err == nil && found.accelerators&(1<<number) != 0 {
				e.facts.accelerators = append(e.facts.accelerators, accelerator)
			}
		}
	})
	return &e.facts
}

func (e *entry) Emulator() string {
	return e.read().emulator
}

func (e *entry) Version() capscache.Version {
	return e.read().version
}

func (e *entry) Arch() string {
	return e.read().arch
}

func (e *entry) Accelerators() []capscache.Accelerator {
	return append([]capscache.Accelerator{}, e.read().accelerators...)
}

// acquire keeps the entry for a call, until release.
func (e *entry) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return e.handle.acquire()
}

func (e *entry) Query(ctx context.Context, query string) (capscache.Answer, error) {
	if err := e.acquire(ctx); err != nil {
		return capscache.Unknown, err
	}
	defer e.handle.release()
	return e.query(query)
}

func (e *entry) query(query string) (capscache.Answer, error) {
	question, err := textOf(query)
	if err != nil {
		return capscache.Unknown, err
	}
	release, err := textOf(e.libvirt)
	if err != nil {
		return capscache.Unknown, err
	}
	var failed *C.capscache_error
	tri := C.answer_for(e.object, question.pointer(), release.pointer(), &failed)
	if failed != nil {
		return capscache.Unknown, taken(failed)
	}
	return answerOf(tri), nil
}

func (e *entry) QueryAll(ctx context.Context, queries ...string) ([]capscache.Answer, error) {
	answers := make([]capscache.Answer, len(queries))
	if err := e.acquire(ctx); err != nil {
		return answers, err
	}
	defer e.handle.release()
	for at, query := range queries {
		answer, err := e.query(query)
		if err != nil {
			return make([]capscache.Answer, len(queries)), err
		}
		answers[at] = answer
	}
	return answers, nil
}

// under calls the library about an accelerator. ok is false if the library returned an error.
func under[T any](
	ctx context.Context,
	e *entry,
	accelerator capscache.Accelerator,
	call func(number C.uint32_t, failed **C.capscache_error) (found T, ok bool),
) (T, error) {
	var none T
	number, err := acceleratorOf(accelerator)
	if err != nil {
		return none, err
	}
	return kept(ctx, e, func(failed **C.capscache_error) (T, bool) { return call(number, failed) })
}

// kept calls the library while the entry is kept. ok is false if the library returned an error.
func kept[T any](ctx context.Context, e *entry, call func(failed **C.capscache_error) (found T, ok bool)) (T, error) {
	var none T
	if err := e.acquire(ctx); err != nil {
		return none, err
	}
	defer e.handle.release()
	var failed *C.capscache_error
	found, ok := call(&failed)
	if !ok {
		return none, taken(failed)
	}
	return found, nil
}

// all returns what the names of a list stand for. ok is false if the library returned an error.
func all[T any](names **C.char, find func(name *C.char) (found T, ok bool)) ([]T, bool) {
	if names == nil {
		return nil, false
	}
	found := []T{}
	for ; *names != nil; names = next(names) {
		one, ok := find(*names)
		if !ok {
			return nil, false
		}
		found = append(found, one)
	}
	return found, true
}

func (e *entry) Machine(ctx context.Context, accelerator capscache.Accelerator, name string) (capscache.Machine, error) {
	wanted, err := textOf(name)
	if err != nil {
		return capscache.Machine{}, err
	}
	return under(ctx, e, accelerator, func(number C.uint32_t, failed **C.capscache_error) (capscache.Machine, bool) {
		return machineOf(C.capscache_entry_machine(e.object, number, wanted.pointer(), failed))
	})
}

func (e *entry) DefaultMachine(ctx context.Context, accelerator capscache.Accelerator) (capscache.Machine, error) {
	return under(ctx, e, accelerator, func(number C.uint32_t, failed **C.capscache_error) (capscache.Machine, bool) {
		return machineOf(C.capscache_entry_default_machine(e.object, number, failed))
	})
}

func (e *entry) Machines(ctx context.Context, accelerator capscache.Accelerator) ([]capscache.Machine, error) {
	return under(ctx, e, accelerator, func(number C.uint32_t, failed **C.capscache_error) ([]capscache.Machine, bool) {
		return all(C.capscache_entry_machines(e.object, number, failed), func(name *C.char) (capscache.Machine, bool) {
			return machineOf(C.capscache_entry_machine(e.object, number, name, failed))
		})
	})
}

func machineOf(machine *C.capscache_machine) (capscache.Machine, bool) {
	if machine == nil {
		return capscache.Machine{}, false
	}
	return capscache.Machine{
		Name:             C.GoString(C.capscache_machine_name(machine)),
		Alias:            C.GoString(C.capscache_machine_alias(machine)),
		MaxCPUs:          uint64(C.capscache_machine_max_cpus(machine)),
		Default:          bool(C.capscache_machine_is_default(machine)),
		Deprecated:       answerOf(C.capscache_machine_is_deprecated(machine)),
		HotpluggableCPUs: bool(C.capscache_machine_has_hotpluggable_cpus(machine)),
		NUMAMemory:       answerOf(C.capscache_machine_has_numa_memory(machine)),
		ACPI:             answerOf(C.capscache_machine_has_acpi(machine)),
		DefaultCPUType:   C.GoString(C.capscache_machine_default_cpu_type(machine)),
		DefaultRAMID:     C.GoString(C.capscache_machine_default_ram_id(machine)),
	}, true
}

func (e *entry) CPUModel(ctx context.Context, accelerator capscache.Accelerator, name string) (capscache.CPUModel, error) {
	wanted, err := textOf(name)
	if err != nil {
		return capscache.CPUModel{}, err
	}
	return under(ctx, e, accelerator, func(number C.uint32_t, failed **C.capscache_error) (capscache.CPUModel, bool) {
		return cpuModelOf(C.capscache_entry_cpu_model(e.object, number, wanted.pointer(), failed))
	})
}

func (e *entry) CPUModels(ctx context.Context, accelerator capscache.Accelerator) ([]capscache.CPUModel, error) {
	return under(ctx, e, accelerator, func(number C.uint32_t, failed **C.capscache_error) ([]capscache.CPUModel, bool) {
		return all(C.capscache_entry_cpu_models(e.object, number, failed), func(name *C.char) (capscache.CPUModel, bool) {
			return cpuModelOf(C.capscache_entry_cpu_model(e.object, number, name, failed))
		})
	})
}

func cpuModelOf(model *C.capscache_cpu_model) (capscache.CPUModel, bool) {
	if model == nil {
		return capscache.CPUModel{}, false
	}
	return capscache.CPUModel{
		Name:                C.GoString(C.capscache_cpu_model_name(model)),
		Usable:              answerOf(C.capscache_cpu_model_is_usable(model)),
		UnavailableFeatures: stringsOf(C.capscache_cpu_model_unavailable_features(model)),
		TypeName:            C.GoString(C.capscache_cpu_model_type_name(model)),
		AliasOf:             C.GoString(C.capscache_cpu_model_alias_of(model)),
		Static:              bool(C.capscache_cpu_model_is_static(model)),
		MigrationSafe:       answerOf(C.capscache_cpu_model_is_migration_safe(model)),
		Deprecated:          bool(C.capscache_cpu_model_is_deprecated(model)),
	}, true
}

func (e *entry) Properties(ctx context.Context, typeName string) ([]capscache.Property, error) {
	wanted, err := textOf(typeName)
	if err != nil {
		return nil, err
	}
	return kept(ctx, e, func(failed **C.capscache_error) ([]capscache.Property, bool) {
		return all(C.capscache_entry_properties(e.object, wanted.pointer(), failed), func(name *C.char) (capscache.Property, bool) {
			return propertyOf(C.capscache_entry_property(e.object, wanted.pointer(), name, failed))
		})
	})
}

func propertyOf(property *C.capscache_property) (capscache.Property, bool) {
	if property == nil {
		return capscache.Property{}, false
	}
	found := capscache.Property{
		Name:        C.GoString(C.capscache_property_name(property)),
		TypeName:    C.GoString(C.capscache_property_type_name(property)),
		Description: C.GoString(C.capscache_property_description(property)),
	}
	if value := C.capscache_property_default_json(property); value != nil {
		found.Default = json.RawMessage(C.GoString(value))
	}
	return found, true
}

func (e *entry) JSON(ctx context.Context, key string) (json.RawMessage, error) {
	wanted, err := textOf(key)
	if err != nil {
		return nil, err
	}
	if err := e.acquire(ctx); err != nil {
		return nil, err
	}
	defer e.handle.release()
	var part *C.char
	if key != "" {
		part = wanted.pointer()
	}
	var failed *C.capscache_error
	document := C.capscache_entry_json(e.object, part, &failed)
	runtime.KeepAlive(wanted)
	if document == nil {
		return nil, taken(failed)
	}
	defer C.capscache_json_free(document)
	length := C.int(C.capscache_json_length(document))
	return C.GoBytes(unsafe.Pointer(C.capscache_json_text(document)), length), nil
}

func (e *entry) Close() error {
	if e.handle.close() {
		// The garbage collector has less to do.
		runtime.SetFinalizer(e, nil)
	}
	return nil
}

// next returns the place after that of a name in a list.
func next(list **C.char) **C.char {
	return (**C.char)(unsafe.Add(unsafe.Pointer(list), unsafe.Sizeof(*list)))
}
