/* Answers a line for each line of standard input, until that ends: the version of an emulator, from one open cache. */
#include <capscache.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s ROOT EMULATOR\n", argv[0]);
        return 2;
    }
    capscache_error *error;
    capscache *cache = capscache_open(argv[1], &error);
    if (cache == NULL) {
        fprintf(stderr, "client: %s\n", capscache_error_message(error));
        return 1;
    }
    int character;
    while ((character = getchar()) != EOF) {
        if (character != '\n') {
            continue;
        }
        capscache_entry *entry = capscache_get(cache, argv[2], CAPSCACHE_GROUP_CORE, &error);
        puts(entry != NULL ? capscache_entry_version(entry) : capscache_error_message(error));
        fflush(stdout);
        capscache_entry_free(entry);
    }
    capscache_free(cache);
    return 0;
}
