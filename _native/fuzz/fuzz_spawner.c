/* fuzz_spawner.c: requests to the spawner (spawner.c) under libFuzzer, over a real socket.

   The input is a series of messages with descriptors, most of them nearly right.  Whatever comes, no
   descriptor may stay open that no container has, and only a request that is right in every field may
   reach clone3(2), which is a stand-in here.  */

#include "../helper.h"
#include "../sys.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

static int fuzz_clone3 (struct sys_clone_args *args);
#define sys_clone3(args) fuzz_clone3 (args)
#include "../spawner.c"

enum
{
  MAX_MESSAGES = 8,
  MAX_SENT = 253, /* SCM_MAX_FD */
  MAX_OPEN = 2048,
};

static bool fails; /* clone3(2), the next time */
static struct request latest;

static void
require (bool what)
{
  if (!what)
    abort ();
}

static int
fuzz_clone3 (struct sys_clone_args *args)
{
  const struct wire_spawn *h = &latest.header;
  bool has_cgroup = (h->flags & SPAWN_INTO_CGROUP) != 0;
  uint64_t known = CLONE_PARENT | CLONE_PIDFD | CLONE_INTO_CGROUP | BIRTH_NAMESPACES;

  require (h->magic == WIRE_MAGIC && h->version == WIRE_VERSION && !latest.truncated);
  require (latest.fd_count >= (has_cgroup ? 3 : 2) && latest.fd_count <= REQUEST_FDS);
  require ((args->flags & ~known) == 0 && args->exit_signal == 0);
  require (has_cgroup == ((args->flags & CLONE_INTO_CGROUP) != 0));
  require (!has_cgroup || (int) args->cgroup == latest.fds[2]);
  if (fails)
    return -EAGAIN;
  *(int *) (uintptr_t) args->pidfd = eventfd (0, EFD_CLOEXEC); /* which epoll takes, as it does a pidfd */
  return 4242;
}

/* A network namespace that is always ready: who takes it has to close it.  */
int
take_network (void)
{
  return eventfd (0, EFD_CLOEXEC);
}

/* What else there is of prepared.c is not called by what serves one request.  */
void
prepare_network (void)
{
  abort ();
}

bool
has_network (void)
{
  abort ();
}

void
forget_network (void)
{
  abort ();
}

_Noreturn void
container_main (const struct job *job, const struct caller_limits *limits)
{
  (void) job;
  (void) limits;
  abort ();
}

struct input
{
  const uint8_t *data;
  size_t left;
};

static uint8_t
take (struct input *in)
{
  return in->left > 0 ? (in->left--, *in->data++) : 0;
}

static unsigned int
open_fds (void)
{
  unsigned int count = 0;

  for (int fd = 0; fd < MAX_OPEN; fd++)
    count += fcntl (fd, F_GETFD) >= 0;
  return count;
}

/* A header that is right but for what the input changes.  */
static size_t
take_header (struct input *in, struct wire_spawn *header, unsigned int fds)
{
  unsigned char *bytes = (unsigned char *) header;
  uint8_t changes = take (in);
  size_t size = sizeof (*header);

  *header = (struct wire_spawn){ .magic = WIRE_MAGIC, .version = WIRE_VERSION, .fds = fds };
  header->flags = take (in) % 4;
  header->clone_flags = (changes & 8) != 0 ? CLONE_NEWUSER : 0;
  if ((changes & 1) != 0)
    bytes[take (in) % sizeof (*header)] = take (in);
  if ((changes & 2) != 0)
    bytes[take (in) % sizeof (*header)] ^= (unsigned char) (1 << take (in) % 8);
  if ((changes & 4) != 0)
    size = take (in) % (2 * sizeof (*header));
  return size;
}

static bool
send_one (struct input *in, int to, int answer)
{
  static union
  {
    char space[CMSG_SPACE (MAX_SENT * sizeof (int))];
    struct cmsghdr align;
  } ancillary;
  struct wire_spawn headers[2] = { 0 };
  uint8_t count = take (in);
  unsigned int fds = (count < 128 ? count % 6 : count) % (MAX_SENT + 1);
  struct iovec part = { .iov_base = headers, .iov_len = take_header (in, headers, fds) };
  struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

  if (fds > 0)
    {
      struct cmsghdr *header;
      int numbers[MAX_SENT];

      for (unsigned int i = 0; i < fds; i++)
        numbers[i] = i == 0 ? answer : 0;
      message.msg_control = ancillary.space;
      message.msg_controllen = CMSG_SPACE (fds * sizeof (int));
      header = CMSG_FIRSTHDR (&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN (fds * sizeof (int));
      memcpy (CMSG_DATA (header), numbers, fds * sizeof (int));
    }
  return sendmsg (to, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

static void
drain (int from)
{
  struct wire_reply reply;
  char space[CMSG_SPACE (sizeof (int))];

  for (;;)
    {
      struct iovec part = { .iov_base = &reply, .iov_len = sizeof (reply) };
      struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = space };

      message.msg_controllen = sizeof (space);
      if (recvmsg (from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
        return;
      require (reply.magic == WIRE_MAGIC && reply.kind == REPLY_SPAWNED && reply.value != 0);
      require ((reply.value > 0) == (message.msg_controllen > 0));
      if (message.msg_controllen > 0)
        {
          int pidfd;

          memcpy (&pidfd, CMSG_DATA (CMSG_FIRSTHDR (&message)), sizeof (pidfd));
          require (close (pidfd) == 0);
        }
    }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct caller_limits limits = { 0 };
  struct input in = { data, size };
  unsigned int before = open_fds ();
  int control[2], answers[2];
  int epoll = sys_epoll_create1 (EPOLL_CLOEXEC);

  require (epoll >= 0 && socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) == 0);
  require (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, answers) == 0);
  for (int i = 0; i < MAX_MESSAGES && in.left > 0; i++)
    {
      fails = take (&in) % 4 == 0;
      if (!send_one (&in, control[0], answers[1]))
        break;
      if (!receive (control[1], &latest))
        { /* the spawner ends, and with it all that it has */
          for (uint32_t fd = 0; fd < latest.fd_count; fd++)
            require (close (latest.fds[fd]) == 0);
          break;
        }
      serve (epoll, &latest, &limits);
      drain (answers[0]);
    }
  for (int fd = 0; fd < MAX_OPEN; fd++)
    if ((owned[fd / 64] & owned_bit (fd)) != 0)
      disown (epoll, fd);
  for (int i = 0; i < 2; i++)
    require (close (control[i]) == 0 && close (answers[i]) == 0);
  require (close (epoll) == 0 && open_fds () == before);
  return 0;
}
