// suture_wire: the lab's link emulator, for kernels without netem.
//
//   suture_wire [ready=FILE] [delay=MS] [jitter=MS] [loss=PCT] [reorder=PCT] [rate=MBIT] FROM:TO [FROM:TO]
//
// Each FROM:TO is one direction: every frame that arrives at device FROM leaves through device TO, later, or not at
// all.
//   delay    what every frame waits; jitter: +/- up to that much more, without changing the order (as on a real queue)
//   loss     chance that a frame is dropped
//   reorder  chance that a frame goes ahead of the queue, without the delay
//   rate     token bucket with a burst of 10 ms; a queue of 250 ms at most, then tail drop
// FROM's frames must be of link size: the lab puts a veth pair without offloads before it. SIGTERM: the forwarder stops
// reading, delivers what it holds, and exits; what was lost is said on stderr.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  FRAME_MAX = 9216,     // a jumbo frame; larger ones were not cut by the device before us
  HELD_MAX = 1 << 16,   // frames in one direction: 1 Gbit/s x 750 ms of full-size ones
  BATCH = 64,           // frames read before the due ones are sent again
  RATE_BURST_MS = 10,   // token bucket
  RATE_QUEUE_MS = 250,  // what waits for tokens at most
};

struct parameters {
  double delay_ms, jitter_ms, loss_pct, reorder_pct, rate_mbit;
};

struct frame {
  uint64_t due_ns;
  uint64_t number;  // frames that are due together leave in the order of arrival
  uint32_t size;
  unsigned char data[];
};

struct direction {
  const char* name;
  int in, out;
  struct frame* heap[HELD_MAX];  // min-heap by (due_ns, number)
  int held;
  uint64_t numbers;
  uint64_t last_due_ns;   // jitter keeps the order: no frame is due before its predecessor
  uint64_t link_free_ns;  // rate: when the link has sent everything that was put on it
  uint64_t passed, lost, overflowed, too_large, failed;
};

static uint64_t random_state;

// xorshift64*: one link's lots need no better source.
static double random_unit(void) {
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return (double)((random_state * 2685821657736338717ULL) >> 11) / 9007199254740992.0;
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static bool earlier(const struct frame* a, const struct frame* b) {
  return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static void push(struct direction* d, struct frame* f) {
  int at = d->held++;
  while (at > 0 && earlier(f, d->heap[(at - 1) / 2])) {
    d->heap[at] = d->heap[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  d->heap[at] = f;
}

static struct frame* pop(struct direction* d) {
  struct frame* first = d->heap[0];
  struct frame* last = d->heap[--d->held];
  int at = 0;
  for (int child; (child = 2 * at + 1) < d->held; at = child) {
    if (child + 1 < d->held && earlier(d->heap[child + 1], d->heap[child])) child++;
    if (!earlier(d->heap[child], last)) break;
    d->heap[at] = d->heap[child];
  }
  d->heap[at] = last;
  return first;
}

static int packet_socket(const char* device, bool reads) {
  unsigned index = if_nametoindex(device);
  if (index == 0) {
    fprintf(stderr, "suture_wire: no device %s\n", device);
    exit(1);
  }
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    fprintf(stderr, "suture_wire: packet socket: %s (needs CAP_NET_RAW)\n", strerror(errno));
    exit(1);
  }
  int buffer = 32 << 20, one = 1;
  setsockopt(fd, SOL_SOCKET, reads ? SO_RCVBUFFORCE : SO_SNDBUFFORCE, &buffer, sizeof buffer);
  if (reads) setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
  struct sockaddr_ll address = {
      .sll_family = AF_PACKET, .sll_protocol = reads ? htons(ETH_P_ALL) : 0, .sll_ifindex = (int)index};
  if (bind(fd, (struct sockaddr*)&address, sizeof address) < 0) {
    fprintf(stderr, "suture_wire: bind to %s: %s\n", device, strerror(errno));
    exit(1);
  }
  return fd;
}

// When a frame of that size leaves; 0: it does not.
static uint64_t due(struct direction* d, const struct parameters* p, uint64_t now, uint32_t size) {
  if (random_unit() * 100 < p->loss_pct) {
    d->lost++;
    return 0;
  }
  uint64_t leaves = now;
  if (p->rate_mbit > 0) {
    const uint64_t burst_ns = RATE_BURST_MS * 1000000ULL;
    if (d->link_free_ns + burst_ns < now) d->link_free_ns = now - burst_ns;
    if (d->link_free_ns > now + RATE_QUEUE_MS * 1000000ULL) {
      d->overflowed++;
      return 0;
    }
    d->link_free_ns += (uint64_t)(size * 8 * 1000 / p->rate_mbit);
    if (d->link_free_ns > now) leaves = d->link_free_ns;
  }
  if (random_unit() * 100 < p->reorder_pct) return leaves;
  double wait_ms = p->delay_ms + (p->jitter_ms > 0 ? (2 * random_unit() - 1) * p->jitter_ms : 0);
  if (wait_ms > 0) leaves += (uint64_t)(wait_ms * 1e6);
  if (leaves < d->last_due_ns) leaves = d->last_due_ns;
  d->last_due_ns = leaves;
  return leaves;
}

static void take(struct direction* d, const struct parameters* p) {
  static unsigned char data[FRAME_MAX];
  for (int i = 0; i < BATCH; i++) {
    ssize_t size = recv(d->in, data, sizeof data, MSG_TRUNC);
    if (size <= 0) return;
    if ((size_t)size > sizeof data) {
      d->too_large++;
      continue;
    }
    uint64_t leaves = due(d, p, now_ns(), (uint32_t)size);
    if (leaves == 0) continue;
    struct frame* f = d->held < HELD_MAX ? malloc(sizeof *f + (size_t)size) : NULL;
    if (f == NULL) {
      d->overflowed++;
      continue;
    }
    f->due_ns = leaves;
    f->number = d->numbers++;
    f->size = (uint32_t)size;
    memcpy(f->data, data, (size_t)size);
    push(d, f);
  }
}

static void deliver(struct direction* d) {
  while (d->held > 0 && d->heap[0]->due_ns <= now_ns()) {
    struct frame* f = pop(d);
    if (send(d->out, f->data, f->size, 0) < 0)
      d->failed++;  // the device is down, or its queue full: a real link loses the frame, too
    else
      d->passed++;
    free(f);
  }
}

static bool parameter(const char* word, struct parameters* p) {
  const struct {
    const char* name;
    double* value;
  } known[] = {{"delay=", &p->delay_ms},
               {"jitter=", &p->jitter_ms},
               {"loss=", &p->loss_pct},
               {"reorder=", &p->reorder_pct},
               {"rate=", &p->rate_mbit}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    size_t length = strlen(known[i].name);
    if (strncmp(word, known[i].name, length) != 0) continue;
    char* end;
    *known[i].value = strtod(word + length, &end);
    if (end == word + length || *end != '\0' || *known[i].value < 0) break;
    return true;
  }
  return false;
}

int main(int argc, char** argv) {
  static struct direction directions[2];
  struct parameters parameters = {0};
  const char* ready = NULL;
  int count = 0;
  for (int i = 1; i < argc; i++) {
    char* colon = strchr(argv[i], ':');
    if (strncmp(argv[i], "ready=", 6) == 0) {
      ready = argv[i] + 6;
    } else if (colon != NULL && count < 2) {
      *colon = '\0';
      struct direction* d = &directions[count++];
      d->name = argv[i];
      d->in = packet_socket(argv[i], true);
      d->out = packet_socket(colon + 1, false);
    } else if (!parameter(argv[i], &parameters)) {
      fprintf(stderr, "suture_wire: '%s' is neither a parameter (delay=MS ...) nor FROM:TO\n", argv[i]);
      return 2;
    }
  }
  if (count == 0) {
    fprintf(stderr,
            "usage: suture_wire [delay=MS] [jitter=MS] [loss=PCT] [reorder=PCT] [rate=MBIT] FROM:TO [FROM:TO]\n");
    return 2;
  }
  random_state = now_ns() | 1;

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  int stop = signalfd(-1, &signals, SFD_CLOEXEC);
  if (ready != NULL) close(open(ready, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));

  bool stopping = false;
  while (!stopping || directions[0].held + directions[1].held > 0) {
    uint64_t next_ns = UINT64_MAX;
    struct pollfd watched[3] = {{.fd = stopping ? -1 : stop, .events = POLLIN}};
    for (int i = 0; i < count; i++) {
      watched[1 + i] = (struct pollfd){.fd = stopping ? -1 : directions[i].in, .events = POLLIN};
      if (directions[i].held > 0 && directions[i].heap[0]->due_ns < next_ns) next_ns = directions[i].heap[0]->due_ns;
    }
    struct timespec wait, *limit = NULL;
    if (next_ns != UINT64_MAX) {
      uint64_t now = now_ns(), left = next_ns > now ? next_ns - now : 0;
      wait = (struct timespec){.tv_sec = (time_t)(left / 1000000000ULL), .tv_nsec = (long)(left % 1000000000ULL)};
      limit = &wait;
    }
    if (ppoll(watched, (nfds_t)(1 + count), limit, NULL) < 0 && errno != EINTR) {
      perror("suture_wire: ppoll");
      return 1;
    }
    if (watched[0].revents != 0) stopping = true;
    for (int i = 0; i < count; i++) {
      if (watched[1 + i].revents != 0) take(&directions[i], &parameters);
      deliver(&directions[i]);
    }
  }
  for (int i = 0; i < count; i++) {
    const struct direction* d = &directions[i];
    fprintf(stderr, "%s: passed %lu, lost %lu, overflowed %lu, too large %lu, failed %lu\n", d->name, d->passed,
            d->lost, d->overflowed, d->too_large, d->failed);
  }
  return 0;
}
