/* Prints queries with their answers and reasons, which the test compares with those of `capscache query`: queries ROOT EMULATOR */
#include "check.h"

static const char *const QUERIES[] = {
    "machine:none",
    "machine-deprecated:none",
    "cpu:max",
    "cpu-model:no-such",
    "version:>=8.2",
    "gic:3",
    "firmware:uefi",
    "firmware:no-such",
    "device:virtio-blk-pci",
    "property:loader.cpu-num",
    "property:max-x86_64-cpu.pmu",
    "type:none-machine",
    "command:query-version",
    "event:SHUTDOWN",
    "option:sandbox",
    "schema:blockdev-add/arg-type/+file/aio/^io_uring",
    "flag:virtio-gpu",
    "flag:virtio-gpu-ccw",
};

static void print(const capscache_entry *entry, const char *release, const char *text)
{
    capscache_error *error;
    capscache_query *query = release == NULL ? capscache_query_parse(text, &error)
                                             : capscache_query_parse_for_libvirt(text, release, &error);
    CHECK_OK(error);
    capscache_tri answer = capscache_entry_answer(entry, query);
    const char *name = answer == CAPSCACHE_TRI_YES ? "yes" : answer == CAPSCACHE_TRI_NO ? "no" : "unknown";
    if (release == NULL) {
        CHECK(capscache_entry_query(entry, text, &error) == answer);
        CHECK_OK(error);
    }
    printf("%s\t%s\t%s\t%s\n", release == NULL ? "" : release, text, name, capscache_entry_explain(entry, query));
    capscache_query_free(query);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    capscache_error *error;
    capscache *cache = capscache_open(argv[1], &error);
    CHECK_OK(error);
    capscache_entry *entry = capscache_get(cache, argv[2], CAPSCACHE_GROUP_CORE, &error);
    CHECK_OK(error);
    for (size_t at = 0; at < sizeof QUERIES / sizeof QUERIES[0]; at++) {
        print(entry, NULL, QUERIES[at]);
        print(entry, "9.0", QUERIES[at]);
    }
    /* A CPU type is a device whose properties were queried as those of an object. */
    CHECK(has_name(capscache_entry_properties(entry, "max-x86_64-cpu", &error), "pmu"));
    CHECK_OK(error);
    CHECK(capscache_entry_property(entry, "max-x86_64-cpu", "pmu", &error) != NULL);
    CHECK_OK(error);
    capscache_entry_free(entry);
    capscache_free(cache);
    return 0;
}
