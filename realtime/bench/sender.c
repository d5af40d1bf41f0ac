/* The bare C send loop: what the kernel allows whoever makes one call per message.
 *
 *   sender CLIENTS < payload
 *
 * Prints its port, accepts that many WebSocket clients (any handshake will do), waits for a line on stdin, then
 * sends the payload as one text frame to every socket, over and over, `t` stamped anew each round, until stdin
 * ends. The payload holds `"t":` and fifteen digits.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char ANSWER[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: BACScCJPNqyz+UBoqMH89VmURoA=\r\n\r\n";

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000ull + (uint64_t)at.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "sender: %s: %s\n", what, strerror(errno));
    exit(1);
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    int count = atoi(argv[1]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    static char payload[65536], blob[65600];
    if (fgets(payload, sizeof payload, stdin) == NULL) return 2;
    size_t size = strcspn(payload, "\n"), at = 2;
    blob[0] = (char)0x81;
    if (size < 126) {
        blob[1] = (char)size;
    } else {
        blob[1] = 126;
        blob[2] = (char)(size >> 8);
        blob[3] = (char)(size & 255);
        at = 4;
    }
    memcpy(blob + at, payload, size);
    char *stamp = memmem(blob + at, size, "\"t\":", 4);
    if (stamp == NULL) die("no stamp");
    stamp += 4;

    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);

    int *sockets = calloc((size_t)count, sizeof *sockets);
    for (int n = 0; n < count; n++) {
        sockets[n] = accept(listener, NULL, NULL);
        if (sockets[n] < 0) die("accept");
        int yes = 1;
        setsockopt(sockets[n], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        char head[4096];
        size_t got = 0;
        while (got < 4 || memmem(head, got, "\r\n\r\n", 4) == NULL) {
            ssize_t more = recv(sockets[n], head + got, sizeof head - got, 0);
            if (more <= 0) die("handshake");
            got += (size_t)more;
        }
        if (send(sockets[n], ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) < 0) die("answer");
    }
    char word[64];
    if (fgets(word, sizeof word, stdin) == NULL) return 0;
    struct pollfd input = {.fd = 0, .events = POLLIN};
    uint64_t rounds = 0;
    for (;;) {
        char digits[24];
        snprintf(digits, sizeof digits, "%015llu", (unsigned long long)(now_ns() % 1000000000000000ull));
        memcpy(stamp, digits, 15);
        for (int n = 0; n < count; n++) {
            size_t done = 0;
            while (done < at + size) {
                ssize_t sent = send(sockets[n], blob + done, at + size - done, MSG_NOSIGNAL);
                if (sent < 0) {
                    if (errno == EPIPE || errno == ECONNRESET) return 0;
                    die("send");
                }
                done += (size_t)sent;
            }
        }
        if (++rounds % 16 == 0 && poll(&input, 1, 0) > 0) return 0;
    }
}
