/* lib_worker.c: starting CRIU, which makes a container's processes on our behalf.

   What it makes are our children, in namespaces that begin as copies of its own.  So it gets a mount
   namespace in which the container's root is a mount, as pivot_root(2) wants it, and which is gone with
   the last process in it: nothing is left on the host whoever is killed.  It mounts in its working
   directory, which it takes from a descriptor of ours: that has to be opened in that namespace, too.
   As in lib_program.c nothing of ours is copied.  */

#include "sys.h"
#include <limits.h>
#include <linux/keyctl.h>

#include "lib.h"
#include "lib_clone.h"

struct worker
{
  const char *path;
  char **argv, **envp;
  int *fds;
  uint32_t count;
  int namespace;
  const char *keyring;
  uint32_t permissions;
  int error; /* written by the child: the memory is ours */
};

/* The i-th becomes descriptor i; first all of them go where none can be overwritten.  */
static int
place_fds (const struct worker *w)
{
  int result = 0;

  for (uint32_t i = 0; result >= 0 && i < w->count; i++)
    if (w->fds[i] < (int) w->count)
      result = w->fds[i] = sys_fcntl (w->fds[i], F_DUPFD_CLOEXEC, (int) w->count);
  for (uint32_t i = 0; result >= 0 && i < w->count; i++)
    result = sys_dup3 (w->fds[i], (int) i, 0);
  return result < 0 ? result : sys_close_range (w->count, UINT_MAX, 0);
}

/* What is mounted on the host later still comes through; nothing goes the other way.
   mount_namespaces(7).  CRIU does not set attributes of the root, it takes them as they are.  */
static int
bind_root (const char *root, bool read_only)
{
  const struct mount_attr attr = { .attr_set = read_only ? MOUNT_ATTR_RDONLY : 0, .propagation = MS_PRIVATE };
  int result = sys_mount (NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);

  if (result >= 0)
    result = sys_mount (root, root, NULL, MS_BIND | MS_REC, NULL);
  return result < 0 ? result : sys_mount_setattr (AT_FDCWD, root, 0, &attr);
}

struct rooted
{
  const char *root;
  bool read_only;
  const char *const *paths;
  uint32_t count;
  int *fds;   /* written by the child: the table is ours, too */
  int result; /* the namespace, or -errno */
};

static int
open_here (const char *path, uint64_t flags)
{
  return sys_openat2 (AT_FDCWD, path, flags | O_CLOEXEC, 0, 0);
}

static int
rooted_child (void *arg)
{
  struct rooted *r = arg;
  int result = bind_root (r->root, r->read_only);

  for (uint32_t i = 0; result >= 0 && i < r->count; i++)
    result = r->fds[i] = open_here (r->paths[i], O_RDONLY | O_DIRECTORY);
  r->result = result < 0 ? result : open_here ("/proc/thread-self/ns/mnt", O_RDONLY);
  return 0;
}

int
lib_rooted_mounts (const char *root, int read_only, const char *const *paths, uint32_t count, int *fds)
{
  struct rooted rooted = {
    .root = root,
    .read_only = read_only != 0,
    .paths = paths,
    .count = count,
    .fds = fds,
    .result = -EIO,
  };
  int pidfd = -1;
  int pid;

  for (uint32_t i = 0; i < count; i++)
    fds[i] = -1;
  pid = clone_sharing_memory (rooted_child, &rooted, CLONE_FILES | CLONE_NEWNS, &pidfd);
  if (pid < 0)
    return pid;
  reap (&pidfd);
  for (uint32_t i = 0; rooted.result < 0 && i < count; i++)
    if (fds[i] >= 0)
      (void) sys_close (fds[i]);
  return rooted.result;
}

/* keyrings(7).  What is restored inherits it, and not ours.  A kernel without keys has none to leak.  */
static int
join_keyring (const char *name, uint32_t permissions)
{
  long ring = sys_keyctl (KEYCTL_JOIN_SESSION_KEYRING, (unsigned long) (uintptr_t) name, 0, 0, 0);

  if (ring == -ENOSYS)
    return 0;
  if (ring > 0)
    ring = sys_keyctl (KEYCTL_SETPERM, (unsigned long) ring, permissions, 0, 0);
  return ring < 0 ? (int) ring : 0;
}

static int
child (void *arg)
{
  struct worker *w = arg;
  int result = sys_setsid ();

  if (result >= 0 && w->namespace >= 0)
    result = sys_setns (w->namespace, 0);
  if (result >= 0 && w->keyring != NULL)
    result = join_keyring (w->keyring, w->permissions);
  if (result >= 0)
    result = place_fds (w);
  if (result >= 0)
    {
      default_signals ();
      result = sys_execve (w->path, w->argv, w->envp);
    }
  w->error = result;
  return 127;
}

int
lib_start_worker (const char *path, char **argv, char **envp, int *fds, uint32_t count, int namespace,
                  const char *keyring, uint32_t permissions, int *pidfd)
{
  struct worker worker = {
    .path = path,
    .argv = argv,
    .envp = envp,
    .fds = fds,
    .count = count,
    .namespace = namespace,
    .keyring = keyring,
    .permissions = permissions,
  };
  int pid = clone_sharing_memory (child, &worker, 0, pidfd);

  if (pid < 0 || worker.error == 0)
    return pid;
  reap (pidfd);
  return worker.error;
}
