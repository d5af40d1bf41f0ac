/* The bare order taker in C: the least that a server may do which acknowledges no order that a crash could lose.
 *
 *   taker FILE MICROSECONDS
 *
 * Prints its port, accepts up to 64 WebSocket clients (any handshake will do) and serves until stdin ends. What has
 * come on all sockets is one lot: it is appended to FILE as it is, one fdatasync later every message is answered with
 * its `id`, and every message that is no subscription is told as a fill to those who have subscribed. Nothing is
 * judged, matched or booked; in its place each message costs as many additions as this core makes in MICROSECONDS
 * when it is at its quickest. Messages are small: a frame has at most 65,535 bytes, an id at most 64.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PEERS = 64, ROOM = 1 << 18 };

static const char ANSWER[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: BACScCJPNqyz+UBoqMH89VmURoA=\r\n\r\n";

struct peer {
    int sock, open, watches;
    size_t in, out;
    unsigned char got[ROOM];
    char said[ROOM];
};

static struct peer peers[PEERS];
static int count, file;
static long work;
static volatile unsigned long sum;

static void die(const char *what) {
    fprintf(stderr, "taker: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void add(long times) {
    for (long i = 0; i < times; i++) sum += (unsigned long)i;
}

/* Additions in a microsecond at the best pace of this core: of 200 tries the quickest. */
static double pace(void) {
    double best = 0;
    for (int i = 0; i < 200; i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        add(100000);
        clock_gettime(CLOCK_MONOTONIC, &to);
        double took = (double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3;
        if (100000 / took > best) best = 100000 / took;
    }
    return best;
}

static void put(int sock, const void *data, size_t size) {
    for (const char *at = data; size;) {
        ssize_t sent = send(sock, at, size, MSG_NOSIGNAL);
        if (sent < 0) return; /* a client that has gone */
        at += sent;
        size -= (size_t)sent;
    }
}

/* Keep one text frame for a peer, until the lot is on disk. */
static void say(struct peer *to, const char *text, size_t size) {
    if (to->out + size + 4 > ROOM) die("a reader is too slow");
    char *at = to->said + to->out;
    *at++ = (char)0x81;
    if (size < 126) {
        *at++ = (char)size;
    } else {
        *at++ = 126;
        *at++ = (char)(size >> 8);
        *at++ = (char)size;
    }
    memcpy(at, text, size);
    to->out = (size_t)(at + size - to->said);
}

static void take(struct peer *from, char *body, size_t size) {
    char text[256];
    body[size] = '\n';
    if (write(file, body, size + 1) != (ssize_t)size + 1) die("write");
    body[size] = 0;
    const char *id = strstr(body, "\"id\":");
    if (!id) return;
    id += 5;
    int length = *id == '"' ? (int)strcspn(id + 1, "\"") + 2 : (int)strcspn(id, ",}");
    if (length > 66) return;
    int wrote = snprintf(text, sizeof text, "{\"type\":\"reply\",\"id\":%.*s,\"ok\":true}", length, id);
    say(from, text, (size_t)wrote);
    if (strstr(body, "\"op\":\"subscribe\"")) {
        from->watches = 1;
        return;
    }
    add(work);
    wrote = snprintf(text, sizeof text,
                     "{\"type\":\"update\",\"channel\":\"fills\",\"data\":[{\"client_order_id\":%.*s}]}", length, id);
    for (int i = 0; i < count; i++)
        if (peers[i].watches) say(&peers[i], text, (size_t)wrote);
}

/* Read what has come; 0 when the client has gone. */
static int heard(struct peer *peer) {
    ssize_t got = recv(peer->sock, peer->got + peer->in, ROOM - peer->in, 0);
    if (got <= 0) return 0;
    peer->in += (size_t)got;
    unsigned char *at = peer->got, *end = peer->got + peer->in;
    if (!peer->open) {
        unsigned char *head = memmem(at, peer->in, "\r\n\r\n", 4);
        if (!head) return 1;
        put(peer->sock, ANSWER, sizeof ANSWER - 1);
        peer->open = 1;
        at = head + 4;
    }
    while (end - at >= 6) {
        size_t size = at[1] & 127u, head = 2;
        if (size == 126) {
            size = (size_t)at[2] << 8 | at[3];
            head = 4;
        }
        if ((size_t)(end - at) < head + 4 + size) break;
        static char body[65536];
        const unsigned char *mask = at + head;
        for (size_t i = 0; i < size; i++) body[i] = (char)(mask[4 + i] ^ mask[i & 3]);
        if ((at[0] & 15) == 1) take(peer, body, size);
        at += head + 4 + size;
    }
    peer->in = (size_t)(end - at);
    memmove(peer->got, at, peer->in);
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    work = (long)(atof(argv[2]) * pace());
    file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0) die("open");
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    if (listener < 0 || bind(listener, (struct sockaddr *)&name, size) || listen(listener, PEERS)) die("listen");
    getsockname(listener, (struct sockaddr *)&name, &size);
    printf("%d\n", ntohs(name.sin_port));
    fflush(stdout);
    for (;;) {
        struct pollfd watched[PEERS + 2] = {{.fd = 0, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
        int known = count;
        for (int i = 0; i < known; i++) watched[i + 2] = (struct pollfd){.fd = peers[i].sock, .events = POLLIN};
        if (poll(watched, (nfds_t)known + 2, -1) < 0) die("poll");
        if (watched[0].revents) return 0;
        for (int i = 0; i < known; i++)
            if (watched[i + 2].revents && !heard(&peers[i])) {
                close(peers[i].sock);
                peers[i].sock = -1; /* poll passes over it */
                peers[i].watches = 0;
            }
        int due = 0;
        for (int i = 0; i < known; i++) due |= peers[i].out > 0;
        if (due && fdatasync(file)) die("fdatasync");
        for (int i = 0; i < known; i++) {
            if (peers[i].sock >= 0) put(peers[i].sock, peers[i].said, peers[i].out);
            peers[i].out = 0;
        }
        if (watched[1].revents) {
            int sock = accept(listener, 0, 0);
            if (sock < 0) die("accept");
            setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            int at = 0;
            while (at < count && peers[at].sock >= 0) at++;
            if (at == PEERS) die("too many clients");
            if (at == count) count++;
            peers[at].sock = sock;
            peers[at].open = peers[at].watches = 0;
            peers[at].in = peers[at].out = 0;
        }
    }
}
