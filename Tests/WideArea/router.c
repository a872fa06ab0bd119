// This source file is part of the nws open source project
// SPDX-License-Identifier: MIT
//
// A small wide-area network on one machine. Hosts are network namespaces; this program is the router between them.
//
//   router HOST ...        HOST: name=r,delay=20,rate=100,loss=0.1,jitter=5,reorder=1,mtu=1400
//
// It makes a namespace wan-NAME with a TUN device for each host. The first host has the addresses 10.77.0.1 and
// fd77::1, the second one 10.77.0.2 and fd77::2, and so on. A packet from host A to host B passes A's uplink and B's
// downlink. Each has a rate (Mbit/s, 0 for no limit), a queue of 200 ms that drops what does not fit, a delay (ms), and
// loses packets (percent). `jitter` adds up to that many milliseconds and keeps the order; `reorder` is the percentage
// of packets that are delayed by 10 ms more and overtaken by others.
//
// Commands on standard input, one on each line:
//   set NAME delay=… rate=… loss=… jitter=… reorder=…     change a host's links
//   down NAME | up NAME                                   drop everything from and to a host, or stop doing so
//   forget NAME       drop the packets of its TCP connections from now on, as a NAT that lost its table does
//   move NAME N       give the host the addresses 10.77.0.N and fd77::N instead of its own
//
// Prints "ready" when the hosts exist, and "done" after each command. Ends on SIGINT, SIGTERM, or at the end of its
// standard input, and removes the namespaces. Needs root, iproute2 and /dev/net/tun.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { MAX_HOSTS = 16, MAX_PACKET = 1600, QUEUE = 1 << 16, FLOWS = 1 << 14 };
static const int64_t BUFFER_NS = 200000000, REORDER_NS = 10000000;

typedef struct {
    int64_t due;
    int length;
    uint8_t bytes[MAX_PACKET];
} Packet;

// Packets in the order of their times.
typedef struct {
    Packet **packets;
    unsigned head, tail;
} Queue;

typedef struct {
    char name[24];
    int number, mtu, fd, is_down;
    double delay, rate, loss, jitter, reorder;
    int64_t up_free, down_free; // when each link is free
    int64_t last_due[MAX_HOSTS]; // of the packets from each host to this one that keep their order
    Queue coming;               // packets on the way to this host's downlink
    Queue leaving;              // packets that pass the downlink, or have passed it
    int forgets;                // whether connections must be known
    uint32_t flows[FLOWS];      // hashes of the TCP connections that began since "forget"
    unsigned long passed, dropped;
} Host;

static Host hosts[MAX_HOSTS];
static int count;
static volatile sig_atomic_t ended;

static void end(int signal) { (void)signal, ended = 1; }

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void run(const char *format, ...) {
    char command[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    if (system(command) != 0) fprintf(stderr, "failed: %s\n", command), exit(1);
}

static Host *host_named(const char *name) {
    for (int i = 0; i < count; i++)
        if (!strcmp(hosts[i].name, name)) return &hosts[i];
    return NULL;
}

// Applies settings such as "delay=20" that are separated by commas or spaces. Returns 0 if one is unknown.
static int configure(Host *host, char *text) {
    char *state = NULL;
    for (char *part = strtok_r(text, ", ", &state); part; part = strtok_r(NULL, ", ", &state)) {
        char *value = strchr(part, '=');
        if (!value) return 0;
        *value++ = 0;
        double number = atof(value);
        if (!strcmp(part, "name")) snprintf(host->name, sizeof host->name, "%s", value);
        else if (!strcmp(part, "delay")) host->delay = number;
        else if (!strcmp(part, "rate")) host->rate = number;
        else if (!strcmp(part, "loss")) host->loss = number;
        else if (!strcmp(part, "jitter")) host->jitter = number;
        else if (!strcmp(part, "reorder")) host->reorder = number;
        else if (!strcmp(part, "mtu")) host->mtu = (int)number;
        else return 0;
    }
    return 1;
}

// Makes the host's namespace and opens its TUN device.
static int open_host(const Host *host) {
    char path[64], quiet[96];
    snprintf(quiet, sizeof quiet, "ip netns del wan-%s 2>/dev/null", host->name);
    if (system(quiet)) {}
    run("ip netns add wan-%s", host->name);
    snprintf(path, sizeof path, "/var/run/netns/wan-%s", host->name);
    int own = open("/proc/self/ns/net", O_RDONLY), other = open(path, O_RDONLY);
    if (other < 0 || setns(other, CLONE_NEWNET)) perror(path), exit(1);
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    strcpy(request.ifr_name, "wan0");
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request)) perror("/dev/net/tun"), exit(1);
    if (setns(own, CLONE_NEWNET)) perror("setns"), exit(1);
    close(own), close(other);
    run("ip -n wan-%s link set lo up", host->name);
    run("ip -n wan-%s link set wan0 mtu %d txqueuelen 2000 up", host->name, host->mtu);
    run("ip -n wan-%s addr add 10.77.0.%d/16 dev wan0", host->name, host->number);
    run("ip -n wan-%s addr add fd77::%d/64 dev wan0 nodad", host->name, host->number);
    return fd;
}

// The number of the host in an address of a packet; 0 if the packet is for no host.
static int number_in(const uint8_t *p, int length, int is_source) {
    if (length >= 20 && p[0] >> 4 == 4) return is_source ? p[15] : p[19];
    if (length >= 40 && p[0] >> 4 == 6) {
        const uint8_t *address = p + (is_source ? 8 : 24);
        return address[0] == 0xfd && address[1] == 0x77 ? (int)strtol((char[]){"0123456789abcdef"[address[15] >> 4],
            "0123456789abcdef"[address[15] & 15], 0}, NULL, 10) : 0;
    }
    return 0;
}

// Whether a NAT in front of the host lets the packet pass: all of them, until it forgot its connections. Then those of
// connections that began since.
static int is_known(Host *host, const uint8_t *p, int length) {
    if (!host->forgets) return 1;
    int is_6 = p[0] >> 4 == 6, head = is_6 ? 40 : (p[0] & 15) * 4;
    if ((is_6 ? p[6] : p[9]) != IPPROTO_TCP || length < head + 20) return 1;
    const uint8_t *tcp = p + head;
    uint32_t from = tcp[0] << 8 | tcp[1], to = tcp[2] << 8 | tcp[3];
    from += 65536u * number_in(p, length, 1), to += 65536u * number_in(p, length, 0);
    uint32_t key = (from < to ? from * 2654435761u + to : to * 2654435761u + from) | 1, slot = key % FLOWS;
    if ((tcp[13] & 0x12) == 0x02) host->flows[slot] = key;
    return host->flows[slot] == key;
}

// Takes a link for one packet. Returns when the packet has passed it, or -1 if its queue is full.
static int64_t transmit(int64_t *free_at, int64_t at, double rate, int length) {
    if (rate <= 0) return at;
    int64_t start = *free_at > at ? *free_at : at;
    if (start - at > BUFFER_NS) return -1;
    return *free_at = start + (int64_t)(length * 8000.0 / rate);
}

static int chance(double percent) { return percent > 0 && drand48() * 100 < percent; }

static void insert(Queue *queue, Packet *packet) {
    unsigned place = queue->tail++;
    for (; place != queue->head && queue->packets[(place - 1) % QUEUE]->due > packet->due; place--)
        queue->packets[place % QUEUE] = queue->packets[(place - 1) % QUEUE];
    queue->packets[place % QUEUE] = packet;
}

static Packet *first(const Queue *queue) {
    return queue->head == queue->tail ? NULL : queue->packets[queue->head % QUEUE];
}

// Lets the packets into the host's downlink that have come to it.
static void enter_downlink(Host *host, int64_t at) {
    for (Packet *packet; (packet = first(&host->coming)) && packet->due <= at;) {
        host->coming.head++;
        int64_t due = transmit(&host->down_free, packet->due, host->rate, packet->length);
        if (due < 0 || host->leaving.tail - host->leaving.head >= QUEUE) {
            host->dropped++, free(packet);
            continue;
        }
        packet->due = due;
        insert(&host->leaving, packet);
        host->passed++;
    }
}

static void forward(Host *from, const uint8_t *bytes, int length, int64_t at) {
    int number = number_in(bytes, length, 0);
    Host *to = NULL;
    for (int i = 0; i < count; i++)
        if (hosts[i].number == number) to = &hosts[i];
    if (!to || number_in(bytes, length, 1) != from->number) return;
    int passes = !from->is_down && !to->is_down && !chance(from->loss) && !chance(to->loss) && length <= to->mtu &&
        is_known(from, bytes, length) && is_known(to, bytes, length);
    int64_t due = passes ? transmit(&from->up_free, at, from->rate, length) : -1;
    if (due >= 0) {
        double delay = from->delay + to->delay + drand48() * from->jitter + drand48() * to->jitter;
        due += (int64_t)(delay * 1e6);
    }
    if (due < 0 || to->coming.tail - to->coming.head >= QUEUE) {
        to->dropped++;
        return;
    }
    // Only packets of the same way keep their order: what comes from far must not hold up what comes from near.
    int64_t *last = &to->last_due[from - hosts];
    if (chance(from->reorder) || chance(to->reorder)) due += REORDER_NS;
    else due = *last = due > *last ? due : *last;
    Packet *packet = malloc(sizeof *packet);
    packet->due = due, packet->length = length;
    memcpy(packet->bytes, bytes, length);
    insert(&to->coming, packet);
}

static void obey(char *line) {
    char verb[16] = "", name[24] = "";
    int used = 0;
    if (sscanf(line, "%15s %23s %n", verb, name, &used) < 2) return;
    Host *host = host_named(name);
    if (!host) fprintf(stderr, "no host %s\n", name), exit(1);
    if (!strcmp(verb, "set") && configure(host, line + used)) {}
    else if (!strcmp(verb, "down")) host->is_down = 1;
    else if (!strcmp(verb, "up")) host->is_down = 0;
    else if (!strcmp(verb, "forget")) host->forgets = 1, memset(host->flows, 0, sizeof host->flows);
    else if (!strcmp(verb, "move")) {
        int number = atoi(line + used);
        run("ip -n wan-%s addr add 10.77.0.%d/16 dev wan0", name, number);
        run("ip -n wan-%s addr add fd77::%d/64 dev wan0 nodad", name, number);
        run("ip -n wan-%s addr del 10.77.0.%d/16 dev wan0", name, host->number);
        run("ip -n wan-%s addr del fd77::%d/64 dev wan0", name, host->number);
        // Removing the first address may remove the others of its network.
        run("ip -n wan-%s addr replace 10.77.0.%d/16 dev wan0", name, number);
        host->number = number;
    } else fprintf(stderr, "unknown command: %s\n", line), exit(1);
    puts("done"), fflush(stdout);
}

// Delivers what is due. Returns when the next packet is due.
static int64_t deliver(int64_t at) {
    int64_t next = at + 100000000;
    for (Host *host = hosts; host < hosts + count; host++) {
        enter_downlink(host, at);
        Packet *packet = first(&host->coming);
        if (packet && packet->due < next) next = packet->due;
        while ((packet = first(&host->leaving))) {
            if (packet->due > at) {
                if (packet->due < next) next = packet->due;
                break;
            }
            if (write(host->fd, packet->bytes, packet->length) < 0 && errno == EAGAIN) {
                if (at + 200000 < next) next = at + 200000;
                break;
            }
            free(packet), host->leaving.head++;
        }
    }
    return next;
}

int main(int argc, char **argv) {
    srand48(7);
    for (int i = 1; i < argc && count < MAX_HOSTS; i++) {
        Host *host = &hosts[count];
        host->number = count + 1, host->mtu = 1500;
        if (!configure(host, argv[i]) || !host->name[0]) return fprintf(stderr, "cannot read host %d\n", i), 64;
        host->coming.packets = calloc(QUEUE, sizeof *host->coming.packets);
        host->leaving.packets = calloc(QUEUE, sizeof *host->leaving.packets);
        host->fd = open_host(host), count++;
    }
    if (!count) return fprintf(stderr, "usage: router name=NAME[,delay=MS][,rate=MBIT]… …\n"), 64;
    signal(SIGINT, end), signal(SIGTERM, end);
    fcntl(0, F_SETFL, O_NONBLOCK);
    puts("ready"), fflush(stdout);
    while (!ended) {
        int64_t wait = deliver(now()) - now();
        struct pollfd polled[MAX_HOSTS + 1];
        for (int i = 0; i < count; i++) polled[i] = (struct pollfd){hosts[i].fd, POLLIN, 0};
        polled[count] = (struct pollfd){0, POLLIN, 0};
        struct timespec timeout = {wait > 0 ? wait / 1000000000 : 0, wait > 0 ? wait % 1000000000 : 0};
        if (ppoll(polled, count + 1, &timeout, NULL) <= 0) continue;
        for (int i = 0; i < count; i++) {
            uint8_t bytes[MAX_PACKET];
            ssize_t length;
            int64_t at = now();
            for (int most = 64; most && (polled[i].revents & POLLIN) &&
                 (length = read(hosts[i].fd, bytes, sizeof bytes)) > 0; most--)
                forward(&hosts[i], bytes, (int)length, at);
        }
        if (polled[count].revents) {
            char text[512], *state = NULL;
            ssize_t length = read(0, text, sizeof text - 1);
            if (length == 0) break;
            text[length > 0 ? length : 0] = 0;
            for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) obey(line);
        }
    }
    for (int i = 0; i < count; i++) run("ip netns del wan-%s", hosts[i].name);
    return 0;
}
