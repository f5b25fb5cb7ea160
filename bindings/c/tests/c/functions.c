/* Calls every function on a real emulator: functions ROOT EMULATOR */
#include "check.h"

static void check_machines(const capscache_entry *entry)
{
    capscache_error *error;
    const char *const *names = capscache_entry_machines(entry, CAPSCACHE_ACCELERATOR_BEST, &error);
    CHECK_OK(error);
    CHECK(length_of(names) > 1 && has_name(names, "none"));
    /* The list is made once. */
    CHECK(names == capscache_entry_machines(entry, capscache_entry_best_accelerator(entry), NULL));

    for (; *names != NULL; names++) {
        const capscache_machine *machine = capscache_entry_machine(entry, CAPSCACHE_ACCELERATOR_BEST, *names, &error);
        CHECK_OK(error);
        CHECK(strcmp(capscache_machine_name(machine), *names) == 0);
        CHECK(capscache_machine_max_cpus(machine) >= 1);
        CHECK(capscache_machine_is_deprecated(machine) != CAPSCACHE_TRI_UNKNOWN);
        CHECK(capscache_machine_has_numa_memory(machine) != CAPSCACHE_TRI_UNKNOWN);
        (void)capscache_machine_has_acpi(machine);
        (void)capscache_machine_has_hotpluggable_cpus(machine);
        (void)capscache_machine_default_cpu_type(machine);
        (void)capscache_machine_default_ram_id(machine);

        const char *alias = capscache_machine_alias(machine);
        if (alias != NULL) {
            CHECK(machine == capscache_entry_machine(entry, CAPSCACHE_ACCELERATOR_BEST, alias, NULL));
        }
    }

    const capscache_machine *machine = capscache_entry_default_machine(entry, CAPSCACHE_ACCELERATOR_BEST, &error);
    if (machine != NULL) {
        CHECK(capscache_machine_is_default(machine));
    } else {
        /* QEMU reported its machine types: none is the default. */
        CHECK_ERROR(error, CAPSCACHE_CODE_ABSENT);
    }
    CHECK(capscache_entry_machine(entry, CAPSCACHE_ACCELERATOR_TCG, "no-such", &error) == NULL);
    CHECK_ERROR(error, CAPSCACHE_CODE_ABSENT);
}

static void check_cpu_models(const capscache_entry *entry)
{
    capscache_error *error;
    const char *const *names = capscache_entry_cpu_models(entry, CAPSCACHE_ACCELERATOR_TCG, &error);
    if (names == NULL) {
        /* AVR has no `query-cpu-definitions`: neither the list nor a name in it is known. */
        CHECK(strcmp(capscache_entry_arch(entry), "avr") == 0);
        CHECK_ERROR(error, CAPSCACHE_CODE_UNKNOWN);
        CHECK(capscache_entry_cpu_model(entry, CAPSCACHE_ACCELERATOR_TCG, "no-such", &error) == NULL);
        CHECK_ERROR(error, CAPSCACHE_CODE_UNKNOWN);
        return;
    }
    CHECK_OK(error);
    for (; *names != NULL; names++) {
        const capscache_cpu_model *model = capscache_entry_cpu_model(entry, CAPSCACHE_ACCELERATOR_TCG, *names, &error);
        CHECK_OK(error);
        CHECK(strcmp(capscache_cpu_model_name(model), *names) == 0);
        const char *const *missing = capscache_cpu_model_unavailable_features(model);
        switch (capscache_cpu_model_is_usable(model)) {
        case CAPSCACHE_TRI_YES:
            CHECK(length_of(missing) == 0);
            break;
        case CAPSCACHE_TRI_NO:
            CHECK(length_of(missing) > 0);
            break;
        case CAPSCACHE_TRI_UNKNOWN:
            CHECK(missing == NULL);
            break;
        }
        (void)capscache_cpu_model_type_name(model);
        (void)capscache_cpu_model_alias_of(model);
        (void)capscache_cpu_model_is_static(model);
        (void)capscache_cpu_model_is_migration_safe(model);
        (void)capscache_cpu_model_is_deprecated(model);
    }
    CHECK(capscache_entry_cpu_model(entry, CAPSCACHE_ACCELERATOR_TCG, "no-such", &error) == NULL);
    CHECK_ERROR(error, CAPSCACHE_CODE_ABSENT);
}

static void check_names(const capscache_entry *entry)
{
    CHECK(has_name(capscache_entry_types(entry, NULL), "none-machine"));
    CHECK(has_name(capscache_entry_devices(entry, NULL), "loader"));
    CHECK(has_name(capscache_entry_objects(entry, NULL), "iothread"));
    CHECK(has_name(capscache_entry_commands(entry, NULL), "query-version"));
    CHECK(has_name(capscache_entry_events(entry, NULL), "SHUTDOWN"));
    CHECK(has_name(capscache_entry_accelerators_present(entry, NULL), "tcg"));
}

static void check_queries(const capscache_entry *entry)
{
    capscache_error *error;
    CHECK(capscache_entry_query(entry, "machine:none", &error) == CAPSCACHE_TRI_YES);
    CHECK_OK(error);
    CHECK(capscache_entry_query(entry, "machine:no-such", &error) == CAPSCACHE_TRI_NO);
    CHECK_OK(error);
    CHECK(capscache_entry_query(entry, "version:>=4.2", NULL) == CAPSCACHE_TRI_YES);
    CHECK(capscache_entry_query(entry, "colour:red", &error) == CAPSCACHE_TRI_UNKNOWN);
    CHECK_ERROR(error, CAPSCACHE_CODE_INVALID_QUERY);

    capscache_query *query = capscache_query_parse("property:loader.cpu-num", &error);
    CHECK_OK(error);
    const char *reason = capscache_entry_explain(entry, query);
    CHECK(strlen(reason) > 0);
    CHECK(reason == capscache_entry_explain(entry, query));
    if (capscache_entry_groups(entry) & CAPSCACHE_GROUP_DEVICES) {
        CHECK(capscache_entry_answer(entry, query) == CAPSCACHE_TRI_YES);
        CHECK(capscache_entry_groups_for(entry, query) == CAPSCACHE_GROUP_CORE);
    } else {
        CHECK(capscache_entry_answer(entry, query) == CAPSCACHE_TRI_UNKNOWN);
        CHECK(capscache_entry_groups_for(entry, query) == CAPSCACHE_GROUP_DEVICES);
    }
    capscache_query_free(query);

    /* Each release of libvirt has its flags. */
    query = capscache_query_parse_for_libvirt("flag:nvme", "12.8.0", &error);
    CHECK_OK(error);
    CHECK(strlen(capscache_entry_explain(entry, query)) > 0);
    CHECK(capscache_entry_groups_for(entry, query) == CAPSCACHE_GROUP_CORE);
    capscache_query_free(query);
    CHECK(capscache_query_parse_for_libvirt("flag:nvme", "11.3", &error) == NULL);
    CHECK_ERROR(error, CAPSCACHE_CODE_INVALID_QUERY);
    query = capscache_query_parse("firmware:no-such", &error);
    CHECK_OK(error);
    CHECK(capscache_entry_answer(entry, query) != CAPSCACHE_TRI_YES);
    reason = capscache_entry_explain(entry, query);
    CHECK(strlen(reason) > 0 && reason == capscache_entry_explain(entry, query));
    capscache_query_free(query);
}

static void check_properties(const capscache_entry *entry)
{
    capscache_error *error;
    const char *const *names = capscache_entry_properties(entry, "loader", &error);
    CHECK_OK(error);
    CHECK(has_name(names, "cpu-num"));
    const capscache_property *property = capscache_entry_property(entry, "loader", "cpu-num", &error);
    CHECK_OK(error);
    CHECK(property == capscache_entry_property(entry, "loader", "cpu-num", NULL));
    CHECK(strcmp(capscache_property_name(property), "cpu-num") == 0);
    CHECK(strcmp(capscache_property_type_name(property), "uint32") == 0);
    CHECK(strcmp(capscache_property_default_json(property), "4294967295") == 0);
    (void)capscache_property_description(property);
    CHECK(capscache_entry_property(entry, "loader", "no-such", &error) == NULL);
    CHECK_ERROR(error, CAPSCACHE_CODE_ABSENT);
    CHECK(capscache_entry_property(entry, "no-such", "cpu-num", &error) == NULL);
    CHECK_ERROR(error, CAPSCACHE_CODE_ABSENT);
}

static void check_json(const capscache_entry *entry)
{
    capscache_error *error;
    capscache_json *json = capscache_entry_json(entry, "arch", &error);
    CHECK_OK(error);
    char expected[64];
    int length = snprintf(expected, sizeof expected, "\"%s\"", capscache_entry_arch(entry));
    CHECK(strcmp(capscache_json_text(json), expected) == 0);
    CHECK(capscache_json_length(json) == (size_t)length);
    capscache_json_free(json);

    json = capscache_entry_json(entry, NULL, &error);
    CHECK_OK(error);
    CHECK(capscache_json_length(json) == strlen(capscache_json_text(json)));
    CHECK(strstr(capscache_json_text(json), "\"query-version\"") != NULL);
    capscache_json_free(json);
    CHECK(capscache_entry_json(entry, "no-such", &error) == NULL);
    CHECK_ERROR(error, CAPSCACHE_CODE_ABSENT);
}

static void check_accelerators(const capscache_entry *entry)
{
    capscache_error *error;
    CHECK(capscache_entry_has_accelerator(entry, CAPSCACHE_ACCELERATOR_TCG, &error) == CAPSCACHE_TRI_YES);
    CHECK_OK(error);
    CHECK(capscache_entry_accelerator_reason(entry, CAPSCACHE_ACCELERATOR_TCG) == NULL);
    CHECK(capscache_entry_has_accelerator(entry, CAPSCACHE_ACCELERATOR_HVF, NULL) == CAPSCACHE_TRI_NO);
    CHECK(strlen(capscache_entry_accelerator_reason(entry, CAPSCACHE_ACCELERATOR_HVF)) > 0);
    capscache_tri kvm = capscache_entry_has_accelerator(entry, CAPSCACHE_ACCELERATOR_KVM, NULL);
    uint32_t best = capscache_entry_best_accelerator(entry);
    CHECK(best == (kvm == CAPSCACHE_TRI_YES ? CAPSCACHE_ACCELERATOR_KVM : CAPSCACHE_ACCELERATOR_TCG));
}

static void check_list(const capscache *cache, const char *emulator)
{
    capscache_error *error;
    capscache_list *list = capscache_list_of(cache, &error);
    CHECK_OK(error);
    CHECK(capscache_list_length(list) == 1);
    CHECK(strcmp(capscache_list_emulator(list, 0), emulator) == 0);
    CHECK(capscache_status_state(capscache_list_status(list, 0)) == CAPSCACHE_STATE_VALID);
    CHECK(strcmp(capscache_entry_emulator(capscache_list_entry(list, 0)), emulator) == 0);
    CHECK(capscache_list_emulator(list, 1) == NULL);
    CHECK(capscache_list_status(list, 1) == NULL);
    CHECK(capscache_list_entry(list, 1) == NULL);
    capscache_list_free(list);
}

static void check_status(const capscache *cache, const char *emulator, capscache_state state)
{
    capscache_error *error;
    capscache_status *status = capscache_status_of(cache, emulator, CAPSCACHE_VALIDATION_THOROUGH, &error);
    CHECK_OK(error);
    CHECK(capscache_status_state(status) == state);
    CHECK(capscache_status_input(status) == NULL);
    CHECK(capscache_status_path(status) == NULL);
    CHECK(capscache_status_recorded(status) == NULL);
    CHECK(capscache_status_reason(status) == NULL);
    CHECK(capscache_status_retry_in(status) == 0);
    capscache_status_free(status);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    const char *root = argv[1], *emulator = argv[2];
    CHECK(strcmp(capscache_version(), CAPSCACHE_VERSION) == 0);

    capscache_emulators *emulators = capscache_emulators_find(NULL);
    CHECK(has_name(capscache_emulators_paths(emulators), emulator));
    capscache_emulators_free(emulators);

    capscache_error *error;
    capscache_options *options = capscache_options_new(root, &error);
    CHECK_OK(error);
    capscache_options_add_fallback(options, "/nonexistent/capscache");
    capscache_options_set_failure_ttl(options, 30);
    capscache_options_set_timeouts(options, 20000, 60000);
    capscache *cache = capscache_open_with(options, &error);
    CHECK_OK(error);
    capscache_options_free(options);
    CHECK(strcmp(capscache_root(cache), root) == 0);

    capscache_entry *entry = capscache_get(cache, emulator, CAPSCACHE_GROUP_DEVICES, &error);
    CHECK_OK(error);
    CHECK(strcmp(capscache_entry_emulator(entry), emulator) == 0);
    CHECK(strlen(capscache_entry_executable(entry)) > 0);
    CHECK(capscache_entry_version_number(entry) >= 4002000);
    CHECK(strchr(capscache_entry_version(entry), '.') != NULL);
    CHECK(capscache_entry_package(entry) != NULL);
    CHECK(capscache_entry_groups(entry) & CAPSCACHE_GROUP_DEVICES);
    CHECK(capscache_entry_persist_error(entry) == NULL);
    check_accelerators(entry);
    check_machines(entry);
    check_cpu_models(entry);
    check_names(entry);
    check_queries(entry);
    check_properties(entry);
    check_json(entry);
    check_list(cache, emulator);
    check_status(cache, emulator, CAPSCACHE_STATE_VALID);

    capscache_entry *hit = capscache_lookup(cache, emulator, CAPSCACHE_VALIDATION_FAST, &error);
    CHECK_OK(error);
    capscache_entry_free(hit);
    hit = capscache_refresh(cache, emulator, CAPSCACHE_GROUP_CORE, &error);
    CHECK_OK(error);
    capscache_entry_free(hit);
    hit = capscache_get_unchecked(cache, emulator, &error);
    CHECK_OK(error);
    capscache_entry_free(hit);

    /* Another cache is empty until it probes. */
    char other_root[4096];
    snprintf(other_root, sizeof other_root, "%s.other", root);
    capscache *other = capscache_open(other_root, &error);
    CHECK_OK(error);
    check_status(other, emulator, CAPSCACHE_STATE_MISSING);
    CHECK(capscache_lookup(other, emulator, CAPSCACHE_VALIDATION_FAST, &error) == NULL);
    CHECK(strcmp(capscache_error_path(error), emulator) == 0);
    CHECK_ERROR(error, CAPSCACHE_CODE_NO_ENTRY);
    CHECK(capscache_get_unchecked(other, emulator, &error) == NULL);
    CHECK_ERROR(error, CAPSCACHE_CODE_NO_ENTRY);
    CHECK(capscache_invalidate(other, emulator, &error) == 0);
    CHECK_OK(error);
    CHECK(capscache_invalidate_all(other, &error) == 0);
    CHECK_OK(error);
    capscache_free(other);

    /* An entry outlives its cache. */
    capscache_free(cache);
    CHECK(capscache_entry_query(entry, "machine:none", NULL) == CAPSCACHE_TRI_YES);
    capscache_entry_free(entry);
    puts("passed");
    return 0;
}
