/* sys.h: system calls as the helper wants them: a result, or -errno, never errno.

   Thin on purpose: one call each and no policy.  The mount API comes from glibc's
   <sys/mount.h> (2.36), which must not be mixed with <linux/mount.h>; constants
   that Debian 12's headers lack are defined here.  */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000U
#endif
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x4000U /* Linux 6.8 */
#endif
#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif
#ifndef AT_EACCESS
#define AT_EACCESS 0x200
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020 /* Linux 6.3 */
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* clone3(2).  <linux/sched.h> has it too, and collides with <sched.h>.  */
struct sys_clone_args
{
  uint64_t flags;
  uint64_t pidfd;
  uint64_t child_tid;
  uint64_t parent_tid;
  uint64_t exit_signal;
  uint64_t stack;
  uint64_t stack_size;
  uint64_t tls;
  uint64_t set_tid;
  uint64_t set_tid_size;
  uint64_t cgroup;
};

static inline int
sys_result (long result)
{
  return result < 0 ? -errno : (int) result;
}

/* `autoclose int fd = -1;` is closed when it goes out of scope; take_fd() hands it over.  */
static inline void
sys_autoclose (const int *fd)
{
  if (*fd >= 0)
    (void) syscall (SYS_close, *fd);
}
#define autoclose __attribute__ ((cleanup (sys_autoclose)))

static inline int
take_fd (int *fd)
{
  int taken = *fd;

  *fd = -1;
  return taken;
}

/* Files and paths.  */

static inline int
sys_close (int fd)
{
  return sys_result (syscall (SYS_close, fd));
}

static inline int
sys_openat2 (int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
  struct open_how how = { .flags = flags, .mode = mode, .resolve = resolve };

  return sys_result (syscall (SYS_openat2, dirfd, path, &how, sizeof (how)));
}

static inline int
sys_openat (int dirfd, const char *path, int flags, mode_t mode)
{
  return sys_result (syscall (SYS_openat, dirfd, path, flags, mode));
}

static inline int
sys_fsetxattr (int fd, const char *name, const void *value, size_t size)
{
  return sys_result (syscall (SYS_fsetxattr, fd, name, value, size, 0));
}

static inline ssize_t
sys_read (int fd, void *buf, size_t size)
{
  long n;

  do
    n = syscall (SYS_read, fd, buf, size);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

static inline ssize_t
sys_write (int fd, const void *buf, size_t size)
{
  long n;

  do
    n = syscall (SYS_write, fd, buf, size);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

static inline int
sys_mkdirat (int dirfd, const char *path, mode_t mode)
{
  return sys_result (syscall (SYS_mkdirat, dirfd, path, mode));
}

static inline int
sys_mknodat (int dirfd, const char *path, mode_t mode, dev_t dev)
{
  return sys_result (mknodat (dirfd, path, mode, dev)); /* libc knows how dev_t is packed */
}

static inline int
sys_symlinkat (const char *text, int dirfd, const char *path)
{
  return sys_result (syscall (SYS_symlinkat, text, dirfd, path));
}

/* The number of bytes written to buf, which is *not* terminated.  */
static inline int
sys_readlinkat (int dirfd, const char *path, char *buf, size_t size)
{
  return sys_result (syscall (SYS_readlinkat, dirfd, path, buf, size));
}

static inline int
sys_unlinkat (int dirfd, const char *path, int flags)
{
  return sys_result (syscall (SYS_unlinkat, dirfd, path, flags));
}

static inline int
sys_statx (int dirfd, const char *path, int flags, unsigned int mask, struct statx *st)
{
  return sys_result (syscall (SYS_statx, dirfd, path, flags, mask, st));
}

static inline int
sys_fstat (int fd, struct stat *st)
{
#ifdef SYS_newfstatat
  /* Not fstat(3), which is another call in some versions of libc: seccomp filters look at it.  */
  return sys_result (syscall (SYS_newfstatat, fd, "", st, AT_EMPTY_PATH));
#else
  return sys_result (fstat (fd, st));
#endif
}

static inline int
sys_fstatfs (int fd, struct statfs *st)
{
  return sys_result (fstatfs (fd, st));
}

static inline int
sys_fchmod (int fd, mode_t mode)
{
  return sys_result (syscall (SYS_fchmod, fd, mode));
}

static inline int
sys_fchown (int fd, uid_t uid, gid_t gid)
{
  return sys_result (fchown (fd, uid, gid));
}

/* Through an O_PATH descriptor or by name: flags take AT_EMPTY_PATH.  */
static inline int
sys_fchownat (int dirfd, const char *path, uid_t uid, gid_t gid, int flags)
{
  return sys_result (syscall (SYS_fchownat, dirfd, path, uid, gid, flags));
}

/* fchmodat(2) without flags; follows a final link.  */
static inline int
sys_fchmodat (int dirfd, const char *path, mode_t mode)
{
  return sys_result (syscall (SYS_fchmodat, dirfd, path, mode));
}

static inline int
sys_faccessat2 (int dirfd, const char *path, int mode, int flags)
{
  return sys_result (syscall (SYS_faccessat2, dirfd, path, mode, flags));
}

static inline int
sys_chdir (const char *path)
{
  return sys_result (syscall (SYS_chdir, path));
}

static inline int
sys_fchdir (int fd)
{
  return sys_result (syscall (SYS_fchdir, fd));
}

static inline int
sys_chroot (const char *path)
{
  return sys_result (syscall (SYS_chroot, path));
}

/* The length with the terminator.  A cwd outside the root comes as "(unreachable)/...".  */
static inline int
sys_getcwd (char *buf, size_t size)
{
  return sys_result (syscall (SYS_getcwd, buf, size));
}

static inline int
sys_dup3 (int from, int to, int flags)
{
  return sys_result (syscall (SYS_dup3, from, to, flags));
}

static inline int
sys_fcntl (int fd, int command, long arg)
{
  return sys_result (fcntl (fd, command, arg));
}

static inline int
sys_close_range (unsigned int first, unsigned int last, unsigned int flags)
{
  return first > last ? 0 : sys_result (syscall (SYS_close_range, first, last, flags));
}

static inline int
sys_pipe2 (int ends[2], int flags)
{
  return sys_result (syscall (SYS_pipe2, ends, flags));
}

static inline int
sys_memfd_create (const char *name, unsigned int flags)
{
  return sys_result (syscall (SYS_memfd_create, name, flags));
}

static inline int
sys_ioctl (int fd, unsigned long request, void *arg)
{
  return sys_result (syscall (SYS_ioctl, fd, request, arg));
}

/* Mounts.  */

static inline int
sys_open_tree (int dirfd, const char *path, unsigned int flags)
{
  return sys_result (syscall (SYS_open_tree, dirfd, path, flags));
}

/* flags: MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH, ...  */
static inline int
sys_move_mount (int from, const char *from_path, int to, const char *to_path, unsigned int flags)
{
  return sys_result (syscall (SYS_move_mount, from, from_path, to, to_path, flags));
}

static inline int
sys_fsopen (const char *type, unsigned int flags)
{
  return sys_result (syscall (SYS_fsopen, type, flags));
}

static inline int
sys_fsconfig (int fd, unsigned int command, const char *key, const void *value, int aux)
{
  return sys_result (syscall (SYS_fsconfig, fd, command, key, value, aux));
}

static inline int
sys_fspick (int dirfd, const char *path, unsigned int flags)
{
  return sys_result (syscall (SYS_fspick, dirfd, path, flags));
}

/* attributes: MOUNT_ATTR_*.  */
static inline int
sys_fsmount (int fd, unsigned int flags, unsigned int attributes)
{
  return sys_result (syscall (SYS_fsmount, fd, flags, attributes));
}

static inline int
sys_mount_setattr (int dirfd, const char *path, unsigned int flags, const struct mount_attr *attr)
{
  return sys_result (syscall (SYS_mount_setattr, dirfd, path, flags, attr, sizeof (*attr)));
}

static inline int
sys_mount (const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
  return sys_result (syscall (SYS_mount, source, target, type, flags, data));
}

static inline int
sys_umount2 (const char *path, int flags)
{
  return sys_result (syscall (SYS_umount2, path, flags));
}

static inline int
sys_pivot_root (const char *new_root, const char *put_old)
{
  return sys_result (syscall (SYS_pivot_root, new_root, put_old));
}

/* Processes and namespaces.  */

static inline int
sys_clone3 (const struct sys_clone_args *args)
{
  return sys_result (syscall (SYS_clone3, args, sizeof (*args)));
}

static inline int
sys_unshare (uint64_t flags)
{
  return sys_result (syscall (SYS_unshare, flags));
}

static inline int
sys_setns (int fd, int flags)
{
  return sys_result (syscall (SYS_setns, fd, flags));
}

static inline int
sys_setsid (void)
{
  return sys_result (syscall (SYS_setsid));
}

static inline int
sys_sethostname (const char *name, size_t size)
{
  return sys_result (syscall (SYS_sethostname, name, size));
}

static inline int
sys_setdomainname (const char *name, size_t size)
{
  return sys_result (syscall (SYS_setdomainname, name, size));
}

static inline int
sys_pidfd_open (pid_t pid, unsigned int flags)
{
  return sys_result (syscall (SYS_pidfd_open, pid, flags));
}

static inline int
sys_pidfd_send_signal (int pidfd, int signal)
{
  return sys_result (syscall (SYS_pidfd_send_signal, pidfd, signal, NULL, 0));
}

/* Wait for the end of a child of ours, whatever its exit signal is.  */
static inline int
sys_waitid (idtype_t type, id_t id, siginfo_t *info)
{
  int result;

  do
    result = sys_result (syscall (SYS_waitid, type, id, info, WEXITED | __WALL, NULL));
  while (result == -EINTR);
  return result;
}

static inline int
sys_execveat (int dirfd, const char *path, char *const argv[], char *const envp[], int flags)
{
  return sys_result (syscall (SYS_execveat, dirfd, path, argv, envp, flags));
}

static inline int
sys_execve (const char *path, char *const argv[], char *const envp[])
{
  return sys_result (syscall (SYS_execve, path, argv, envp));
}

static inline long
sys_keyctl (int operation, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
  long result = syscall (SYS_keyctl, operation, a, b, c, d);

  return result < 0 ? -errno : result;
}

static inline int
sys_prctl (int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
  return sys_result (syscall (SYS_prctl, option, a, b, c, d));
}

/* Credentials: raw calls, for this thread alone, which is the only one.  */

#ifdef SYS_setresuid32 /* 32-bit machines kept the 16-bit calls under the plain names */
#define SYS_CREDENTIAL(name) SYS_##name##32
#else
#define SYS_CREDENTIAL(name) SYS_##name
#endif

static inline int
sys_setresuid (uid_t real, uid_t effective, uid_t saved)
{
  return sys_result (syscall (SYS_CREDENTIAL (setresuid), real, effective, saved));
}

static inline int
sys_setresgid (gid_t real, gid_t effective, gid_t saved)
{
  return sys_result (syscall (SYS_CREDENTIAL (setresgid), real, effective, saved));
}

static inline int
sys_setgroups (size_t count, const void *groups) /* of gid_t, at any address */
{
  return sys_result (syscall (SYS_CREDENTIAL (setgroups), count, groups));
}

/* Sockets.  */

static inline int
sys_socket (int domain, int type, int protocol)
{
  return sys_result (socket (domain, type, protocol));
}

static inline int
sys_accept4 (int fd, int flags)
{
  return sys_result (accept4 (fd, NULL, NULL, flags));
}

static inline int
sys_getsockopt (int fd, int level, int name, void *value, socklen_t *size)
{
  return sys_result (getsockopt (fd, level, name, value, size));
}

static inline ssize_t
sys_recvmsg (int fd, struct msghdr *message, int flags)
{
  ssize_t n;

  do
    n = recvmsg (fd, message, flags);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

static inline ssize_t
sys_sendmsg (int fd, const struct msghdr *message, int flags)
{
  ssize_t n;

  do
    n = sendmsg (fd, message, flags);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

static inline int
sys_poll (struct pollfd *fds, nfds_t count, int timeout_ms)
{
  int n;

  do
    n = poll (fds, count, timeout_ms);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

static inline int
sys_epoll_create1 (int flags)
{
  return sys_result (epoll_create1 (flags));
}

static inline int
sys_epoll_ctl (int epoll, int operation, int fd, struct epoll_event *event)
{
  return sys_result (epoll_ctl (epoll, operation, fd, event));
}

static inline int
sys_epoll_wait (int epoll, struct epoll_event *events, int size, int timeout_ms)
{
  int n;

  do
    n = epoll_wait (epoll, events, size, timeout_ms);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

/* Limits and scheduling.  */

static inline int
sys_prlimit (pid_t pid, unsigned int resource, const struct rlimit64 *limit, struct rlimit64 *old)
{
  return sys_result (syscall (SYS_prlimit64, pid, resource, limit, old));
}

static inline int
sys_sched_setaffinity (pid_t pid, size_t size, const void *mask)
{
  return sys_result (syscall (SYS_sched_setaffinity, pid, size, mask));
}

static inline int
sys_sched_setscheduler (pid_t pid, int policy, const struct sched_param *param)
{
  return sys_result (syscall (SYS_sched_setscheduler, pid, policy, param));
}

static inline int
sys_sched_setattr (pid_t pid, const void *attr)
{
  return sys_result (syscall (SYS_sched_setattr, pid, attr, 0));
}

static inline int
sys_setpriority (int which, id_t who, int nice)
{
  return sys_result (syscall (SYS_setpriority, which, who, nice));
}

static inline int
sys_ioprio_set (int which, int who, int priority)
{
  return sys_result (syscall (SYS_ioprio_set, which, who, priority));
}

static inline int
sys_personality (unsigned long persona)
{
  return sys_result (syscall (SYS_personality, persona));
}

static inline int
sys_set_mempolicy (int mode, const unsigned long *nodes, unsigned long size)
{
  return sys_result (syscall (SYS_set_mempolicy, mode, nodes, size));
}

/* seccomp(2) SECCOMP_SET_MODE_FILTER.  The listener with SECCOMP_FILTER_FLAG_NEW_LISTENER.  */
static inline int
sys_seccomp_filter (unsigned long flags, const struct sock_fprog *program)
{
  return sys_result (syscall (SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program));
}

static inline int
sys_capset (const void *header, const void *data)
{
  return sys_result (syscall (SYS_capset, header, data));
}

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452 /* Linux 6.6, the same everywhere but on alpha */
#endif

static inline int
sys_fchmodat2 (int dirfd, const char *path, mode_t mode, int flags)
{
  return sys_result (syscall (SYS_fchmodat2, dirfd, path, mode, flags));
}
