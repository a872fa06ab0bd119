// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#include "process_arguments.h"

static int count = 0;
static char **arguments = 0;

#if defined(__GLIBC__) || defined(__linux__)
// glibc calls constructors with the arguments of main.
#include <features.h>
#ifdef __GLIBC__
__attribute__((constructor)) static void remember(int argc, char **argv, char **envp) {
    (void)envp;
    count = argc;
    arguments = argv;
}
#endif
#endif

int nws_argument_count(void) { return count; }

const char *nws_argument(int index) { return index >= 0 && index < count ? arguments[index] : 0; }
