// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#include "host_routes.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int nws_host_has_route(const uint8_t *address, size_t length) {
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;
    memset(&ipv4, 0, sizeof ipv4);
    memset(&ipv6, 0, sizeof ipv6);
    ipv4.sin_family = AF_INET;
    ipv6.sin6_family = AF_INET6;
    // Any port will do. Connecting a UDP socket looks up the route and sends nothing.
    ipv4.sin_port = ipv6.sin6_port = htons(9);
    if (length == sizeof ipv4.sin_addr) {
        memcpy(&ipv4.sin_addr, address, length);
    } else if (length == sizeof ipv6.sin6_addr) {
        memcpy(&ipv6.sin6_addr, address, length);
    } else {
        return 0;
    }
    int is_ipv4 = length == sizeof ipv4.sin_addr;
    int descriptor = socket(is_ipv4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
    if (descriptor < 0) return 0;
    fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    int result = is_ipv4 ? connect(descriptor, (struct sockaddr *)&ipv4, sizeof ipv4)
                         : connect(descriptor, (struct sockaddr *)&ipv6, sizeof ipv6);
    close(descriptor);
    return result == 0;
}
