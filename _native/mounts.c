/* mounts.c: what the mount steps are made of.

   Every mount is built detached, with all its attributes, and moved onto a target
   that is held open; then the target is looked up again and must lead to that very
   mount, because holding a directory open does not prove where it is.  Nothing is
   remounted by path.  Invariants 15 and 16.  */

#include "mounts.h"
#include "sys.h"
#include <string.h>
#include <sys/sysmacros.h>

enum
{
  FS_ROOT_INO = 1, /* of procfs and sysfs */
  KEY_SIZE = 256,  /* the kernel takes no longer one: fsconfig(2) */
};

/* Unique for ever where the kernel has it (Linux 6.8), else among the mounts of now.  0 or -errno.  */
int
mount_id (struct context *ctx, int fd, uint64_t *id)
{
  struct statx st;
  int err
      = checked (ctx, CALL_STATX, sys_statx (fd, "", AT_EMPTY_PATH, STATX_MNT_ID | STATX_MNT_ID_UNIQUE, &st));

  if (err < 0)
    return err;
  *id = st.stx_mnt_id;
  return 0;
}

/* Where in the list of what we made, from `first` on; `made_count` if it is not ours.  */
uint32_t
find_made (const struct context *ctx, uint64_t id, uint32_t first)
{
  uint32_t i = first;

  while (i < ctx->made_count && ctx->made[i].mnt_id != id)
    i++;
  return i;
}

static int
record_made (struct context *ctx, const char *target, uint64_t flags, uint64_t id)
{
  if (ctx->made_count == MAX_MADE_MOUNTS)
    return checked (ctx, CALL_VERIFY, -ENOSPC);
  ctx->made[ctx->made_count++]
      = (struct made_mount){ .target = target, .flags = flags & MOUNT_TARGET_NOFOLLOW, .mnt_id = id };
  return 0;
}

/* Whether fd is on procfs or sysfs; a bind of one counts only if it is the whole of it.  */
int
verify_kernel_fs (struct context *ctx, int fd)
{
  struct statfs fs;
  struct stat st;
  int err = checked (ctx, CALL_FSTATFS, sys_fstatfs (fd, &fs));

  if (err == 0)
    err = checked (ctx, CALL_FSTAT, sys_fstat (fd, &st));
  if (err != 0)
    return err;
  if ((fs.f_type != PROC_SUPER_MAGIC && fs.f_type != SYSFS_MAGIC) || st.st_ino != FS_ROOT_INO)
    return checked (ctx, CALL_VERIFY, -EXDEV);
  return 0;
}

/* One name in a directory that is held open.  */
static int
make_last (int parent, const char *name, uint64_t flags)
{
  autoclose int made = -1;

  if (flags & MOUNT_MAKE_DIR)
    return sys_mkdirat (parent, name, 0755);
  made = sys_openat (parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  return made < 0 ? made : 0;
}

static int
open_last (int root, const char *target, uint64_t flags)
{
  static const int open_flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  const char *name;
  autoclose int parent = open_parent (root, target, &name);
  int fd = parent < 0 ? parent : sys_openat (parent, name, open_flags, 0);
  int err;

  if (parent < 0 || fd != -ENOENT || !(flags & (MOUNT_MAKE_DIR | MOUNT_MAKE_FILE)))
    return fd;
  err = make_last (parent, name, flags);
  return err < 0 && err != -EEXIST ? err : sys_openat (parent, name, open_flags, 0);
}

int
open_mount_target (struct context *ctx, const char *target, uint64_t flags)
{
  return checked (ctx, CALL_OPENAT2,
                  (flags & (MOUNT_TARGET_NOFOLLOW | MOUNT_PROCFS)) == MOUNT_TARGET_NOFOLLOW
                      ? open_last (ctx->rootfd, target, flags)
                      : open_or_make (ctx->rootfd, target, flags));
}

/* Require that `target`, looked up anew, leads to the mount `id`.  The descriptor that was found,
   or -errno.  Invariant 16.  */
int
reopen_made (struct context *ctx, const char *target, uint64_t id, uint64_t flags)
{
  autoclose int found = open_mount_target (ctx, target, flags & (MOUNT_PROCFS | MOUNT_TARGET_NOFOLLOW));
  uint64_t found_id;
  int err;

  if (found < 0)
    return found;
  err = mount_id (ctx, found, &found_id);
  if (err < 0)
    return err;
#ifndef WEAK_T22 /* guard of T22: it is where the plan wants it */
  if (found_id != id)
    return checked (ctx, CALL_VERIFY, -EXDEV);
#endif
#ifndef WEAK_T21 /* guard of T21: it is procfs or sysfs that is there */
  err = flags & MOUNT_PROCFS ? verify_kernel_fs (ctx, found) : 0;
#endif
  return err < 0 ? err : take_fd (&found);
}

/* A mount on "/" is on top of the root that we hold; from here on it is the root.  */
static int
replace_root (struct context *ctx, int tree)
{
  int root = checked (ctx, CALL_FCNTL, sys_fcntl (tree, F_DUPFD_CLOEXEC, 3));

  if (root < 0)
    return root;
  sys_autoclose (&ctx->rootfd);
  ctx->rootfd = root;
  return 0;
}

/* Move `tree` onto `at`, which was found at `target`, and prove that it is there now.  The
   descriptor of what is found there, or -errno.  */
int
attach (struct context *ctx, int tree, int at, const char *target, uint64_t flags)
{
  uint64_t id;
  int err = mount_id (ctx, tree, &id);

  if (err == 0)
    err = checked (ctx, CALL_MOVE_MOUNT,
                   sys_move_mount (tree, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
  if (err == 0)
    err = record_made (ctx, target, flags, id);
  if (err == 0 && strcmp (target, "/") == 0)
    err = replace_root (ctx, tree);
  return err < 0 ? err : reopen_made (ctx, target, id, flags);
}

/* `change` is MOUNT_ATTR_* to set | to clear << 32, propagation MS_* with or without MS_REC, or 0.
   One call, unless they differ in how deep they go.  */
int
set_attributes (struct context *ctx, int tree, uint64_t change, uint64_t propagation, uint64_t flags)
{
  unsigned int deep = flags & MOUNT_SETATTR_RECURSIVE ? AT_RECURSIVE : 0;
  unsigned int deep_propagation = propagation & MS_REC ? AT_RECURSIVE : 0;
  struct mount_attr attr = { .attr_set = (uint32_t) change, .attr_clr = change >> 32 };
  struct mount_attr spread = { .propagation = propagation & ~(uint64_t) MS_REC };
  int err = 0;

  if (change != 0 && propagation != 0 && deep == deep_propagation)
    {
      attr.propagation = spread.propagation;
      propagation = 0;
    }
  if (change != 0)
    err = sys_mount_setattr (tree, "", AT_EMPTY_PATH | deep, &attr);
  if (err == 0 && propagation != 0)
    err = sys_mount_setattr (tree, "", AT_EMPTY_PATH | deep_propagation, &spread);
  return checked (ctx, CALL_MOUNT_SETATTR, err);
}

int
verify_null (struct context *ctx, int fd)
{
  struct stat st;
  int err = checked (ctx, CALL_FSTAT, sys_fstat (fd, &st));

  if (err < 0)
    return err;
#ifndef WEAK_T28 /* guard of T28: it is null */
  if (!S_ISCHR (st.st_mode) || st.st_rdev != makedev (1, 3))
    return checked (ctx, CALL_VERIFY, -EXDEV);
#endif
  return 0;
}

int
set_key (struct context *ctx, int fs, const char *key, const char *value)
{
  unsigned int command = value == NULL ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;

  return checked (ctx, CALL_FSCONFIG, sys_fsconfig (fs, command, key, value, 0));
}

/* "key" or "key=value": one call each, so that no value can add a key.  Invariant 15.  */
int
set_option (struct context *ctx, int fs, const char *option)
{
  const char *equals = strchr (option, '=');
  char key[KEY_SIZE];
  size_t size;

  if (equals == NULL)
    return set_key (ctx, fs, option, NULL);
  size = (size_t) (equals - option);
  if (size >= sizeof (key))
    return checked (ctx, CALL_FSCONFIG, -EINVAL);
  memcpy (key, option, size);
  key[size] = '\0';
  return set_key (ctx, fs, key, equals + 1);
}

/* The superblock and a detached mount of it.  */
int
make_filesystem (struct context *ctx, int fs, unsigned int attributes)
{
  int err = checked (ctx, CALL_FSCONFIG, sys_fsconfig (fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));

  return err < 0 ? err : checked (ctx, CALL_FSMOUNT, sys_fsmount (fs, FSMOUNT_CLOEXEC, attributes));
}

/* One block, one inode, read-only: nothing to see and no room for anything.  */
int
make_empty_tree (struct context *ctx, const char *label)
{
  static const char *const options[] = { "nr_blocks=1", "nr_inodes=1", "mode=0755", "ro" };
  autoclose int fs = checked (ctx, CALL_FSOPEN, sys_fsopen ("tmpfs", FSOPEN_CLOEXEC));
  int err = fs < 0 ? fs : 0;

  for (size_t i = 0; err == 0 && i < sizeof (options) / sizeof (*options); i++)
    err = set_option (ctx, fs, options[i]);
  if (err == 0 && label != NULL)
    err = set_key (ctx, fs, "context", label);
  return err < 0 ? err
                 : make_filesystem (
                     ctx, fs, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}
