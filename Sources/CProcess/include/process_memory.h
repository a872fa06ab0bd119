// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef NWS_PROCESS_MEMORY_H
#define NWS_PROCESS_MEMORY_H

#include <stddef.h>

// Memory that the allocator holds but the program does not use. Requires glibc 2.33 or later. Elsewhere, the first
// function returns 0 and the second does nothing.

/// Estimates how many bytes of resident memory are not in use by the program: private resident memory minus the memory
/// allocated with malloc. Returns 0 if this is not known. It walks the allocator's free lists, so it can be slow.
size_t nws_unused_memory(void);

/// Returns unused whole pages to the operating system (malloc_trim).
void nws_return_unused_memory(void);

#endif
