// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#include "host_routes.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

// A UDP socket that is connected to an address, or -1 without a route. Connecting looks up the route and sends nothing.
static int connected_socket(const uint8_t *address, size_t length) {
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
    memset(&ipv4, 0, sizeof ipv4);
    memset(&ipv6, 0, sizeof ipv6);
    ipv4.sin_family = AF_INET;
    ipv6.sin6_family = AF_INET6;
    // Any port will do.
    ipv4.sin_port = ipv6.sin6_port = htons(9);
    if (length == sizeof ipv4.sin_addr) {
        memcpy(&ipv4.sin_addr, address, length);
    } else if (length == sizeof ipv6.sin6_addr) {
        memcpy(&ipv6.sin6_addr, address, length);
    } else {
        return -1;
    }
    int is_ipv4 = length == sizeof ipv4.sin_addr;
    int descriptor = socket(is_ipv4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
    if (descriptor < 0) return -1;
    fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    int result = is_ipv4 ? connect(descriptor, (struct sockaddr *)&ipv4, sizeof ipv4)
                         : connect(descriptor, (struct sockaddr *)&ipv6, sizeof ipv6);
    if (result == 0) return descriptor;
    close(descriptor);
    return -1;
}

int nws_host_has_route(const uint8_t *address, size_t length) {
    int descriptor = connected_socket(address, length);
    if (descriptor < 0) return 0;
    close(descriptor);
    return 1;
}

int nws_host_source_address(const uint8_t *address, size_t length, uint8_t *source) {
    int descriptor = connected_socket(address, length);
    if (descriptor < 0) return 0;
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    int result = getsockname(descriptor, (struct sockaddr *)&own, &size);
    close(descriptor);
    if (result != 0) return 0;
    if (own.ss_family == AF_INET && length == 4) {
        memcpy(source, &((struct sockaddr_in *)&own)->sin_addr, length);
    } else if (own.ss_family == AF_INET6 && length == 16) {
        memcpy(source, &((struct sockaddr_in6 *)&own)->sin6_addr, length);
    } else {
        return 0;
    }
    return 1;
}
