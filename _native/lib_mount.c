/* lib_mount.c: mounts that the application makes itself: detached, never visible on the host.  */

#include "sys.h"
#include <stdio.h>
#include <string.h>

#include "lib.h"
#include "lib_clone.h"

int
lib_openat2 (int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
  return sys_openat2 (dirfd, path, flags | O_CLOEXEC, mode, resolve);
}

int
lib_open_tree (int dirfd, const char *path, unsigned int flags)
{
  return sys_open_tree (dirfd, path, flags | OPEN_TREE_CLOEXEC);
}

int
lib_move_mount (int from, const char *from_path, int to, const char *to_path, unsigned int flags)
{
  return sys_move_mount (from, from_path, to, to_path, flags);
}

int
lib_mount_setattr (int dirfd, const char *path, unsigned int flags, uint64_t set, uint64_t clear,
                   uint64_t propagation)
{
  const struct mount_attr attr = { .attr_set = set, .attr_clr = clear, .propagation = propagation };

  return sys_mount_setattr (dirfd, path, flags, &attr);
}

/* The overlay.  overlayfs clones the mount of its upper directory, and until Linux 6.15 takes only
   one that is attached in the caller's mount namespace.  So a short-lived child makes a mount
   namespace of its own, attaches the tmpfs there, over "/", where nobody who already has a root
   looks, and builds the overlay.  The descriptor stays with us: the table is shared.  */

struct overlay
{
  const char *lower;
  const char *size;
  uid_t uid;
  gid_t gid;
  int result; /* descriptor or -errno, written by the child */
};

struct layered
{
  const struct lib_layers *layers;
  int result;
};

static int
make_mount (int fs)
{
  int result = sys_fsconfig (fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);

  return result < 0 ? result : sys_fsmount (fs, FSMOUNT_CLOEXEC, 0);
}

static int
set_string (int fs, const char *key, const char *value)
{
  return sys_fsconfig (fs, FSCONFIG_SET_STRING, key, value, 0);
}

static int
make_tmpfs (const char *size)
{
  autoclose int fs = sys_fsopen ("tmpfs", FSOPEN_CLOEXEC);
  int result = fs < 0 ? fs : set_string (fs, "mode", "0755");

  if (result >= 0 && size[0] != '\0')
    result = set_string (fs, "size", size);
  return result < 0 ? result : make_mount (fs);
}

/* A tmpfs with the two directories, attached here, and our working directory.  */
static int
enter_upper (const struct overlay *o)
{
  autoclose int tmpfs = make_tmpfs (o->size);
  int result = tmpfs < 0 ? tmpfs : sys_mkdirat (tmpfs, "upper", 0755);

  if (result >= 0)
    result = sys_fchownat (tmpfs, "upper", o->uid, o->gid, AT_SYMLINK_NOFOLLOW);
  if (result >= 0)
    result = sys_mkdirat (tmpfs, "work", 0755);
  if (result >= 0)
    result = sys_mount (NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
  if (result >= 0)
    result = sys_move_mount (tmpfs, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH);
  return result < 0 ? result : sys_fchdir (tmpfs);
}

/* `lower` as overlayfs wants it: a list with ':' between its members, so ':' and '\' escaped.  */
static int
escape (const char *lower, char *escaped, size_t room)
{
  size_t used = 0;

  for (; *lower != '\0'; lower++)
    {
      if (used + 3 > room)
        return -ENAMETOOLONG;
      if (*lower == ':' || *lower == '\\')
        escaped[used++] = '\\';
      escaped[used++] = *lower;
    }
  escaped[used] = '\0';
  return 0;
}

static int
make_overlay (const struct overlay *o)
{
  char lower[256]; /* the limit of one fsconfig(2) string */
  autoclose int fs = -1;
  int result = escape (o->lower, lower, sizeof (lower));

  if (result == 0)
    result = enter_upper (o);
  if (result == 0)
    result = fs = sys_fsopen ("overlay", FSOPEN_CLOEXEC);
  if (result >= 0)
    result = set_string (fs, "lowerdir", lower);
  if (result >= 0)
    result = set_string (fs, "upperdir", "upper");
  if (result >= 0)
    result = set_string (fs, "workdir", "work");
  return result < 0 ? result : make_mount (fs);
}

/* Each layer by itself: Linux 6.7.  */
static int
append_layers (int fs, const struct lib_layers *l)
{
  int result = 0;

  for (uint32_t i = 0; result >= 0 && i < l->count; i++)
    result = set_string (fs, "lowerdir+", l->layers[i]);
  return result;
}

/* Older kernels take one option of 255 bytes for all: so the layers get short names, as links in our
   working directory.  */
static int
link_layers (int fs, const struct lib_layers *l)
{
  char list[256] = "";
  size_t used = 0;
  int result = 0;

  for (uint32_t i = 0; result >= 0 && i < l->count; i++)
    {
      char name[16];
      int size = snprintf (name, sizeof (name), "%s%x", used > 0 ? ":" : "", i);

      if (used + (size_t) size >= sizeof (list))
        return -ENAMETOOLONG;
      memcpy (list + used, name, (size_t) size + 1);
      result = sys_symlinkat (l->layers[i], AT_FDCWD, name + (used > 0 ? 1 : 0));
      used += (size_t) size;
    }
  return result < 0 ? result : set_string (fs, "lowerdir", list);
}

static int
stack_layers (const struct lib_layers *l, int (*set) (int, const struct lib_layers *))
{
  autoclose int fs = sys_fsopen ("overlay", FSOPEN_CLOEXEC);
  int result = fs < 0 ? fs : set (fs, l);

  if (result >= 0)
    result = set_string (fs, "source", l->source);
  if (result >= 0)
    result = set_string (fs, "upperdir", l->upper != NULL ? l->upper : "upper");
  if (result >= 0)
    result = set_string (fs, "workdir", l->upper != NULL ? l->work : "work");
  if (result >= 0 && l->userxattr != 0)
    result = sys_fsconfig (fs, FSCONFIG_SET_FLAG, "userxattr", NULL, 0);
  return result < 0 ? result : make_mount (fs);
}

static int
layered_child (void *arg)
{
  struct layered *l = arg;
  const struct overlay upper = { .size = "", .uid = l->layers->uid, .gid = l->layers->gid };

  l->result = enter_upper (&upper);
  if (l->result < 0)
    return 0;
  l->result = stack_layers (l->layers, append_layers);
  if (l->result == -EINVAL)
    l->result = stack_layers (l->layers, link_layers);
  return 0;
}

int
lib_layered (const struct lib_layers *layers)
{
  struct layered l = { .layers = layers, .result = -EIO };
  int pidfd = -1;
  int pid = clone_sharing_memory (layered_child, &l, CLONE_FILES | CLONE_NEWNS, &pidfd);

  if (pid < 0)
    return pid;
  reap (&pidfd);
  return l.result;
}

int
lib_syncfs (int fd)
{
  return syncfs (fd) < 0 ? -errno : 0;
}

static int
overlay_child (void *arg)
{
  struct overlay *o = arg;

  o->result = make_overlay (o);
  return 0;
}

int
lib_overlay (const char *lower, const char *size, uint32_t uid, uint32_t gid)
{
  struct overlay o = { .lower = lower, .size = size, .uid = uid, .gid = gid, .result = -EIO };
  int pidfd = -1;
  int pid = clone_sharing_memory (overlay_child, &o, CLONE_FILES | CLONE_NEWNS, &pidfd);

  if (pid < 0)
    return pid;
  reap (&pidfd);
  return o.result;
}
