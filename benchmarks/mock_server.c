/* A chat completions server that is never the bottleneck: one thread, epoll, a fixed reply.

     cc -O2 -o mock_server mock_server.c && ./mock_server LATENCY_MS SPREAD SLOTS

   Prints its port. Each POST is answered after LATENCY_MS * (1 +- SPREAD); with SLOTS > 0 only so
   many run at once and the rest queue. GET /stats gives {"requests": n, "busy": [..]}: the mean
   number of busy slots in each 10 ms since the first request. The reply is about 2 KB. */

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#define MOST 16384  /* connections at once */
#define BINS 120000 /* 20 minutes of 10 ms */
#define WHEEL 4096  /* ms; latencies stay below */
#define BODY 65536

struct conn { int fd, got, next, due_next, active; char in[BODY]; };
static struct conn *conns[MOST];
static int wheel[WHEEL]; /* heads of lists of connections whose reply is due in that ms */
static int waiting_head = -1, waiting_tail = -1; /* queue for a slot */
static int busy, slots;
static double latency, spread, area[BINS], first = -1, last_change;
static long requests;
static char reply[8192];
static int reply_length;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void set_busy(int n, double now) { /* integrate what was, then change */
  if (first < 0) first = last_change = now;
  while (last_change < now) {
    int bin = (int)((last_change - first) / 10);
    double edge = first + (bin + 1) * 10.0, to = edge < now ? edge : now;
    if (bin < BINS) area[bin] += busy * (to - last_change) / 10;
    if (to <= last_change) break;
    last_change = to;
  }
  busy = n;
}

static void start(int i, double now) {
  set_busy(busy + 1, now);
  double wait = latency * (1 + spread * (2.0 * rand() / RAND_MAX - 1));
  long due = (long)(now + wait + 0.5);
  conns[i]->due_next = wheel[due % WHEEL];
  wheel[due % WHEEL] = i;
}

static void request(int i, double now) {
  requests++;
  conns[i]->active++;
  if (slots && busy >= slots) {
    conns[i]->next = -1;
    if (waiting_tail >= 0) conns[waiting_tail]->next = i; else waiting_head = i;
    waiting_tail = i;
  } else start(i, now);
}

static void finish(int i, double now) {
  set_busy(busy - 1, now);
  conns[i]->active--;
  if (conns[i]->fd >= 0 && write(conns[i]->fd, reply, reply_length) < 0) { /* client is gone */ }
  if (conns[i]->fd < 0 && !conns[i]->active) { free(conns[i]); conns[i] = 0; }
  if (waiting_head >= 0) {
    int j = waiting_head;
    waiting_head = conns[j]->next;
    if (waiting_head < 0) waiting_tail = -1;
    start(j, now);
  }
}

static void stats(int fd) {
  static char out[BINS * 8 + 256];
  int bins = first < 0 ? 0 : (int)((now_ms() - first) / 10);
  if (bins > BINS) bins = BINS;
  int n = sprintf(out, "{\"requests\": %ld, \"busy\": [", requests);
  for (int b = 0; b < bins; b++) n += sprintf(out + n, "%s%.2f", b ? "," : "", area[b]);
  n += sprintf(out + n, "]}");
  char head[128];
  int h = sprintf(head, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", n);
  fcntl(fd, F_SETFL, 0);
  if (write(fd, head, h) < 0 || write(fd, out, n) < 0) return;
  fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void readable(int i, double now) {
  struct conn *c = conns[i];
  for (;;) {
    int n = read(c->fd, c->in + c->got, BODY - 1 - c->got);
    if (n == 0) {
      close(c->fd);
      c->fd = -1;
      if (!c->active) { free(c); conns[i] = 0; } /* else `finish` frees it */
      return;
    }
    if (n < 0) break;
    c->got += n;
  }
  for (;;) {
    c->in[c->got] = 0;
    char *end = strstr(c->in, "\r\n\r\n"), *length = strcasestr(c->in, "content-length:");
    if (!end) return;
    int size = (int)(end + 4 - c->in);
    int get = !strncmp(c->in, "GET", 3);
    if (!get) size += length && length < end ? atoi(length + 15) : 0;
    if (c->got < size) return;
    if (get) stats(c->fd); else request(i, now);
    memmove(c->in, c->in + size, c->got - size);
    c->got -= size;
    if (!c->got) return;
  }
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  latency = atof(argv[1]); spread = atof(argv[2]); slots = atoi(argv[3]);
  char body[4096], text[2048];
  memset(text, 'x', 1700); text[1700] = 0;
  for (int i = 5; i < 1700; i += 6) text[i] = ' ';
  int n = sprintf(body, "{\"id\": \"c\", \"object\": \"chat.completion\", \"created\": 1, \"model\": \"m\","
    " \"choices\": [{\"index\": 0, \"message\": {\"role\": \"assistant\", \"content\": \"%s\"},"
    " \"logprobs\": null, \"finish_reason\": \"stop\"}],"
    " \"usage\": {\"prompt_tokens\": 300, \"completion_tokens\": 280, \"total_tokens\": 580}}", text);
  reply_length = sprintf(reply, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, body);
  for (int i = 0; i < WHEEL; i++) wheel[i] = -1;
  int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t at_size = sizeof at;
  bind(listener, (struct sockaddr *)&at, sizeof at);
  listen(listener, 4096);
  getsockname(listener, (struct sockaddr *)&at, &at_size);
  printf("%d\n", ntohs(at.sin_port));
  fflush(stdout);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = MOST}, events[512];
  epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
  long tick = (long)now_ms();
  for (;;) {
    int ready = epoll_wait(poll, events, 512, 1);
    double now = now_ms();
    for (int e = 0; e < ready; e++) {
      if (events[e].data.u32 != MOST) { readable((int)events[e].data.u32, now); continue; }
      for (int fd; (fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0;) {
        int i = 0;
        while (i < MOST && conns[i]) i++;
        if (i == MOST) { close(fd); continue; }
        conns[i] = calloc(1, sizeof **conns);
        conns[i]->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        event.events = EPOLLIN; event.data.u32 = i;
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
      }
    }
    for (; tick <= (long)now; tick++) {
      int i = wheel[tick % WHEEL];
      wheel[tick % WHEEL] = -1;
      while (i >= 0) { int next = conns[i]->due_next; finish(i, now); i = next; }
    }
  }
}
