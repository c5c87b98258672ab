/* steps_root.c: the root file system as a whole: taking it and making it the root.  Invariants 12
   and 18.  */

#include "mounts.h"
#include "sys.h"
#include <limits.h>
#include <string.h>

enum
{
  MAX_DEPTH = 2048, /* of directories: PATH_MAX / 2 */
};

static const unsigned int CLONE_ALL = AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;

int
do_propagation (const struct step *s, struct context *ctx)
{
  struct mount_attr attr = { .propagation = s->a & ~(uint64_t) MS_REC };
  unsigned int deep = s->a & MS_REC ? AT_RECURSIVE : 0;

  return checked (ctx, CALL_MOUNT_SETATTR, sys_mount_setattr (AT_FDCWD, "/", deep, &attr));
}

/* Only what a process may see of itself.  proc(5) */
static int
make_procfs (struct context *ctx)
{
  autoclose int fs = checked (ctx, CALL_FSOPEN, sys_fsopen ("proc", FSOPEN_CLOEXEC));
  int err = fs < 0 ? fs : set_key (ctx, fs, "subset", "pid");

  if (err == 0)
    err = set_key (ctx, fs, "hidepid", "ptraceable");
  return err < 0 ? err : make_filesystem (ctx, fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

/* Without a pid namespace of its own, a user namespace may not mount procfs.  Cloning what is there
   may need its submounts as well, where they are locked to it: mount_namespaces(7).  They are no
   danger, because lookups in it cross no mount.  */
static int
clone_procfs (struct context *ctx)
{
  int tree = sys_open_tree (AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

  if (tree == -EINVAL)
    tree = sys_open_tree (AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
  return checked (ctx, CALL_OPEN_TREE, tree);
}

int
do_procfs (const struct step *s, struct context *ctx)
{
  autoclose int tree = make_procfs (ctx);
  struct statfs fs;
  int err;

  (void) s;
  if (tree == -EPERM)
    tree = clone_procfs (ctx);
  if (tree < 0)
    return tree;
  err = checked (ctx, CALL_FSTATFS, sys_fstatfs (tree, &fs));
  if (err == 0)
    err = verify_kernel_fs (ctx, tree);
  if (err < 0)
    return err;
  if (fs.f_type != PROC_SUPER_MAGIC)
    return checked (ctx, CALL_VERIFY, -EXDEV);
  ctx->procfd = take_fd (&tree);
  return 0;
}

/* Make the mount that `path` lies on private: pivot_root(2) refuses a shared parent, and what we
   mount must not spread through it.  */
static int
isolate_parent (struct context *ctx, int path)
{
  static const struct mount_attr private = { .propagation = MS_PRIVATE };
  autoclose int at = checked (ctx, CALL_FCNTL, sys_fcntl (path, F_DUPFD_CLOEXEC, 3));

  for (int depth = 0; at >= 0 && depth < MAX_DEPTH; depth++)
    {
      struct statx st;
      int err = checked (ctx, CALL_STATX, sys_statx (at, "", AT_EMPTY_PATH, 0, &st));
      int up;

      if (err < 0)
        return err;
      if (st.stx_attributes & STATX_ATTR_MOUNT_ROOT)
        return checked (ctx, CALL_MOUNT_SETATTR, sys_mount_setattr (at, "", AT_EMPTY_PATH, &private));
      up = checked (ctx, CALL_OPENAT, sys_openat (at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
      sys_autoclose (&at);
      at = up;
    }
  return at < 0 ? at : checked (ctx, CALL_VERIFY, -EINVAL);
}

/* A tree from the parent is a peer of the host's mounts until now; submounts still follow the host.  */
static int
isolate_root (struct context *ctx, int tree)
{
  int err = set_attributes (ctx, tree, 0, MS_SLAVE | MS_REC, 0);

  return err < 0 ? err : set_attributes (ctx, tree, 0, MS_PRIVATE, 0);
}

/* The host's, taken while it can be reached: the container's may be anything.  Invariant 17.  */
static int
take_null (struct context *ctx)
{
  ctx->nullfd = checked (ctx, CALL_OPEN_TREE,
                         sys_open_tree (AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  return ctx->nullfd < 0 ? ctx->nullfd : verify_null (ctx, ctx->nullfd);
}

/* Where to attach the root.  The parent may have opened a tree that our user namespace has no way to;
   then "/" does as well: paths of the host go on starting below it.  */
static int
open_place (const struct step *s, struct context *ctx)
{
  int at = sys_openat (AT_FDCWD, s->first, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);

  if (at == -EACCES && s->fd >= 0)
    at = sys_openat (AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  return checked (ctx, CALL_OPENAT, at);
}

/* Mounts that are locked together in a user namespace cannot be below an overlay, and old kernels
   make none there.  */
static int
take_throwaway (const struct step *s, struct context *ctx, int at)
{
  autoclose int tree = make_throwaway (ctx, s->first);
  int err;

  if (tree >= 0 || (tree != -EINVAL && tree != -EPERM && tree != -ENODEV && tree != -ENAMETOOLONG))
    return take_fd (&tree);
  tree = checked (ctx, CALL_OPEN_TREE, sys_open_tree (at, "", CLONE_ALL));
  err = tree < 0 ? tree : set_attributes (ctx, tree, MOUNT_ATTR_RDONLY, 0, MOUNT_SETATTR_RECURSIVE);
  return err < 0 ? err : take_fd (&tree);
}

static int
take_root (const struct step *s, struct context *ctx, int at)
{
  if (s->a == ROOTFS_THROWAWAY)
    return take_throwaway (s, ctx, at);
  if (s->a == ROOTFS_LAYERS)
    return make_layered (ctx, s);
  return s->fd >= 0 ? checked (ctx, CALL_FCNTL, sys_fcntl (s->fd, F_DUPFD_CLOEXEC, 3))
                    : checked (ctx, CALL_OPEN_TREE, sys_open_tree (at, "", CLONE_ALL));
}

/* Without a mount namespace of our own nothing may be mounted: the directory is all there is.  */
static int
open_root (const struct step *s, struct context *ctx)
{
  ctx->rootfd = s->fd >= 0 ? checked (ctx, CALL_FCNTL, sys_fcntl (s->fd, F_DUPFD_CLOEXEC, 3))
                           : checked (ctx, CALL_OPENAT,
                                      sys_openat (AT_FDCWD, s->first, O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
  return ctx->rootfd < 0 ? ctx->rootfd : 0;
}

static int
attach_root (const struct step *s, struct context *ctx)
{
  autoclose int at = open_place (s, ctx);
  int err = at < 0 ? at : isolate_parent (ctx, at);

  if (err < 0)
    return err;
  ctx->rootfd = take_root (s, ctx, at);
  err = ctx->rootfd < 0 ? ctx->rootfd : isolate_root (ctx, ctx->rootfd);
  if (err == 0)
    err = checked (
        ctx, CALL_MOVE_MOUNT,
        sys_move_mount (ctx->rootfd, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
  return err < 0 ? err : take_null (ctx);
}

int
do_rootfs (const struct step *s, struct context *ctx)
{
  return s->a == ROOTFS_OPEN ? open_root (s, ctx) : attach_root (s, ctx);
}

/* "." is the new root for us and, right after, the old root on top of it for umount2(2):
   pivot_root(2).  As a slave first, lest taking it down spreads to the host; by its own descriptor,
   because the new root keeps what the plan gave it (T79).  */
static int
pivot (struct context *ctx)
{
  static const struct mount_attr slave = { .propagation = MS_SLAVE };
  autoclose int old
      = checked (ctx, CALL_OPENAT, sys_openat (AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
  int err = old < 0 ? old : 0;

  if (err == 0)
    err = checked (ctx, CALL_PIVOT_ROOT, sys_pivot_root (".", "."));
  if (err == 0)
    err = checked (ctx, CALL_MOUNT_SETATTR,
                   sys_mount_setattr (old, "", AT_EMPTY_PATH | AT_RECURSIVE, &slave));
  return err < 0 ? err : checked (ctx, CALL_UMOUNT2, sys_umount2 (".", MNT_DETACH));
}

/* Enter the directory that we are in as the root.  */
static int
chroot_here (struct context *ctx)
{
  int err = checked (ctx, CALL_CHROOT, sys_chroot ("."));

  return err < 0 ? err : checked (ctx, CALL_CHDIR, sys_chdir ("/"));
}

/* Take a mount away or, where it is locked to others, hide it.  mount_namespaces(7) */
static int
hide_mount (struct context *ctx, const char *path)
{
  static const struct mount_attr slave = { .propagation = MS_SLAVE };
  autoclose int tree = -1;
  int err = checked (ctx, CALL_MOUNT_SETATTR, sys_mount_setattr (AT_FDCWD, path, AT_RECURSIVE, &slave));

  if (err == 0)
    err = checked (ctx, CALL_UMOUNT2, sys_umount2 (path, MNT_DETACH | UMOUNT_NOFOLLOW));
  if (is_absent (err)) /* gone with the mount that it was on */
    return 0;
  if (err != -EINVAL && err != -EPERM)
    return err;
  tree = make_empty_tree (ctx, NULL);
  return tree < 0 ? tree
                  : checked (ctx, CALL_MOVE_MOUNT,
                             sys_move_mount (tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));
}

/* /proc/self/mountinfo as a string: -E2BIG if there is no room.  */
static int
read_mountinfo (struct context *ctx, char *text, size_t size)
{
  autoclose int file = checked (ctx, CALL_OPENAT2,
                                sys_openat2 (ctx->procfd, "self/mountinfo", O_RDONLY | O_CLOEXEC, 0,
                                             RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS));
  size_t used = 0;

  if (file < 0)
    return file;
  while (used < size)
    {
      ssize_t n = sys_read (file, text + used, size - used);

      if (n < 0)
        return checked (ctx, CALL_READ, (int) n);
      if (n == 0)
        return text[used] = '\0', 0;
      used += (size_t) n;
    }
  return checked (ctx, CALL_READ, -E2BIG);
}

/* Undo the octal escapes of white space and backslash, in place.  proc_pid_mountinfo(5) */
static void
unescape (char *text)
{
  char *to = text;

  for (const char *from = text; *from != '\0'; from++)
    if (from[0] == '\\' && strspn (from + 1, "01234567") >= 3)
      {
        *to++ = (char) ((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
        from += 3;
      }
    else
      *to++ = *from;
  *to = '\0';
}

/* The mount point, if the line tells of a whole procfs or sysfs; NULL if not.  The line is
   "id parent device root mountpoint options [optional fields] - type source options".  */
static char *
kernel_mount_point (char *line)
{
  char *fields[6];
  char *type = strstr (line, " - ");
  size_t count = 0;

  if (type == NULL || (strncmp (type, " - proc ", 8) != 0 && strncmp (type, " - sysfs ", 9) != 0))
    return NULL;
  while (count < 6 && (fields[count] = strsep (&line, " ")) != NULL)
    count++;
  if (count < 6 || strcmp (fields[3], "/") != 0)
    return NULL;
  unescape (fields[4]);
  return fields[4];
}

static bool
is_below (const char *path, const char *directory)
{
  size_t size = strlen (directory);

  return strncmp (path, directory, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

/* Without pivot_root(2) the old root stays reachable for whoever may mount: a full procfs there
   would allow mounting others without the masks.  Invariant 18; the working directory is the root
   that is meant.  */
static int
hide_kernel_mounts (struct context *ctx)
{
  static char text[1 << 22]; /* no memory until it is used */
  char root[PATH_MAX];
  char *next = text;
  char *line;
  int err = checked (ctx, CALL_GETCWD, sys_getcwd (root, sizeof (root)));

  if (err >= 0)
    err = read_mountinfo (ctx, text, sizeof (text));
  while (err == 0 && (line = strsep (&next, "\n")) != NULL)
    {
      const char *point = kernel_mount_point (line);

      if (point != NULL && !is_below (point, root))
        err = hide_mount (ctx, point);
    }
  return err;
}

/* The root of an initramfs cannot be pivoted away: pivot_root(2).  */
static int
move_root (struct context *ctx)
{
  int err = hide_kernel_mounts (ctx);

  if (err == 0)
    err = checked (ctx, CALL_MOVE_MOUNT,
                   sys_move_mount (ctx->rootfd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH));
  return err < 0 ? err : chroot_here (ctx);
}

/* ctx->rootfd stays: it names the mount, wherever that is.  */
int
do_pivot (const struct step *s, struct context *ctx)
{
  static int (*const ways[]) (struct context *) = {
    [PIVOT_ROOT] = pivot,
    [PIVOT_MOVE] = move_root,
    [PIVOT_CHROOT] = chroot_here,
  };
  int err = checked (ctx, CALL_FCHDIR, sys_fchdir (ctx->rootfd));

  if (err == 0)
    err = s->a < sizeof (ways) / sizeof (*ways) ? ways[s->a](ctx) : checked (ctx, CALL_DECODE, -EPROTO);
  ctx->pivoted = err == 0;
  return err;
}
