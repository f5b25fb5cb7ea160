/* The questions of libguestfs before it starts its appliance: which machine type, how many CPUs, does KVM work, is there
 * virtio-scsi, and with which device.
 *
 *     cc appliance.c $(pkg-config --cflags --libs capscache) && ./a.out /var/tmp/capscache /usr/bin/qemu-system-x86_64
 */
#include <capscache.h>

#include <stdio.h>

static const char *text_of(capscache_tri answer)
{
    switch (answer) {
    case CAPSCACHE_TRI_YES:
        return "yes";
    case CAPSCACHE_TRI_NO:
        return "no";
    default:
        return "unknown";
    }
}

static int fail(capscache_error *error)
{
    fprintf(stderr, "appliance: %s\n", capscache_error_message(error));
    capscache_error_free(error);
    return 1;
}

/* Prints the answers; returns 0, or 1 after an error that it printed. */
static int describe(const capscache_entry *entry)
{
    printf("qemu: %s\n", capscache_entry_version(entry));

    /* ARM has no default: the appliance uses `virt` there. */
    capscache_error *error;
    const capscache_machine *machine = capscache_entry_default_machine(entry, CAPSCACHE_ACCELERATOR_BEST, NULL);
    if (machine == NULL) {
        machine = capscache_entry_machine(entry, CAPSCACHE_ACCELERATOR_BEST, "virt", &error);
        if (machine == NULL) {
            return fail(error);
        }
    }
    printf("machine: %s\n", capscache_machine_name(machine));
    printf("max cpus: %llu\n", (unsigned long long)capscache_machine_max_cpus(machine));

    capscache_tri kvm = capscache_entry_has_accelerator(entry, CAPSCACHE_ACCELERATOR_KVM, NULL);
    printf("kvm: %s\n", text_of(kvm));
    printf("virtio-scsi-pci: %s\n", text_of(capscache_entry_query(entry, "device:virtio-scsi-pci", NULL)));
    printf("isa-serial: %s\n", text_of(capscache_entry_query(entry, "device:isa-serial", NULL)));

    /* `-cpu host` runs under KVM alone, `-cpu max` everywhere. */
    const char *cpu = kvm == CAPSCACHE_TRI_YES ? "host" : "max";
    const capscache_cpu_model *model = capscache_entry_cpu_model(entry, CAPSCACHE_ACCELERATOR_BEST, cpu, NULL);
    printf("cpu %s: %s\n", cpu, text_of(model != NULL ? capscache_cpu_model_is_usable(model) : CAPSCACHE_TRI_NO));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: appliance ROOT EMULATOR\n");
        return 2;
    }
    capscache_error *error;
    capscache *cache = capscache_open(argv[1], &error);
    if (cache == NULL) {
        return fail(error);
    }
    capscache_entry *entry = capscache_get(cache, argv[2], CAPSCACHE_GROUP_CORE, &error);
    capscache_free(cache);
    if (entry == NULL) {
        return fail(error);
    }
    int status = describe(entry);
    capscache_entry_free(entry);
    return status;
}
