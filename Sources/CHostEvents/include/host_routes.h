// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef NWS_HOST_ROUTES_H
#define NWS_HOST_ROUTES_H

#include <stddef.h>
#include <stdint.h>

/// Returns 1 if the host has a route to an address of 4 or 16 bytes in network byte order, else 0. Nothing is sent.
int nws_host_has_route(const uint8_t *address, size_t length);

/// Writes the address of this host from which it would send to an address of 4 or 16 bytes; the result has as many. Returns 1,
/// or 0 if there is no route. Nothing is sent.
int nws_host_source_address(const uint8_t *address, size_t length, uint8_t *source);

#endif
