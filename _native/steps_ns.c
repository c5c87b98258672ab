/* steps_ns.c: placement, namespaces, and what is set once per namespace.  */

#include "helper.h"
#include "sys.h"
#include <linux/keyctl.h>
#include <net/if.h>
#include <string.h>

/* keyctl(2) KEYCTL_SETPERM: search right for the owner, for others.  */
#define KEY_USR_SEARCH 0x00080000U
#define KEY_OTH_SEARCH 0x00000008U

int
write_value (int fd, const char *text)
{
  size_t size = strlen (text);
  ssize_t n = sys_write (fd, text, size);

  return n < 0 ? (int) n : (size_t) n == size ? 0 : -EIO;
}

int
open_proc (int procfd, const char *path, uint64_t flags, uint64_t resolve)
{
  autoclose int fd = sys_openat2 (procfd, path, flags | O_CLOEXEC, 0, resolve);
  struct statfs fs;
  int result = fd < 0 ? fd : sys_fstatfs (fd, &fs);

  if (result < 0)
    return result;
  return fs.f_type == PROC_SUPER_MAGIC ? take_fd (&fd) : -EXDEV;
}

/* Write one of our own procfs files.  While we are not dumpable they belong to the host's root;
   so whoever is not that becomes dumpable for the two calls: only before the first join and the
   first look at the root file system, when nobody of the container can be near.  */
static int
write_own_proc (struct context *ctx, const char *path, const char *text)
{
  int procfd = ctx->hostprocfd >= 0 ? ctx->hostprocfd : ctx->procfd;
  autoclose int fd = open_proc (procfd, path, O_WRONLY, OWN_PROC);

  if (fd == -EACCES && ctx->rootfd < 0 && !ctx->joined)
    {
      (void) sys_prctl (PR_SET_DUMPABLE, 1, 0, 0, 0);
      fd = open_proc (procfd, path, O_WRONLY, OWN_PROC);
      (void) sys_prctl (PR_SET_DUMPABLE, 0, 0, 0, 0);
    }
  if (fd < 0)
    return checked (ctx, CALL_OPENAT2, fd);
  return checked (ctx, CALL_WRITE, write_value (fd, text));
}

int
do_join_cgroup (const struct step *s, struct context *ctx)
{
  return checked (ctx, CALL_WRITE, write_value (s->fd, "0"));
}

int
do_join_ns (const struct step *s, struct context *ctx)
{
  ctx->joined = true;
  return checked (ctx, CALL_SETNS, sys_setns (s->fd, (int) s->a));
}

/* Enter the network namespace that was made beforehand, and take that flag off.  */
static int
enter_prepared (struct context *ctx, uint64_t *flags)
{
  int result = checked (ctx, CALL_SETNS, sys_setns (ctx->networkfd, CLONE_NEWNET));

  drop_fd (&ctx->networkfd);
  *flags &= ~(uint64_t) CLONE_NEWNET;
  return result;
}

int
do_unshare (const struct step *s, struct context *ctx)
{
  uint64_t flags = s->a;
  int result = 0;

  if ((flags & CLONE_NEWNET) != 0 && ctx->networkfd >= 0)
    result = enter_prepared (ctx, &flags);
  if (result == 0 && flags != 0)
    result = checked (ctx, CALL_UNSHARE, sys_unshare (flags));
  return result;
}

/* What a flag is called in /proc/self/ns.  The pid namespace is the one of our children: setns(2)
   and unshare(2) never change the caller's own.  */
static const char *
ns_name (uint64_t flag)
{
  switch (flag)
    {
    case CLONE_NEWNS: return "mnt";
    case CLONE_NEWCGROUP: return "cgroup";
    case CLONE_NEWUTS: return "uts";
    case CLONE_NEWIPC: return "ipc";
    case CLONE_NEWUSER: return "user";
    case CLONE_NEWPID: return "pid_for_children";
    case CLONE_NEWNET: return "net";
    case CLONE_NEWTIME: return "time";
    default: return "";
    }
}

/* The inode number in "net:[4026531840]".  namespaces(7)  */
static int
ns_inode (int nsdirfd, const char *name, uint64_t *inode)
{
  char text[64];
  int length = sys_readlinkat (nsdirfd, name, text, sizeof (text));
  int i = 0;

  if (length < 0)
    return length;
  while (i < length && text[i] != '[')
    i++;
  *inode = 0;
  for (i++; i < length && text[i] >= '0' && text[i] <= '9'; i++)
    *inode = *inode * 10 + (uint64_t) (text[i] - '0');
  return i < length && text[i] == ']' ? 0 : -EBADMSG;
}

int
do_verify_ns (const struct step *s, struct context *ctx)
{
  uint64_t inode = 0;
  int result = checked (ctx, CALL_READLINKAT, ns_inode (ctx->nsdirfd, ns_name (s->a), &inode));

  if (result < 0)
    return result;
  return inode == s->b ? 0 : checked (ctx, CALL_VERIFY, -EXDEV);
}

static int
enter_time_ns (struct context *ctx)
{
  autoclose int fd = sys_openat (ctx->nsdirfd, "time_for_children", O_RDONLY | O_CLOEXEC, 0);
  uint64_t ours = 0, children = 1;
  int result;

  if (fd < 0)
    return checked (ctx, CALL_OPENAT, fd);
  result = checked (ctx, CALL_SETNS, sys_setns (fd, CLONE_NEWTIME));
  if (result < 0)
    return result;
  if (ns_inode (ctx->nsdirfd, "time", &ours) < 0
      || ns_inode (ctx->nsdirfd, "time_for_children", &children) < 0 || ours != children)
    return checked (ctx, CALL_VERIFY, -EXDEV);
  return 0;
}

/* time_namespaces(7): unshare(2) moves only our children, and the offsets can be written only
   until the first process is inside.  */
int
do_time_ns (const struct step *s, struct context *ctx)
{
  int result = checked (ctx, CALL_UNSHARE, sys_unshare (CLONE_NEWTIME));

  if (result == 0 && s->first[0] != '\0')
    result = write_own_proc (ctx, "self/timens_offsets", s->first);
  return result < 0 ? result : enter_time_ns (ctx);
}

int
do_ns_root (const struct step *s, struct context *ctx)
{
  int result = s->a != 0 ? checked (ctx, CALL_SETGROUPS, sys_setgroups (0, NULL)) : 0;

  ctx->in_userns = true;
  if (result == 0)
    result = checked (ctx, CALL_SETRESGID, sys_setresgid (0, 0, 0));
  if (result == 0)
    result = checked (ctx, CALL_SETRESUID, sys_setresuid (0, 0, 0));
  return result;
}

int
do_oom_score (const struct step *s, struct context *ctx)
{
  int64_t score = (int64_t) s->a; /* decode.c: -1000 to 1000 */
  uint64_t rest = (uint64_t) (score < 0 ? -score : score);
  char text[8] = { 0 };
  size_t at = sizeof (text) - 1;

  do
    text[--at] = (char) ('0' + rest % 10);
  while ((rest /= 10) > 0);
  if (score < 0)
    text[--at] = '-';
  return write_own_proc (ctx, "self/oom_score_adj", text + at);
}

/* netdevice(7).  Any socket reaches the interfaces of its network namespace; a unix one is there
   even in a kernel without IPv4.  */
int
raise_loopback (uint32_t *call)
{
  autoclose int fd = sys_socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  struct ifreq request = { .ifr_name = "lo" };
  int result;

  *call = CALL_SOCKET;
  if (fd < 0)
    return fd;
  *call = CALL_IOCTL;
  result = sys_ioctl (fd, SIOCGIFFLAGS, &request);
  if (result < 0 || (request.ifr_flags & IFF_UP) != 0)
    return result;
  request.ifr_flags = (short) (request.ifr_flags | IFF_UP);
  return sys_ioctl (fd, SIOCSIFFLAGS, &request);
}

int
do_loopback (const struct step *s, struct context *ctx)
{
  (void) s;
  return raise_loopback (&ctx->call);
}

int
do_hostname (const struct step *s, struct context *ctx)
{
  return checked (ctx, CALL_SETHOSTNAME, sys_sethostname (s->first, strlen (s->first)));
}

int
do_domainname (const struct step *s, struct context *ctx)
{
  return checked (ctx, CALL_SETDOMAINNAME, sys_setdomainname (s->first, strlen (s->first)));
}

int
do_setsid (const struct step *s, struct context *ctx)
{
  int result;

  (void) s;
#ifdef WEAK_T13 /* guard of T13: no terminal of the caller's session */
  return 0;
#endif
  result = checked (ctx, CALL_SETSID, sys_setsid ());
  return result < 0 ? result : 0;
}

/* The permission word of KEYCTL_DESCRIBE's "type;uid;gid;perm;description", perm in hex.  */
static bool
parse_key_permissions (const char *text, uint32_t *permissions)
{
  for (int fields = 0; fields < 3; fields++)
    {
      text = strchr (text, ';');
      if (text == NULL)
        return false;
      text++;
    }
  *permissions = 0;
  for (; *text != ';'; text++)
    {
      const char *digits = "0123456789abcdef";
      const char *digit = *text != '\0' ? strchr (digits, *text) : NULL;

      if (digit == NULL)
        return false;
      *permissions = *permissions << 4 | (uint32_t) (digit - digits);
    }
  return true;
}

/* A fresh ring can be searched by its possessor only; a later exec, or a payload of another uid,
   possesses it by joining under the search right.  */
static long
allow_search (long ring, uint32_t right)
{
  char text[512] = { 0 }; /* an id has up to 255 characters */
  uint32_t permissions;
  long result = sys_keyctl (KEYCTL_DESCRIBE, (unsigned long) ring, (unsigned long) (uintptr_t) text,
                            sizeof (text) - 1, 0);

  if (result < 0)
    return result;
  if (!parse_key_permissions (text, &permissions))
    return -EBADMSG;
  return sys_keyctl (KEYCTL_SETPERM, (unsigned long) ring, permissions | right, 0, 0);
}

/* keyrings(7).  A kernel without keys has none to leak.  */
int
do_keyring (const struct step *s, struct context *ctx)
{
  long result = sys_keyctl (KEYCTL_JOIN_SESSION_KEYRING, (unsigned long) (uintptr_t) s->first, 0, 0, 0);

  if (result == -ENOSYS)
    return 0;
  if (result > 0)
    result = allow_search (result, ctx->in_userns ? KEY_OTH_SEARCH : KEY_USR_SEARCH);
  return checked (ctx, CALL_KEYCTL, result < 0 ? (int) result : 0);
}

/* A procfs instance with the sysctls: a fresh one, or, where the kernel would let it reveal too
   much (a user namespace behind masks), the one that we started under.  Which of the sysctls one
   sees depends on the caller's namespaces, not on the instance.  */
static int
open_sysctls (struct context *ctx)
{
  autoclose int fs = sys_fsopen ("proc", FSOPEN_CLOEXEC);
  int result = fs < 0 ? fs : sys_fsconfig (fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);

  if (result >= 0)
    result = sys_fsmount (fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (result == -EPERM && ctx->hostprocfd >= 0)
    result = sys_fcntl (ctx->hostprocfd, F_DUPFD_CLOEXEC, 0);
  return checked (ctx, CALL_FSMOUNT, result);
}

int
do_sysctl (const struct step *s, struct context *ctx)
{
  autoclose int sys = -1;
  autoclose int file = -1;

#ifdef WEAK_T30 /* guard of T30: in a procfs of our own, never in one that can be reached by name */
  sys = open_in_root (ctx->rootfd, "proc/sys", O_PATH);
  file = open_in_root (sys, s->first, O_WRONLY);
  return file < 0 ? file : checked (ctx, CALL_WRITE, write_value (file, string_at (s, 1)));
#endif
  if (ctx->sysctlfd < 0)
    ctx->sysctlfd = open_sysctls (ctx);
  if (ctx->sysctlfd < 0)
    return ctx->sysctlfd;
  sys = open_proc (ctx->sysctlfd, "sys", O_PATH | O_DIRECTORY, OWN_PROC | RESOLVE_NO_SYMLINKS);
  if (sys < 0)
    return checked (ctx, CALL_OPENAT2, sys);
  file = open_proc (sys, s->first, O_WRONLY, OWN_PROC | RESOLVE_NO_SYMLINKS);
  if (file < 0)
    return checked (ctx, CALL_OPENAT2, file);
  return checked (ctx, CALL_WRITE, write_value (file, string_at (s, 1)));
}
