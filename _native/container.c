/* container.c: the container process, from its first instruction to its last step.

   It keeps only what its job names, checks the whole plan, and then does the steps in order.
   The dialogue with the application is a few steps among them.  Whatever fails ends it: one
   REPLY_FAILED with step, errno and call, and _exit(2).  */

#include "decode.h"
#include "helper.h"
#include "sys.h"
#include <string.h>
#include <sys/mman.h>

#define PLAN_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define FAILURE 1
#define NO_STEP UINT32_MAX
#define DEFAULT_UMASK 022
#define PROC_ROOT_INO 1

static struct context context;
static struct job plan_job;          /* the descriptors that steps name by index */
static struct plan_reader plan_rest; /* stands behind the step that runs */

static _Noreturn void
fail (const struct context *ctx, uint32_t step, int result)
{
  struct wire_reply reply = {
    .kind = REPLY_FAILED,
    .step = step,
    .error = -result,
    .call = ctx->call,
    .value = ctx->value,
  };

  (void) send_text (ctx->control, &reply, ctx->text, ctx->text_size);
  _exit (FAILURE);
}

/* Credentials and namespaces give dumpability back when they change (commit_creds() in the
   kernel); nobody attaches to us before the payload runs.  */
static void
stay_undumpable (void)
{
#ifndef WEAK_T12 /* guard of T12 */
  (void) sys_prctl (PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

/* Dialogue.  */

/* PROCEED, or our end: without the application nobody would ever want us.  */
static int
wait_for_proceed (const struct context *ctx)
{
  struct wire_order order;
  char message[sizeof (order) + 1];
  ssize_t n = sys_read (ctx->control, message, sizeof (message));

  if (n <= 0)
    return -ECONNRESET;
  memcpy (&order, message, sizeof (order));
  return n == sizeof (order) && order.magic == WIRE_MAGIC && order.verb == WIRE_PROCEED ? 0 : -EPROTO;
}

static int
say_paused (const struct step *s, struct context *ctx)
{
  struct wire_reply reply = { .kind = REPLY_PAUSED, .step = s->index };
  int result = send_reply (ctx->control, &reply, ctx->sendfd);

  drop_fd (&ctx->sendfd);
  return result;
}

static bool
is_named_later (int32_t index)
{
  struct plan_reader rest = plan_rest;
  struct step s;

  while (plan_next (&rest, &s))
    if (s.fd == index && s.op != STEP_GATE) /* ctx->gatefd is that one, and may have moved */
      return true;
  return false;
}

static void
drop_host_fds (struct context *ctx)
{
  drop_fd (&ctx->hostprocfd);
  drop_fd (&ctx->nsdirfd);
  drop_fd (&ctx->networkfd);
}

/* Close whatever no later step asks for.  */
static int
shed_fds (struct context *ctx)
{
  int keep[CONTROL_FD + 8 + FD_NUMBERS + WIRE_MAX_FDS];
  size_t count = 0;

  for (int fd = 0; fd < CONTROL_FD; fd++)
    keep[count++] = fd;
  for (uint32_t i = 0; i < plan_job.fd_count; i++)
    if (is_named_later ((int32_t) i))
      keep[count++] = plan_job.fds[i];
  for (uint32_t i = 0; i < FD_NUMBERS; i++)
    keep[count++] = ctx->fd_numbers[i];
  keep[count++] = ctx->control;
  keep[count++] = ctx->gatefd;
  keep[count++] = ctx->rootfd;
  keep[count++] = ctx->procfd;
  keep[count++] = ctx->nullfd;
  keep[count++] = ctx->masktreefd;
  keep[count++] = ctx->sysctlfd;
  keep[count++] = ctx->sendfd;
  return checked (ctx, CALL_CLOSE_RANGE, close_all_but (keep, count));
}

/* "created": others will look at us for as long as they like, and see the payload's own
   descriptors under their final numbers, the dialogue, and nothing else.  */
static int
settle_created (struct context *ctx)
{
  int result;

  drop_host_fds (ctx); /* before the final numbers, which may be theirs */
  drop_fd (&ctx->rootfd);
  drop_fd (&ctx->procfd);
  drop_fd (&ctx->nullfd);
  drop_fd (&ctx->masktreefd);
  drop_fd (&ctx->sysctlfd);
  result = place_fds (ctx);
  return result < 0 ? result : shed_fds (ctx);
}

int
meet (const struct step *s, struct context *ctx)
{
  int result = checked (ctx, CALL_SENDMSG, say_paused (s, ctx));

  return result < 0 ? result : checked (ctx, CALL_READ, wait_for_proceed (ctx));
}

int
do_pause (const struct step *s, struct context *ctx)
{
  int result = s->a == PAUSE_CREATED || s->a == PAUSE_READY ? settle_created (ctx) : 0;

  if (result < 0)
    return result;
  if (s->b != 0)
    (void) sys_prctl (PR_SET_DUMPABLE, 1, 0, 0, 0); /* user_namespaces(7): who may write the maps */
  result = meet (s, ctx);
  stay_undumpable ();
  return result;
}

/* The next peer of the right user; others are turned away.  In a user namespace a user without
   a mapping shows as the overflow uid, which is then the expected one.  */
static int
accept_peer (int gate, uid_t uid)
{
  for (;;)
    {
      struct ucred peer = { .uid = (uid_t) -1 };
      socklen_t size = sizeof (peer);
      autoclose int fd = sys_accept4 (gate, SOCK_CLOEXEC);

      if (fd == -ECONNABORTED || fd == -EINTR)
        continue;
      if (fd < 0)
        return fd;
      if (sys_getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == uid)
        return take_fd (&fd);
    }
}

/* A peer that leaves without a word has not started us: the gate stays open for the next.  */
int
do_gate (const struct step *s, struct context *ctx)
{
  int result;

  do
    {
      drop_fd (&ctx->control);
      ctx->control = accept_peer (ctx->gatefd, (uid_t) s->a);
      if (ctx->control < 0)
        return checked (ctx, CALL_ACCEPT4, ctx->control);
      result = say_paused (s, ctx);
      if (result == 0)
        result = wait_for_proceed (ctx);
    }
  while (result < 0);
  drop_fd (&ctx->gatefd);
  return 0;
}

int
do_fork (const struct step *s, struct context *ctx)
{
  struct wire_reply reply = { .kind = REPLY_SPAWNED, .step = s->index };
  int pidfd = -1;
  struct sys_clone_args args = {
    .flags = CLONE_PARENT | CLONE_PIDFD | s->a,
    .pidfd = (uint64_t) (uintptr_t) &pidfd,
  };
  int result;

  drop_host_fds (ctx); /* from here on the processes of the container can see us */
  result = shed_fds (ctx);
  if (result < 0)
    return result;
  reply.value = sys_clone3 (&args);
  if (reply.value <= 0)
    return checked (ctx, CALL_CLONE3, (int) reply.value); /* the sibling goes on */
  if (send_reply (ctx->control, &reply, pidfd) < 0)
    (void) sys_pidfd_send_signal (pidfd, SIGKILL);
  _exit (0);
}

/* Running the plan.  */

/* One executor per opcode of wire.h: with no `default`, -Wswitch refuses a forgotten one.  */
static int
run_step (const struct step *s, struct context *ctx)
{
  switch ((enum wire_op) s->op)
    {
    case STEP_PAUSE: return do_pause (s, ctx);
    case STEP_GATE: return do_gate (s, ctx);
    case STEP_FORK: return do_fork (s, ctx);
    case STEP_JOIN_CGROUP: return do_join_cgroup (s, ctx);
    case STEP_JOIN_NS: return do_join_ns (s, ctx);
    case STEP_VERIFY_NS: return do_verify_ns (s, ctx);
    case STEP_UNSHARE: return do_unshare (s, ctx);
    case STEP_TIME_NS: return do_time_ns (s, ctx);
    case STEP_NS_ROOT: return do_ns_root (s, ctx);
    case STEP_OOM_SCORE: return do_oom_score (s, ctx);
    case STEP_LOOPBACK: return do_loopback (s, ctx);
    case STEP_HOSTNAME: return do_hostname (s, ctx);
    case STEP_DOMAINNAME: return do_domainname (s, ctx);
    case STEP_SETSID: return do_setsid (s, ctx);
    case STEP_KEYRING: return do_keyring (s, ctx);
    case STEP_RESET: return do_reset (s, ctx);
    case STEP_SYSCTL: return do_sysctl (s, ctx);
    case STEP_PROPAGATION: return do_propagation (s, ctx);
    case STEP_PROCFS: return do_procfs (s, ctx);
    case STEP_ROOTFS: return do_rootfs (s, ctx);
    case STEP_MOUNT: return do_mount (s, ctx);
    case STEP_BIND: return do_bind (s, ctx);
    case STEP_SETATTR: return do_setattr (s, ctx);
    case STEP_DEVICE: return do_device (s, ctx);
    case STEP_SYMLINK: return do_symlink (s, ctx);
    case STEP_MASK: return do_mask (s, ctx);
    case STEP_READONLY: return do_readonly (s, ctx);
    case STEP_PIVOT: return do_pivot (s, ctx);
    case STEP_VERIFY_MOUNTS: return do_verify_mounts (s, ctx);
    case STEP_CONSOLE: return do_console (s, ctx);
    case STEP_FD: return do_fd (s, ctx);
    case STEP_RLIMIT: return do_rlimit (s, ctx);
    case STEP_UMASK: return do_umask (s, ctx);
    case STEP_BOUNDING: return do_bounding (s, ctx);
    case STEP_CREDENTIALS: return do_credentials (s, ctx);
    case STEP_CAPABILITIES: return do_capabilities (s, ctx);
    case STEP_CWD: return do_cwd (s, ctx);
    case STEP_NO_NEW_PRIVS: return do_no_new_privs (s, ctx);
    case STEP_PROGRAM: return do_program (s, ctx);
    case STEP_EXEC: return do_exec (s, ctx);
    case STEP_SECCOMP: return do_seccomp (s, ctx);
    case STEP_HOOK: return do_hook (s, ctx);
    case STEP_AFFINITY: return do_affinity (s, ctx);
    case STEP_SCHEDULER: return do_scheduler (s, ctx);
    case STEP_IO_PRIORITY: return do_io_priority (s, ctx);
    case STEP_MEMORY_POLICY: return do_memory_policy (s, ctx);
    case STEP_PERSONALITY: return do_personality (s, ctx);
    case STEP_LABEL: return do_label (s, ctx);
    case STEP_FILE_LABEL: return do_file_label (s, ctx);
    }
  return -EPROTO; /* decode.c has already refused it */
}

/* Whether the kernel may have made us dumpable again: it does so where credentials change, if
   fs.suid_dumpable says so.  proc_sys_fs(5)  */
static bool
changes_credentials (uint32_t op)
{
  switch (op)
    {
    case STEP_FORK:
    case STEP_JOIN_NS:
    case STEP_UNSHARE:
    case STEP_TIME_NS:
    case STEP_NS_ROOT:
    case STEP_CREDENTIALS:
    case STEP_CAPABILITIES:
      return true;
    default:
      return false;
    }
}

static _Noreturn void
run_plan (struct context *ctx)
{
  struct step s;

  while (plan_next (&plan_rest, &s))
    {
      int result;

      if (s.fd >= 0)
        s.fd = plan_job.fds[s.fd];
      if (s.op != STEP_SYSCTL)
        drop_fd (&ctx->sysctlfd);
      ctx->call = CALL_NONE;
      result = run_step (&s, ctx);
      if (result < 0)
        fail (ctx, s.index, result);
      if (changes_credentials (s.op))
        stay_undumpable ();
    }
  fail (ctx, NO_STEP, -EPROTO); /* STEP_EXEC is last and does not return */
}

/* Coming to life.  */

/* The sealed plan, mapped and checked; or fail().  */
static const void *
map_plan (struct context *ctx, uint32_t fds)
{
  int seals = sys_fcntl (plan_job.plan, F_GET_SEALS, 0);
  uint32_t step = NO_STEP;
  struct stat st;
  void *plan;
  int result;

  ctx->call = CALL_DECODE;
  if (seals < 0 || (seals & PLAN_SEALS) != PLAN_SEALS || sys_fstat (plan_job.plan, &st) < 0 || st.st_size <= 0
      || st.st_size > WIRE_MAX_PLAN)
    fail (ctx, NO_STEP, -EBADMSG);
  plan = mmap (NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, plan_job.plan, 0);
  if (plan == MAP_FAILED)
    {
      ctx->call = CALL_MMAP;
      fail (ctx, NO_STEP, -errno);
    }
  result = plan_check (plan, (size_t) st.st_size, fds, &step);
  if (result < 0)
    fail (ctx, step, result);
  return plan;
}

/* The procfs that we see at birth, if it is one: the caller's mount namespace is trusted, what
   comes later is not.  */
static void
open_host_proc (struct context *ctx)
{
  struct statfs fs;
  struct stat st;

  ctx->hostprocfd = sys_openat (AT_FDCWD, "/proc", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (ctx->hostprocfd < 0 || sys_fstatfs (ctx->hostprocfd, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC
      || sys_fstat (ctx->hostprocfd, &st) < 0 || st.st_ino != PROC_ROOT_INO)
    drop_fd (&ctx->hostprocfd);
  else
    ctx->nsdirfd = sys_openat (ctx->hostprocfd, "self/ns", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

static void
init_context (struct context *ctx, const struct caller_limits *limits)
{
  ctx->control = plan_job.control;
  ctx->rootfd = ctx->procfd = ctx->hostprocfd = ctx->nsdirfd = ctx->sysctlfd = -1;
  ctx->nullfd = ctx->masktreefd = ctx->sendfd = ctx->gatefd = -1;
  ctx->networkfd = plan_job.network;
  for (uint32_t i = 0; i < FD_NUMBERS; i++)
    ctx->fd_numbers[i] = -1;
  ctx->umask = DEFAULT_UMASK;
  ctx->core = (struct late_limit){ .soft = limits->core.rlim_cur, .hard = limits->core.rlim_max };
}

/* Let go of the spawner's descriptors, other containers' among them.  */
static int
keep_own_fds (void)
{
  int keep[CONTROL_FD + 3 + WIRE_MAX_FDS];
  size_t count = 0;

  for (int fd = 0; fd < CONTROL_FD; fd++)
    keep[count++] = fd;
  keep[count++] = plan_job.control;
  keep[count++] = plan_job.plan;
  keep[count++] = plan_job.network;
  for (uint32_t i = 0; i < plan_job.fd_count; i++)
    keep[count++] = plan_job.fds[i];
  return close_all_but (keep, count);
}

static int
find_gate (void)
{
  struct plan_reader reader = plan_rest;
  struct step s;

  while (plan_next (&reader, &s))
    if (s.op == STEP_GATE)
      return plan_job.fds[s.fd];
  return -1;
}

_Noreturn void
container_main (const struct job *job, const struct caller_limits *limits)
{
  struct context *ctx = &context;
  int result;

  plan_job = *job;
  init_context (ctx, limits);
  result = checked (ctx, CALL_CLOSE_RANGE, keep_own_fds ());
  if (result == 0)
    result = checked (ctx, CALL_SETRLIMIT, sys_prlimit (0, RLIMIT_NOFILE, &limits->files, NULL));
  if (result < 0)
    fail (ctx, NO_STEP, result);
  plan_open (&plan_rest, map_plan (ctx, plan_job.fd_count));
  drop_fd (&plan_job.plan);
  ctx->gatefd = find_gate ();
  open_host_proc (ctx);
  run_plan (ctx);
}
