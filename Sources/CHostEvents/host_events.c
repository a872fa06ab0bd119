// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#include "host_events.h"

#ifdef __linux__
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

static int open_network(void) {
    int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (descriptor < 0) return -1;
    struct sockaddr_nl address;
    memset(&address, 0, sizeof address);
    address.nl_family = AF_NETLINK;
    address.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address) == 0) return descriptor;
    close(descriptor);
    return -1;
}

// The timer expires in a year. Its purpose is to be cancelled.
static int arm(int descriptor) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    struct itimerspec timer;
    memset(&timer, 0, sizeof timer);
    timer.it_value.tv_sec = now.tv_sec + 365 * 24 * 3600;
    int result = timerfd_settime(descriptor, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &timer, NULL);
    // ECANCELED: the clock was set since the last read. The timer is armed nevertheless.
    return result == 0 || errno == ECANCELED ? 0 : -1;
}

static int open_clock(void) {
    int descriptor = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (descriptor < 0 || arm(descriptor) == 0) return descriptor;
    close(descriptor);
    return -1;
}

int nws_host_events_open(struct nws_host_events *events) {
    events->network = open_network();
    events->clock = open_clock();
    return events->network < 0 && events->clock < 0 ? -1 : 0;
}

// Returns whether the descriptor can still be used.
static int drain_network(int descriptor) {
    char messages[4096];
    for (;;) {
        ssize_t length = recv(descriptor, messages, sizeof messages, 0);
        if (length > 0) continue;
        if (length < 0 && errno == EINTR) continue;
        // ENOBUFS: messages were lost. That there were some is all that matters.
        if (length < 0 && errno == ENOBUFS) continue;
        return length < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    }
}

int nws_host_events_wait(struct nws_host_events *events) {
    for (;;) {
        if (events->network < 0 && events->clock < 0) return -1;
        struct pollfd descriptors[2] = {
            {.fd = events->network, .events = POLLIN},
            {.fd = events->clock, .events = POLLIN},
        };
        if (poll(descriptors, 2, -1) < 0) {
            if (errno == EINTR) continue;
            return -1;
        }
        int flags = 0;
        if (descriptors[0].revents != 0) {
            flags |= NWS_HOST_NETWORK_CHANGED;
            if (!drain_network(events->network)) {
                close(events->network);
                events->network = -1;
            }
        }
        if (descriptors[1].revents != 0) {
            uint64_t expirations;
            if (read(events->clock, &expirations, sizeof expirations) < 0 && errno == ECANCELED) {
                flags |= NWS_HOST_CLOCK_CHANGED;
            }
            if (arm(events->clock) != 0) {
                close(events->clock);
                events->clock = -1;
            }
        }
        if (flags != 0) return flags;
    }
}

#else

int nws_host_events_open(struct nws_host_events *events) {
    events->network = -1;
    events->clock = -1;
    return -1;
}

int nws_host_events_wait(struct nws_host_events *events) {
    (void)events;
    return -1;
}

#endif
