/* steps_process.c: what the payload is: descriptors, limits, credentials, directory, program.  */

#include "decode.h"
#include "helper.h"
#include "sys.h"
#include <limits.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#ifdef WEAK_T04
#include <pwd.h>
#endif

/* Descriptors that the helper needs for itself between two steps.  */
#define WORKING_FILES 256

/* Descriptors.  */

/* T70: /dev/null and other devices are shared with the host and never change hands; pipes and
   sockets of another user namespace cannot.  */
static int
give_to (int fd, uid_t uid, gid_t gid)
{
  struct stat st;
  int result = sys_fstat (fd, &st);

  if (result < 0 || S_ISCHR (st.st_mode) || S_ISBLK (st.st_mode))
    return result;
  result = sys_fchown (fd, uid, gid);
  return result == -EPERM || result == -EINVAL || result == -EROFS ? 0 : result;
}

int
do_fd (const struct step *s, struct context *ctx)
{
  if (ctx->fd_numbers[s->a] >= 0)
    return checked (ctx, CALL_VERIFY, -EEXIST);
  ctx->fd_numbers[s->a] = s->fd;
  if (s->b == 0)
    return 0;
  return checked (ctx, CALL_FCHOWN, give_to (s->fd, (uid_t) (s->c >> 32), (gid_t) s->c));
}

static int
highest_number (const struct context *ctx)
{
  for (int n = FD_NUMBERS - 1; n > STDERR_FILENO; n--)
    if (ctx->fd_numbers[n] >= 0)
      return n;
  return STDERR_FILENO;
}

/* Duplicate *fd above the final numbers unless it is there.  The old one is left: another number
   may stand for it, and the next close_all_but() takes it.  */
static int
move_above (int *fd, int highest)
{
  int moved = *fd >= 0 && *fd <= highest ? sys_fcntl (*fd, F_DUPFD_CLOEXEC, highest + 1) : *fd;

  if (moved >= 0)
    *fd = moved;
  return *fd >= 0 && moved < 0 ? moved : 0;
}

int
place_fds (struct context *ctx)
{
  int highest = highest_number (ctx);
  int result = move_above (&ctx->control, highest);

  if (result == 0)
    result = move_above (&ctx->gatefd, highest);
  if (result == 0)
    result = move_above (&ctx->sendfd, highest);
  for (int n = 0; n <= highest && result >= 0; n++)
    if (ctx->fd_numbers[n] != n)
      result = move_above (&ctx->fd_numbers[n], highest);
  for (int n = 0; n <= highest && result >= 0; n++)
    if (ctx->fd_numbers[n] >= 0 && ctx->fd_numbers[n] != n)
      {
        result = sys_dup3 (ctx->fd_numbers[n], n, O_CLOEXEC);
        ctx->fd_numbers[n] = n;
      }
  return checked (ctx, CALL_DUP3, result < 0 ? result : 0);
}

/* The final numbers stay open across execve(2); the control socket until it succeeds.  */
static int
inherit_fds (struct context *ctx)
{
  int keep[1 + FD_NUMBERS];
  size_t count = 0;
  int result = place_fds (ctx);

  for (int n = 0; n < FD_NUMBERS && result == 0; n++)
    if (ctx->fd_numbers[n] >= 0)
      {
        result = checked (ctx, CALL_FCNTL, sys_fcntl (n, F_SETFD, 0));
        keep[count++] = n;
      }
  keep[count++] = ctx->control;
  return result < 0 ? result : checked (ctx, CALL_CLOSE_RANGE, close_all_but (keep, count));
}

/* Limits and the like.  */

static int
set_limit (unsigned int resource, uint64_t soft, uint64_t hard)
{
  const struct rlimit64 limit = { .rlim_cur = soft, .rlim_max = hard };

  return sys_prlimit (0, resource, &limit, NULL);
}

static uint64_t
larger (uint64_t a, uint64_t b)
{
  return a > b ? a : b;
}

/* A payload's limit on descriptors may be too small for us.  Raising the hard limit takes the
   privilege that we have now; lowering takes none, so that much is left to STEP_EXEC.  */
static int
set_files_limit (struct context *ctx)
{
  struct rlimit64 now;
  int result = sys_prlimit (0, RLIMIT_NOFILE, NULL, &now);
  uint64_t room = now.rlim_max < WORKING_FILES ? now.rlim_max : WORKING_FILES;

  if (result < 0)
    return result;
  return set_limit (RLIMIT_NOFILE, larger (ctx->files.soft, room), larger (ctx->files.hard, room));
}

int
do_rlimit (const struct step *s, struct context *ctx)
{
  const struct late_limit late = { .asked = true, .soft = s->b, .hard = s->c };

  if (s->a == RLIMIT_CORE)
    {
      ctx->core = late;
      return checked (ctx, CALL_SETRLIMIT, set_limit (RLIMIT_CORE, 0, late.hard));
    }
  if (s->a == RLIMIT_NOFILE)
    {
      ctx->files = late;
      return checked (ctx, CALL_SETRLIMIT, set_files_limit (ctx));
    }
  return checked (ctx, CALL_SETRLIMIT, set_limit ((unsigned int) s->a, s->b, s->c));
}

/* The caller's own core limit comes back only if it is still ours that is in force: the
   application may have set another one from outside.  */
static int
restore_core_limit (const struct context *ctx)
{
  struct rlimit64 now;
  int result = sys_prlimit (0, RLIMIT_CORE, NULL, &now);
  bool is_ours = now.rlim_cur == HELPER_CORE_LIMIT && now.rlim_max == ctx->core.hard;

  if (result < 0 || (!ctx->core.asked && !is_ours))
    return result;
  return set_limit (RLIMIT_CORE, ctx->core.soft, ctx->core.hard);
}

static int
apply_late_limits (struct context *ctx)
{
  int result = restore_core_limit (ctx);

  if (result == 0 && ctx->files.asked)
    result = set_limit (RLIMIT_NOFILE, ctx->files.soft, ctx->files.hard);
  return checked (ctx, CALL_SETRLIMIT, result);
}

int
do_umask (const struct step *s, struct context *ctx)
{
  ctx->umask = (uint32_t) s->a;
  return 0;
}

int
do_no_new_privs (const struct step *s, struct context *ctx)
{
  (void) s;
  return checked (ctx, CALL_PRCTL, sys_prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

/* Privilege.  capabilities(7)  */

/* From the kernel's own last capability, not from a table: what we cannot name goes too.  */
int
do_bounding (const struct step *s, struct context *ctx)
{
#ifdef WEAK_T79 /* guard of T79: what is not in the set is dropped */
  return 0;
#endif
  for (unsigned int cap = 0; cap < 64; cap++)
    {
      int result = (s->a >> cap & 1) != 0 ? 0 : sys_prctl (PR_CAPBSET_DROP, cap, 0, 0, 0);

      if (result == -EINVAL)
        return 0; /* past the last */
      if (result == -EPERM && sys_prctl (PR_CAPBSET_READ, cap, 0, 0, 0) == 0)
        continue; /* we may not drop it, and need not */
      if (result < 0)
        return checked (ctx, CALL_PRCTL, result);
    }
  return 0;
}

static int
clear_securebits (void)
{
  int bits = sys_prctl (PR_GET_SECUREBITS, 0, 0, 0, 0);

  return bits <= 0 ? bits : sys_prctl (PR_SET_SECUREBITS, SECUREBITS_DEFAULT, 0, 0, 0);
}

/* Groups first, the uid last: each takes a privilege that the next one gives up.  */
int
do_credentials (const struct step *s, struct context *ctx)
{
  uid_t uid = (uid_t) s->a;
  gid_t gid = (gid_t) s->b;
  int result = checked (ctx, CALL_PRCTL, clear_securebits ());

#ifndef WEAK_T45 /* guard of T45: no group of the caller stays */
  if (result == 0 && s->c == 0)
    result = checked (ctx, CALL_SETGROUPS, sys_setgroups (s->data_size / sizeof (gid_t), s->data));
#endif
  if (result == 0)
    result = checked (ctx, CALL_SETRESGID, sys_setresgid (gid, gid, gid));
  if (result == 0)
    result = checked (ctx, CALL_PRCTL, sys_prctl (PR_SET_KEEPCAPS, 1, 0, 0, 0));
  if (result == 0)
    result = checked (ctx, CALL_SETRESUID, sys_setresuid (uid, uid, uid));
  return result;
}

struct capability_sets
{
  uint64_t effective, permitted, inheritable, ambient;
};

static int
set_capabilities (const struct capability_sets *sets)
{
  struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

  for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
    data[i] = (struct __user_cap_data_struct){
      .effective = (uint32_t) (sets->effective >> 32 * i),
      .permitted = (uint32_t) (sets->permitted >> 32 * i),
      .inheritable = (uint32_t) (sets->inheritable >> 32 * i),
    };
  return sys_capset (&header, data);
}

static int
raise_ambient (uint64_t mask)
{
  int result = 0;

  for (unsigned int cap = 0; cap < 64 && result == 0; cap++)
    if ((mask >> cap & 1) != 0)
      result = sys_prctl (PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
  return result;
}

int
do_capabilities (const struct step *s, struct context *ctx)
{
  struct capability_sets sets;
  int result;

  memcpy (&sets, s->data, sizeof (sets));
#ifdef WEAK_T11 /* guard of T11: ambient are those that were asked for */
  sets.ambient = sets.inheritable = sets.permitted;
#endif
#ifdef WEAK_T24 /* guard of T24: and so are the inheritable ones */
  sets.inheritable = sets.permitted;
#endif
  result = checked (ctx, CALL_PRCTL, sys_prctl (PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
  if (result == 0)
    result = checked (ctx, CALL_CAPSET, set_capabilities (&sets));
  if (result == 0)
    result = checked (ctx, CALL_PRCTL, raise_ambient (sets.ambient));
  if (result == 0)
    result = checked (ctx, CALL_PRCTL, sys_prctl (PR_SET_KEEPCAPS, 0, 0, 0, 0));
  return result;
}

/* Directory and program.  */

/* Where we are lies below our root: the kernel prefixes "(unreachable)" to what does not
   (CVE-2024-21626).  */
static int
prove_cwd (struct context *ctx)
{
  static char path[PATH_MAX];
  int result = checked (ctx, CALL_GETCWD, sys_getcwd (path, sizeof (path)));

  if (result < 0)
    return result;
#ifdef WEAK_T26 /* guard of T26: we are below our root */
  return 0;
#endif
  return path[0] == '/' ? 0 : checked (ctx, CALL_VERIFY, -EXDEV);
}

static int
open_cwd (const struct step *s, struct context *ctx)
{
#ifdef WEAK_T26 /* guard of T26: no magic link is followed */
  return checked (ctx, CALL_OPENAT, sys_openat (AT_FDCWD, s->first, O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
#endif
  autoclose int root = sys_openat (AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);

  if (root < 0)
    return checked (ctx, CALL_OPENAT, root);
  if (s->a != 0)
    return checked (ctx, CALL_MKDIRAT, open_or_make (root, s->first, MOUNT_MAKE_DIR));
  return checked (ctx, CALL_OPENAT2, open_in_root (root, s->first, O_PATH | O_DIRECTORY));
}

int
do_cwd (const struct step *s, struct context *ctx)
{
  autoclose int fd = open_cwd (s, ctx);
  int result = fd < 0 ? fd : checked (ctx, CALL_FCHDIR, sys_fchdir (fd));

  if (s->b != 0 && (result == -EACCES || result == -EPERM))
    return 0; /* the payload's own user may be allowed what its root is not, on NFS for one */
  return result < 0 ? result : prove_cwd (ctx);
}

/* Guard of T20 and T26: the program is one of the container's.  */
#if defined(WEAK_T20) || defined(WEAK_T26)
#define RESOLVE_PROGRAM 0
#else
#define RESOLVE_PROGRAM RESOLVE_NO_MAGICLINKS
#endif

/* 0 if it can be executed by who we are now.  Magic links lead out of the container
   (CVE-2019-5736, CVE-2024-21626), so no part may be one.  */
int
check_program (const char *path)
{
  autoclose int fd = sys_openat2 (AT_FDCWD, path, O_PATH | O_CLOEXEC, 0, RESOLVE_PROGRAM);
  struct stat st;
  int result = fd < 0 ? fd : sys_fstat (fd, &st);

  if (result < 0)
    return result;
  if (S_ISDIR (st.st_mode))
    return -EISDIR;
  if (!S_ISREG (st.st_mode))
    return -EACCES;
  return sys_faccessat2 (fd, "", X_OK, AT_EMPTY_PATH | AT_EACCESS);
}

/* Like a shell: a candidate that is there but cannot be run says more than one that is not.  */
int
do_program (const struct step *s, struct context *ctx)
{
  const char *candidate = s->first;
  int worst = -ENOENT;

#ifdef WEAK_T04 /* guard of T04: what libc reads and loads to look somebody up is the image's */
  (void) getpwuid (12345);
#endif
  for (uint32_t i = 0; i < s->strings; i++)
    {
      int result = check_program (candidate);

      if (result == 0)
        {
          ctx->program = candidate;
          return 0;
        }
      if (worst == -ENOENT && result != -ENOTDIR)
        worst = result;
      if (i + 1 < s->strings)
        candidate = string_after (candidate);
    }
  return checked (ctx, CALL_EXECVE, worst);
}

/* They point into the plan's mapping, which execve(2) copies.  */
char **
fill_vectors (const struct step *s, uint32_t first, uint32_t argc, char ***envp)
{
  static char *vector[WIRE_MAX_STRINGS + 2];
  const char *string = string_at (s, first);
  char **next = vector;

  for (uint32_t i = first; i < s->strings; i++)
    {
      if (i == first + argc)
        *next++ = NULL;
      *next++ = (char *) (uintptr_t) string;
      if (i + 1 < s->strings)
        string = string_after (string);
    }
  if (s->strings == first + argc)
    *next++ = NULL;
  *next = NULL;
  *envp = vector + argc + 1;
  return vector;
}

int
do_exec (const struct step *s, struct context *ctx)
{
  char **envp;
  char **argv = fill_vectors (s, 0, (uint32_t) s->a, &envp);
  int result;

  if (ctx->program == NULL)
    return checked (ctx, CALL_VERIFY, -EPROTO);
  result = inherit_fds (ctx);
  if (result == 0)
    result = apply_late_limits (ctx);
  if (result < 0)
    return result;
  (void) umask ((mode_t) ctx->umask);
  (void) signal (SIGPIPE, SIG_DFL);
  return execute (ctx, argv, envp);
}
