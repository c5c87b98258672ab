/* spawner.c: the resident spawner, one clone3(2) per request.

   It never looks into a plan: it takes descriptors, clones a process that is a child of the
   application (CLONE_PARENT), and tells the application its pid and pidfd.  A bad request is
   answered and forgotten; only the application's end of file, or its death, ends the loop.  */

#include "helper.h"
#include "sys.h"
#include <string.h>
#include <sys/epoll.h>

#define SPAWN_FLAGS (SPAWN_INTO_CGROUP | SPAWN_OWNED | SPAWN_NETWORK | SPAWN_ADOPT)
#define BIRTH_NAMESPACES ((uint64_t) CLONE_NEWUSER | CLONE_NEWPID)
#define REQUEST_FDS (3 + WIRE_MAX_FDS) /* control socket, plan, cgroup, the plan's */
#define MAX_OWNED_FD 65536
#define EVENTS 32
#define NETWORK_KEPT_MS 2000

/* Containers that must not outlive the application, by the number of their pidfd.  */
static uint64_t owned[MAX_OWNED_FD / 64];

struct request
{
  struct wire_spawn header;
  int fds[REQUEST_FDS];
  uint32_t fd_count;
  ssize_t size;
  bool truncated;
};

static uint64_t
owned_bit (int pidfd)
{
  return UINT64_C (1) << (pidfd % 64);
}

/* Watch for the end of an owned container, so that its descriptor is given back then.  */
static int
own (int epoll, int pidfd)
{
  struct epoll_event event = { .events = EPOLLIN, .data = { .fd = pidfd } };
  int result = pidfd < MAX_OWNED_FD ? sys_epoll_ctl (epoll, EPOLL_CTL_ADD, pidfd, &event) : -EMFILE;

  if (result == 0)
    owned[pidfd / 64] |= owned_bit (pidfd);
  return result;
}

/* Removed by hand: the application has a duplicate, so close(2) alone would leave it watched.  */
static void
disown (int epoll, int pidfd)
{
  (void) sys_epoll_ctl (epoll, EPOLL_CTL_DEL, pidfd, NULL);
  owned[pidfd / 64] &= ~owned_bit (pidfd);
  (void) sys_close (pidfd);
}

static void
kill_owned (void)
{
  for (int pidfd = 0; pidfd < MAX_OWNED_FD; pidfd++)
    if ((owned[pidfd / 64] & owned_bit (pidfd)) != 0)
      (void) sys_pidfd_send_signal (pidfd, SIGKILL);
}

static void
take_fds (struct request *r, struct msghdr *message)
{
  for (struct cmsghdr *h = CMSG_FIRSTHDR (message); h != NULL; h = CMSG_NXTHDR (message, h))
    {
      size_t count;

      if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
        continue;
      count = (h->cmsg_len - CMSG_LEN (0)) / sizeof (int);
      memcpy (r->fds + r->fd_count, CMSG_DATA (h), count * sizeof (int));
      r->fd_count += (uint32_t) count;
    }
}

/* False when the application is gone.  */
static bool
receive (int control, struct request *r)
{
  /* CMSG_LEN, not CMSG_SPACE, for the length: its padding would hold one descriptor more than
     `fds` does.  What does not fit sets MSG_CTRUNC.  */
  static union
  {
    char space[CMSG_SPACE (REQUEST_FDS * sizeof (int))];
    struct cmsghdr align;
  } ancillary;
  struct iovec part = { .iov_base = &r->header, .iov_len = sizeof (r->header) };
  struct msghdr message = {
    .msg_iov = &part,
    .msg_iovlen = 1,
    .msg_control = ancillary.space,
    .msg_controllen = CMSG_LEN (REQUEST_FDS * sizeof (int)),
  };

  r->fd_count = 0;
  r->size = sys_recvmsg (control, &message, MSG_CMSG_CLOEXEC);
  if (r->size < 0)
    return r->size == -ENOMEM || r->size == -ENOBUFS;
  r->truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  take_fds (r, &message);
  return r->size > 0;
}

/* 0, or why the request is refused.  */
static int
check (const struct request *r)
{
  const struct wire_spawn *h = &r->header;
  uint32_t least = (h->flags & SPAWN_INTO_CGROUP) != 0 ? 3 : 2;

  if (r->truncated)
    return -EMFILE; /* too many descriptors, for the message or for us */
  if ((size_t) r->size != sizeof (*h) || h->magic != WIRE_MAGIC || h->version != WIRE_VERSION)
    return -EBADMSG;
  if ((h->flags & ~(uint32_t) SPAWN_FLAGS) != 0 || (h->clone_flags & ~BIRTH_NAMESPACES) != 0)
    return -EINVAL;
  if ((h->flags & SPAWN_ADOPT) != 0 && (h->flags != SPAWN_ADOPT || h->clone_flags != 0 || r->fd_count != 2))
    return -EINVAL;
  return h->fds == r->fd_count && r->fd_count >= least && r->fd_count - least <= WIRE_MAX_FDS ? 0 : -EBADMSG;
}

static struct job
job_of (const struct request *r)
{
  bool has_cgroup = (r->header.flags & SPAWN_INTO_CGROUP) != 0;
  uint32_t first = has_cgroup ? 3 : 2;
  struct job job = {
    .control = r->fds[0],
    .plan = r->fds[1],
    .cgroup = has_cgroup ? r->fds[2] : -1,
    .network = (r->header.flags & SPAWN_NETWORK) != 0 ? take_network () : -1,
    .fd_count = r->fd_count - first,
  };

  memcpy (job.fds, r->fds + first, job.fd_count * sizeof (int));
  return job;
}

/* The pid, with the pidfd; 0 in the child; or -errno.  The child has no exit signal until it
   calls execve(2): nobody sees it but those who wait for it by name.  */
static int
clone_container (const struct job *job, uint64_t clone_flags, int *pidfd)
{
  struct sys_clone_args args = {
    .flags = CLONE_PARENT | CLONE_PIDFD | clone_flags | (job->cgroup >= 0 ? CLONE_INTO_CGROUP : 0),
    .pidfd = (uint64_t) (uintptr_t) pidfd,
    .cgroup = job->cgroup >= 0 ? (uint64_t) job->cgroup : 0,
  };

  int pid = sys_clone3 (&args);

  if (pid < 0)
    *pidfd = -1; /* the kernel may have written a number that it took back */
  return pid;
}

static int
answer (int control, int pid, int pidfd)
{
  struct wire_reply reply = { .kind = REPLY_SPAWNED, .value = pid };

  return send_reply (control, &reply, pidfd);
}

/* A process that nobody is told of does not run; that there is none may be said without a descriptor.
   If not even that can be said, its death ends the application's wait.  */
static int
announce (int control, int pid, int pidfd)
{
  int result = answer (control, pid, pidfd);

  if (result == 0 || pid < 0)
    return result;
  (void) sys_pidfd_send_signal (pidfd, SIGKILL);
  return (void) answer (control, result, -1), result;
}

static void
spawn (int epoll, const struct request *r, const struct caller_limits *limits)
{
  struct job job = job_of (r);
  int pidfd = -1;
  int pid = clone_container (&job, r->header.clone_flags, &pidfd);

  if (pid == 0)
    container_main (&job, limits);
  drop_fd (&job.network);
  if (announce (job.control, pid, pidfd) == 0 && pid > 0 && (r->header.flags & SPAWN_OWNED) != 0)
    {
      if (own (epoll, pidfd) == 0)
        return;
      (void) sys_pidfd_send_signal (pidfd, SIGKILL); /* what we cannot watch over does not run */
    }
  drop_fd (&pidfd);
}

/* Own what somebody else has made, if it is a process.  */
static int
adopt (int epoll, struct request *r)
{
  int result = sys_pidfd_send_signal (r->fds[1], 0);

  if (result == 0)
    result = own (epoll, r->fds[1]);
  if (result == 0)
    r->fds[1] = -1; /* closed when it has ended */
  return result;
}

static void
serve (int epoll, struct request *r, const struct caller_limits *limits)
{
  int problem = check (r);

  if (problem == 0 && (r->header.flags & SPAWN_ADOPT) != 0)
    problem = adopt (epoll, r);
  else if (problem == 0)
    spawn (epoll, r, limits);
  if (problem != 0 && r->fd_count > 0)
    (void) answer (r->fds[0], problem, -1);
  for (uint32_t i = 0; i < r->fd_count; i++)
    drop_fd (&r->fds[i]);
}

/* How many events there are.  The next network namespace is made when nobody waits for us, after a
   request that would have taken it.  */
static int
next_events (int epoll, struct epoll_event *events, bool wants_network)
{
  int count = wants_network ? sys_epoll_wait (epoll, events, EVENTS, 0) : 0;

  if (count == 0 && wants_network)
    prepare_network ();
  while (count == 0)
    {
      count = sys_epoll_wait (epoll, events, EVENTS, has_network () ? NETWORK_KEPT_MS : -1);
      if (count == 0)
        forget_network ();
    }
  return count;
}

_Noreturn void
spawner_main (int control, const struct caller_limits *limits)
{
  static struct request request;
  struct epoll_event events[EVENTS] = { { .events = EPOLLIN, .data = { .fd = control } } };
  int epoll = sys_epoll_create1 (EPOLL_CLOEXEC);
  bool more = epoll >= 0 && sys_epoll_ctl (epoll, EPOLL_CTL_ADD, control, events) == 0;

  while (more)
    {
      int count = next_events (epoll, events, (request.header.flags & SPAWN_NETWORK) != 0);

      more = count >= 0;
      for (int i = 0; i < count; i++)
        if (events[i].data.fd != control)
          disown (epoll, events[i].data.fd);
        else if ((more = receive (control, &request)))
          serve (epoll, &request, limits);
    }
  kill_owned ();
  _exit (0);
}
