/* Passes NULL and wrong arguments to every function: arguments ROOT EMULATOR */
#include "check.h"

#define INVALID CAPSCACHE_CODE_INVALID_ARGUMENT

/* Functions that read a handle. */
static void check_null_handles(void)
{
    CHECK(capscache_error_code(NULL) == CAPSCACHE_CODE_NONE);
    CHECK(capscache_error_message(NULL) == NULL);
    CHECK(capscache_error_path(NULL) == NULL);
    CHECK(capscache_error_errno(NULL) == 0);
    CHECK(capscache_root(NULL) == NULL);
    CHECK(capscache_status_state(NULL) == CAPSCACHE_STATE_UNREADABLE);
    CHECK(capscache_status_input(NULL) == NULL);
    CHECK(capscache_status_path(NULL) == NULL);
    CHECK(capscache_status_recorded(NULL) == NULL);
    CHECK(capscache_status_reason(NULL) == NULL);
    CHECK(capscache_status_retry_in(NULL) == 0);
    CHECK(capscache_list_length(NULL) == 0);
    CHECK(capscache_list_emulator(NULL, 0) == NULL);
    CHECK(capscache_list_status(NULL, 0) == NULL);
    CHECK(capscache_list_entry(NULL, 0) == NULL);
    CHECK(capscache_entry_emulator(NULL) == NULL);
    CHECK(capscache_entry_executable(NULL) == NULL);
    CHECK(capscache_entry_version(NULL) == NULL);
    CHECK(capscache_entry_version_number(NULL) == 0);
    CHECK(capscache_entry_package(NULL) == NULL);
    CHECK(capscache_entry_arch(NULL) == NULL);
    CHECK(capscache_entry_groups(NULL) == 0);
    CHECK(capscache_entry_persist_error(NULL) == NULL);
    CHECK(capscache_entry_best_accelerator(NULL) == 0);
    CHECK(capscache_entry_accelerator_reason(NULL, CAPSCACHE_ACCELERATOR_KVM) == NULL);
    CHECK(capscache_entry_answer(NULL, NULL) == CAPSCACHE_TRI_UNKNOWN);
    CHECK(capscache_entry_explain(NULL, NULL) == NULL);
    CHECK(capscache_entry_groups_for(NULL, NULL) == 0);
    CHECK(capscache_machine_name(NULL) == NULL);
    CHECK(capscache_machine_alias(NULL) == NULL);
    CHECK(capscache_machine_max_cpus(NULL) == 0);
    CHECK(!capscache_machine_is_default(NULL));
    CHECK(capscache_machine_is_deprecated(NULL) == CAPSCACHE_TRI_UNKNOWN);
    CHECK(!capscache_machine_has_hotpluggable_cpus(NULL));
    CHECK(capscache_machine_has_numa_memory(NULL) == CAPSCACHE_TRI_UNKNOWN);
    CHECK(capscache_machine_has_acpi(NULL) == CAPSCACHE_TRI_UNKNOWN);
    CHECK(capscache_machine_default_cpu_type(NULL) == NULL);
    CHECK(capscache_machine_default_ram_id(NULL) == NULL);
    CHECK(capscache_cpu_model_name(NULL) == NULL);
    CHECK(capscache_cpu_model_is_usable(NULL) == CAPSCACHE_TRI_UNKNOWN);
    CHECK(capscache_cpu_model_unavailable_features(NULL) == NULL);
    CHECK(capscache_cpu_model_type_name(NULL) == NULL);
    CHECK(capscache_cpu_model_alias_of(NULL) == NULL);
    CHECK(!capscache_cpu_model_is_static(NULL));
    CHECK(capscache_cpu_model_is_migration_safe(NULL) == CAPSCACHE_TRI_UNKNOWN);
    CHECK(!capscache_cpu_model_is_deprecated(NULL));
    CHECK(capscache_property_name(NULL) == NULL);
    CHECK(capscache_property_type_name(NULL) == NULL);
    CHECK(capscache_property_description(NULL) == NULL);
    CHECK(capscache_property_default_json(NULL) == NULL);
    CHECK(capscache_json_text(NULL) == NULL);
    CHECK(capscache_json_length(NULL) == 0);
    CHECK(capscache_emulators_paths(NULL) == NULL);
}

/* Functions without a result. */
static void check_nothing_to_do(void)
{
    capscache_free(NULL);
    capscache_error_free(NULL);
    capscache_options_free(NULL);
    capscache_status_free(NULL);
    capscache_list_free(NULL);
    capscache_entry_free(NULL);
    capscache_query_free(NULL);
    capscache_json_free(NULL);
    capscache_emulators_free(NULL);
    capscache_options_add_fallback(NULL, "/a");
    capscache_options_set_trusted_owner(NULL, 0);
    capscache_options_set_failure_ttl(NULL, 0);
    capscache_options_add_variable(NULL, "A", "b");
    capscache_options_add_writable(NULL, "/a");
    capscache_options_set_timeouts(NULL, 1, 1);
    capscache_options_set_user(NULL, 0, 0);
    capscache_options_add_user_group(NULL, 0);
}

/* Functions that report an error, with NULL in the place of every handle or string. */
static void check_calls(const capscache *cache, const char *emulator)
{
    capscache_error *error;
#define REFUSES(call, result, code)         \
    do {                                    \
        CHECK((call) == (result));          \
        CHECK_ERROR(error, code);           \
    } while (0)
    REFUSES(capscache_open(NULL, &error), NULL, INVALID);
    REFUSES(capscache_open("", &error), NULL, INVALID);
    REFUSES(capscache_open_with(NULL, &error), NULL, INVALID);
    REFUSES(capscache_options_new(NULL, &error), NULL, INVALID);
    REFUSES(capscache_get(NULL, emulator, 0, &error), NULL, INVALID);
    REFUSES(capscache_get(cache, NULL, 0, &error), NULL, INVALID);
    REFUSES(capscache_get(cache, emulator, 8, &error), NULL, INVALID);
    REFUSES(capscache_lookup(NULL, emulator, 0, &error), NULL, INVALID);
    REFUSES(capscache_lookup(cache, NULL, 0, &error), NULL, INVALID);
    REFUSES(capscache_lookup(cache, emulator, 3, &error), NULL, INVALID);
    REFUSES(capscache_get_unchecked(NULL, emulator, &error), NULL, INVALID);
    REFUSES(capscache_get_unchecked(cache, NULL, &error), NULL, INVALID);
    REFUSES(capscache_refresh(NULL, emulator, 0, &error), NULL, INVALID);
    REFUSES(capscache_refresh(cache, NULL, 0, &error), NULL, INVALID);
    REFUSES(capscache_refresh(cache, emulator, 8, &error), NULL, INVALID);
    REFUSES(capscache_status_of(NULL, emulator, 0, &error), NULL, INVALID);
    REFUSES(capscache_status_of(cache, NULL, 0, &error), NULL, INVALID);
    REFUSES(capscache_status_of(cache, emulator, 3, &error), NULL, INVALID);
    REFUSES(capscache_list_of(NULL, &error), NULL, INVALID);
    REFUSES(capscache_invalidate(NULL, emulator, &error), -1, INVALID);
    REFUSES(capscache_invalidate(cache, NULL, &error), -1, INVALID);
    REFUSES(capscache_invalidate_all(NULL, &error), -1, INVALID);
    REFUSES(capscache_query_parse(NULL, &error), NULL, INVALID);
    REFUSES(capscache_query_parse("machine:\xff", &error), NULL, INVALID);
    REFUSES(capscache_query_parse("machine", &error), NULL, CAPSCACHE_CODE_INVALID_QUERY);
    REFUSES(capscache_query_parse_for_libvirt(NULL, "11.3", &error), NULL, INVALID);
    REFUSES(capscache_query_parse_for_libvirt("machine:none", NULL, &error), NULL, INVALID);
    REFUSES(capscache_query_parse_for_libvirt("machine:none", "8.0", &error), NULL, INVALID);
    REFUSES(capscache_query_parse_for_libvirt("flag:no-such", "11.3", &error), NULL, CAPSCACHE_CODE_INVALID_QUERY);
    REFUSES(capscache_entry_query(NULL, "machine:none", &error), CAPSCACHE_TRI_UNKNOWN, INVALID);
    REFUSES(capscache_entry_has_accelerator(NULL, 0, &error), CAPSCACHE_TRI_UNKNOWN, INVALID);
    REFUSES(capscache_entry_machines(NULL, 0, &error), NULL, INVALID);
    REFUSES(capscache_entry_cpu_models(NULL, 0, &error), NULL, INVALID);
    REFUSES(capscache_entry_types(NULL, &error), NULL, INVALID);
    REFUSES(capscache_entry_devices(NULL, &error), NULL, INVALID);
    REFUSES(capscache_entry_objects(NULL, &error), NULL, INVALID);
    REFUSES(capscache_entry_commands(NULL, &error), NULL, INVALID);
    REFUSES(capscache_entry_events(NULL, &error), NULL, INVALID);
    REFUSES(capscache_entry_accelerators_present(NULL, &error), NULL, INVALID);
    REFUSES(capscache_entry_properties(NULL, "loader", &error), NULL, INVALID);
    REFUSES(capscache_entry_machine(NULL, 0, "none", &error), NULL, INVALID);
    REFUSES(capscache_entry_default_machine(NULL, 0, &error), NULL, INVALID);
    REFUSES(capscache_entry_cpu_model(NULL, 0, "max", &error), NULL, INVALID);
    REFUSES(capscache_entry_property(NULL, "loader", "addr", &error), NULL, INVALID);
    REFUSES(capscache_entry_json(NULL, NULL, &error), NULL, INVALID);

    capscache_entry *entry = capscache_get(cache, emulator, CAPSCACHE_GROUP_CORE, &error);
    CHECK_OK(error);
    REFUSES(capscache_entry_query(entry, NULL, &error), CAPSCACHE_TRI_UNKNOWN, INVALID);
    REFUSES(capscache_entry_has_accelerator(entry, 5, &error), CAPSCACHE_TRI_UNKNOWN, INVALID);
    REFUSES(capscache_entry_machines(entry, 5, &error), NULL, INVALID);
    REFUSES(capscache_entry_machines(entry, CAPSCACHE_ACCELERATOR_HVF, &error), NULL, CAPSCACHE_CODE_ABSENT);
    REFUSES(capscache_entry_cpu_models(entry, 256, &error), NULL, INVALID);
    REFUSES(capscache_entry_properties(entry, NULL, &error), NULL, INVALID);
    REFUSES(capscache_entry_machine(entry, 0, NULL, &error), NULL, INVALID);
    REFUSES(capscache_entry_machine(entry, 0, "\xff", &error), NULL, INVALID);
    REFUSES(capscache_entry_cpu_model(entry, 0, NULL, &error), NULL, INVALID);
    REFUSES(capscache_entry_property(entry, NULL, "addr", &error), NULL, INVALID);
    REFUSES(capscache_entry_property(entry, "loader", NULL, &error), NULL, INVALID);
    REFUSES(capscache_entry_json(entry, "\xff", &error), NULL, INVALID);
    CHECK(capscache_entry_answer(entry, NULL) == CAPSCACHE_TRI_UNKNOWN);
    CHECK(capscache_entry_explain(entry, NULL) == NULL);
    CHECK(capscache_entry_accelerator_reason(entry, CAPSCACHE_ACCELERATOR_BEST) == NULL);
    CHECK(capscache_entry_accelerator_reason(entry, 99) == NULL);
    /* The place for an error is never needed. */
    CHECK(capscache_entry_machine(entry, 0, "no-such", NULL) == NULL);
    CHECK(capscache_entry_query(entry, "colour:red", NULL) == CAPSCACHE_TRI_UNKNOWN);
    capscache_entry_free(entry);
}

/* Errors that a program can act on have the path and the number of the system. */
static void check_errors(const capscache *cache)
{
    capscache_error *error;
    CHECK(capscache_get(cache, "/nonexistent/qemu", CAPSCACHE_GROUP_CORE, &error) == NULL);
    CHECK(strcmp(capscache_error_path(error), "/nonexistent/qemu") == 0);
    CHECK(capscache_error_errno(error) == 2);
    CHECK_ERROR(error, CAPSCACHE_CODE_EMULATOR);
    CHECK(capscache_open("/dev/null", &error) == NULL);
    CHECK(strcmp(capscache_error_path(error), "/dev/null") == 0);
    CHECK_ERROR(error, CAPSCACHE_CODE_ROOT);
}

/* A setter's argument that cannot be used is reported when the cache is opened. */
static void check_options(const char *root)
{
    capscache_error *error;
    capscache_options *options = capscache_options_new(root, &error);
    CHECK_OK(error);
    capscache_options_add_variable(options, "A=B", "c");
    capscache_options_add_fallback(options, NULL);
    CHECK(capscache_open_with(options, &error) == NULL);
    CHECK(strcmp(capscache_error_message(error),
                 "capscache_options_add_variable: invalid argument: name is empty or has a `=`") == 0);
    CHECK_ERROR(error, INVALID);
    capscache_options_free(options);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    check_null_handles();
    check_nothing_to_do();
    check_options(argv[1]);
    capscache_error *error;
    capscache *cache = capscache_open(argv[1], &error);
    CHECK_OK(error);
    check_calls(cache, argv[2]);
    check_errors(cache);
    capscache_free(cache);
    puts("passed");
    return 0;
}
