// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT

#ifndef NWS_HOST_EVENTS_H
#define NWS_HOST_EVENTS_H

// Events of the host after which network connections may no longer work. Only Linux is supported; on other systems
// `nws_host_events_open` fails.

/// An address or a route was added or removed.
#define NWS_HOST_NETWORK_CHANGED 1
/// The wall clock was set, or the machine has resumed from suspend.
#define NWS_HOST_CLOCK_CHANGED 2

/// The descriptors to wait on. One that could not be opened is -1.
struct nws_host_events {
    /// A netlink socket (rtnetlink(7)).
    int network;
    /// A timer that is cancelled when the wall clock is set (timerfd_create(2)).
    int clock;
};

/// Opens the descriptors. Returns 0, or -1 if neither could be opened.
int nws_host_events_open(struct nws_host_events *events);

/// Waits for events and returns them as flags. Returns -1 if no event can occur any more.
int nws_host_events_wait(struct nws_host_events *events);

#endif
