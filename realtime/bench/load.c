/* The load client: many WebSocket clients in one thread, cheap enough not to be what is measured.
 *
 *   load HOST PORT PATH CLIENTS STALLED DEFLATE < lines
 *
 * First line of stdin: the text that each client sends after its handshake (may be empty). When all are
 * connected it prints `ready`. Then one line per order, each answered by one line:
 *
 *   measure SECONDS   count deliveries and latencies for that long; prints JSON
 *   count             prints JSON of everything since the start
 *   quit
 *
 * A delivery is a text frame. One that holds `"t":DIGITS` carries its publisher's CLOCK_MONOTONIC in ns; the
 * clock is one for all processes of a host. The first STALLED clients never read after the handshake. With
 * DEFLATE 1 the clients offer permessage-deflate, as every browser does; compressed frames are only counted.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (1 << 19)
#define MICROS 2000000 /* the histogram reaches two seconds */
#define EVENTS 256

struct client {
    int fd;
    int stalled;
    int open;
    char *left; /* bytes of a frame that is not here whole */
    size_t left_size;
    uint64_t frames;
};

static struct client *clients;
static int count, stalled, deflate, epoll_fd;
static char buffer[BUFFER];
static uint32_t histogram[MICROS + 1];
static uint64_t deliveries, received, timed, closed_count, worst_us;
static size_t hint; /* where `"t":` was last time */
static int close_code;

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000ull + (uint64_t)at.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void shut(struct client *one) {
    if (!one->open) return;
    one->open = 0;
    closed_count++;
    close(one->fd);
    free(one->left);
    one->left = NULL;
    one->left_size = 0;
}

/* A masked client frame with a mask of zeros, which changes nothing. */
static size_t framed(char *out, int opcode, const char *payload, size_t size) {
    size_t at = 0;
    out[at++] = (char)(0x80 | opcode);
    if (size < 126) {
        out[at++] = (char)(0x80 | size);
    } else {
        out[at++] = (char)(0x80 | 126);
        out[at++] = (char)(size >> 8);
        out[at++] = (char)(size & 255);
    }
    memset(out + at, 0, 4);
    at += 4;
    memcpy(out + at, payload, size);
    return at + size;
}

static void send_frame(struct client *one, int opcode, const char *payload, size_t size) {
    static char out[70000];
    size_t whole = framed(out, opcode, payload, size);
    if (send(one->fd, out, whole, MSG_NOSIGNAL) != (ssize_t)whole && errno != EAGAIN) shut(one);
}

static void note_latency(const char *payload, size_t size, uint64_t now) {
    const char *found = NULL;
    if (hint + 5 < size && memcmp(payload + hint, "\"t\":", 4) == 0) found = payload + hint;
    else if (size > 5 && (found = memmem(payload, size, "\"t\":", 4)) != NULL) hint = (size_t)(found - payload);
    if (found == NULL) return;
    const char *at = found + 4, *end = payload + size;
    uint64_t then = 0;
    while (at < end && *at >= '0' && *at <= '9') then = then * 10 + (uint64_t)(*at++ - '0');
    if (then == 0) return;
    uint64_t us = now > then ? (now - then) / 1000 : 0;
    if (us > worst_us) worst_us = us;
    histogram[us < MICROS ? us : MICROS]++;
    timed++;
}

/* Take whole frames from the front; returns bytes used. */
static size_t parse(struct client *one, char *data, size_t size, uint64_t now) {
    size_t at = 0;
    while (size - at >= 2) {
        unsigned char *head = (unsigned char *)data + at;
        size_t length = head[1] & 127, offset = 2;
        if (length == 126) {
            if (size - at < 4) break;
            length = (size_t)head[2] << 8 | head[3];
            offset = 4;
        } else if (length == 127) {
            if (size - at < 10) break;
            length = 0;
            for (int n = 2; n < 10; n++) length = length << 8 | head[n];
            offset = 10;
        }
        if (size - at < offset + length) break;
        char *payload = data + at + offset;
        switch (head[0] & 15) {
        case 1:
            deliveries++;
            one->frames++;
            if (!(head[0] & 0x40)) note_latency(payload, length, now);
            break;
        case 9:
            send_frame(one, 10, payload, length);
            break;
        case 8:
            if (length >= 2) close_code = (unsigned char)payload[0] << 8 | (unsigned char)payload[1];
            shut(one);
            return size;
        }
        if (!one->open) return size;
        at += offset + length;
    }
    return at;
}

static void readable(struct client *one) {
    size_t held = one->left_size;
    if (held) memcpy(buffer, one->left, held);
    ssize_t got = recv(one->fd, buffer + held, BUFFER - held, 0);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        shut(one);
        return;
    }
    received += (uint64_t)got;
    size_t size = held + (size_t)got;
    size_t used = parse(one, buffer, size, now_ns());
    if (!one->open) return;
    one->left_size = size - used;
    if (one->left_size) {
        one->left = realloc(one->left, one->left_size);
        memcpy(one->left, buffer + used, one->left_size);
    } else if (held) {
        free(one->left);
        one->left = NULL;
    }
}

static int turn(int wait_ms) {
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(epoll_fd, events, EVENTS, wait_ms), input = 0;
    for (int n = 0; n < ready; n++) {
        if (events[n].data.ptr == NULL) input = 1;
        else readable(events[n].data.ptr);
    }
    return input;
}

static void open_client(struct client *one, struct sockaddr_in *address, const char *host, const char *path,
                        const char *text) {
    one->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (one->fd < 0) die("socket");
    if (one->stalled) {
        int size = 4096;
        setsockopt(one->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }
    int tries = 0;
    while (connect(one->fd, (struct sockaddr *)address, sizeof *address) < 0) {
        if (++tries > 50) die("connect");
        usleep(20000);
    }
    int yes = 1;
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    char request[1024];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n%s\r\n",
                        path, host, deflate ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "");
    if (send(one->fd, request, (size_t)size, MSG_NOSIGNAL) != size) die("handshake");
    char head[4096];
    size_t at = 0;
    while (at < sizeof head - 1) {
        ssize_t got = recv(one->fd, head + at, 1, 0);
        if (got <= 0) die("handshake answer");
        at += (size_t)got;
        head[at] = 0;
        if (at >= 4 && memcmp(head + at - 4, "\r\n\r\n", 4) == 0) break;
    }
    if (strncmp(head, "HTTP/1.1 101", 12) != 0) {
        fprintf(stderr, "load: refused: %.60s\n", head);
        exit(1);
    }
    one->open = 1;
    if (*text) send_frame(one, 1, text, strlen(text));
    if (one->stalled) return;
    fcntl(one->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, one->fd, &event) < 0) die("epoll_ctl");
}

static uint64_t percentile(double share) {
    uint64_t wanted = (uint64_t)((double)timed * share), seen = 0;
    for (size_t us = 0; us <= MICROS; us++) {
        seen += histogram[us];
        if (seen > wanted) return us;
    }
    return timed ? worst_us : 0;
}

static void report(double seconds) {
    int open_count = 0, served = 0;
    for (int n = 0; n < count; n++) {
        open_count += clients[n].open;
        served += clients[n].frames > 0;
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    printf("{\"seconds\":%.6f,\"deliveries\":%llu,\"bytes\":%llu,\"timed\":%llu,\"p50_us\":%llu,"
           "\"p99_us\":%llu,\"p999_us\":%llu,\"max_us\":%llu,\"open\":%d,\"served\":%d,\"closed\":%llu,"
           "\"close_code\":%d,\"cpu_s\":%.3f}\n",
           seconds, (unsigned long long)deliveries, (unsigned long long)received, (unsigned long long)timed,
           (unsigned long long)percentile(0.50), (unsigned long long)percentile(0.99),
           (unsigned long long)percentile(0.999), (unsigned long long)worst_us, open_count, served,
           (unsigned long long)closed_count, close_code, cpu);
    fflush(stdout);
}

static void measure(double seconds) {
    memset(histogram, 0, sizeof histogram);
    deliveries = received = timed = worst_us = 0;
    for (int n = 0; n < count; n++) clients[n].frames = 0;
    uint64_t began = now_ns(), until = began + (uint64_t)(seconds * 1e9);
    while (now_ns() < until) turn(5);
    report((double)(now_ns() - began) / 1e9);
}

static int line(char *out, size_t size) {
    size_t at = 0;
    char byte;
    while (read(0, &byte, 1) == 1) {
        if (byte == '\n') {
            out[at] = 0;
            return 1;
        }
        if (at < size - 1) out[at++] = byte;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "load HOST PORT PATH CLIENTS STALLED DEFLATE\n");
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &address.sin_addr);
    count = atoi(argv[4]);
    stalled = atoi(argv[5]);
    deflate = atoi(argv[6]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    static char text[65536];
    if (!line(text, sizeof text)) return 2;
    char host[64];
    snprintf(host, sizeof host, "%s:%s", argv[1], argv[2]);
    clients = calloc((size_t)count, sizeof *clients);
    epoll_fd = epoll_create1(0);
    for (int n = 0; n < count; n++) {
        clients[n].stalled = n < stalled;
        open_client(&clients[n], &address, host, argv[3], text);
        if (n % 8 == 0) turn(0);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, 0, &event) < 0) die("stdin");
    printf("ready\n");
    fflush(stdout);
    uint64_t began = now_ns();
    for (;;) {
        if (!turn(100)) continue;
        char order[128];
        double seconds;
        if (!line(order, sizeof order) || strcmp(order, "quit") == 0) break;
        if (sscanf(order, "measure %lf", &seconds) == 1) measure(seconds);
        else if (strcmp(order, "count") == 0) report((double)(now_ns() - began) / 1e9);
    }
    return 0;
}
