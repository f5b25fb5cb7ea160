/* Macros and functions that the programs of the tests share. */
#ifndef CHECK_H
#define CHECK_H

#include <capscache.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program unless a condition holds. */
#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "%s:%d: not: %s\n", __FILE__, __LINE__, #condition);         \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

/* Ends the program unless a call set no error; prints the error. */
#define CHECK_OK(error)                                                                  \
    do {                                                                                 \
        if ((error) != NULL) {                                                           \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, capscache_error_message(error)); \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

/* Ends the program unless an error has a code; frees it. */
#define CHECK_ERROR(error, expected)                                                     \
    do {                                                                                 \
        if (capscache_error_code(error) != (expected)) {                                 \
            const char *message = capscache_error_message(error);                        \
            fprintf(stderr, "%s:%d: code %d, not %d: %s\n", __FILE__, __LINE__,          \
                    (int)capscache_error_code(error), (int)(expected),                   \
                    message != NULL ? message : "no error");                             \
            exit(1);                                                                     \
        }                                                                                \
        CHECK((error) == NULL || strlen(capscache_error_message(error)) > 0);            \
        capscache_error_free(error);                                                     \
        error = NULL;                                                                    \
    } while (0)

/* Returns the number of names in a list that ends with NULL. */
static inline size_t length_of(const char *const *names)
{
    size_t length = 0;
    while (names[length] != NULL) {
        length++;
    }
    return length;
}

/* Returns true if a list has a name. */
static inline bool has_name(const char *const *names, const char *name)
{
    for (; *names != NULL; names++) {
        if (strcmp(*names, name) == 0) {
            return true;
        }
    }
    return false;
}

#endif
