/* steps_mount.c: the mounts of the root file system, and what hides parts of it.  See mounts.c.  */

#include "mounts.h"
#include "sys.h"
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>

static const unsigned int CLONE_FD = AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;

static int
attach_only (struct context *ctx, int tree, int at, const char *target, uint64_t flags)
{
  autoclose int found = attach (ctx, tree, at, target, flags);

  return found < 0 ? found : 0;
}

/* The target of a mount.  -ENOENT stays an error here: only the caller knows who may be absent.  */
static int
open_target (struct context *ctx, const char *target, uint64_t flags)
{
  autoclose int at = open_mount_target (ctx, target, flags);
  struct statfs fs;
  int err;

  if (at < 0 || flags & MOUNT_PROCFS)
    return take_fd (&at);
  err = checked (ctx, CALL_FSTATFS, sys_fstatfs (at, &fs));
  if (err < 0)
    return err;
  if (fs.f_type != PROC_SUPER_MAGIC)
    return take_fd (&at);
  /* The plan lets few names under /proc pass; a link must not smuggle in another (T09).  */
  return checked (ctx, CALL_OPENAT2, open_real (ctx->rootfd, target, O_PATH));
}

/* Give the file system the mode of the directory that it will cover: tmpfs(5) mode=.  */
static int
keep_mode (struct context *ctx, int fs, int at)
{
  struct stat st;
  char octal[] = "0000";
  int err = checked (ctx, CALL_FSTAT, sys_fstat (at, &st));

  if (err < 0)
    return err;
  for (int digit = 3; digit >= 0; digit--, st.st_mode >>= 3)
    octal[digit] = (char) ('0' + (st.st_mode & 7));
  return set_key (ctx, fs, "mode", octal);
}

static int
configure (const struct step *s, struct context *ctx, int fs, int at, uint64_t flags)
{
  const char *source = string_at (s, 1);
  int err = 0;

  if (source[0] != '\0')
    err = set_key (ctx, fs, "source", source);
  if (err == 0 && flags & MOUNT_RDONLY_SB)
    err = set_key (ctx, fs, "ro", NULL);
  if (err == 0 && flags & MOUNT_KEEP_MODE)
    err = keep_mode (ctx, fs, at);
  for (uint32_t i = 3; err == 0 && i < s->strings; i++)
    err = set_option (ctx, fs, string_at (s, i));
  return err;
}

/* Whether the target is there already.  A directory that has to be made has no mode to keep: the new
   root then has the file system's own, which is 1777 for a tmpfs, as with runc and crun.  */
static bool
has_target (struct context *ctx, const char *target, uint64_t flags)
{
  autoclose int at = open_target (ctx, target, flags & ~(uint64_t) (MOUNT_MAKE_DIR | MOUNT_MAKE_FILE));

  return at >= 0;
}

int
do_mount (const struct step *s, struct context *ctx)
{
  const char *target = string_at (s, 2);
  uint64_t flags = s->c;
  autoclose int fs = checked (ctx, CALL_FSOPEN, sys_fsopen (s->first, FSOPEN_CLOEXEC));
  autoclose int at = -1;
  autoclose int tree = -1;
  int err;

  if (fs < 0)
    return fs == -ENODEV && flags & MOUNT_OPTIONAL ? 0 : fs;
  if (flags & MOUNT_KEEP_MODE && !has_target (ctx, target, flags))
    flags &= ~(uint64_t) MOUNT_KEEP_MODE;
  at = open_target (ctx, target, flags);
  if (at < 0)
    return is_absent (at) && flags & MOUNT_OPTIONAL ? 0 : at;
  err = configure (s, ctx, fs, at, flags);
  if (err < 0)
    return err;
  tree = make_filesystem (ctx, fs, (unsigned int) s->a);
  if (tree < 0)
    return tree;
  err = flags & MOUNT_COPY_UP ? copy_up (ctx, at, tree, flags) : 0;
  if (err == 0)
    err = set_attributes (ctx, tree, 0, s->b, 0);
  return err < 0 ? err : attach_only (ctx, tree, at, target, flags);
}

/* Binds.  */

/* The passed tree, or a clone of the source, which is a path of the host.  */
static int
take_source (const struct step *s, struct context *ctx)
{
  unsigned int deep = s->c & MOUNT_RECURSIVE ? AT_RECURSIVE : 0;
  unsigned int nofollow = s->c & MOUNT_SOURCE_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0;

  if (s->fd >= 0)
    return checked (ctx, CALL_FCNTL, sys_fcntl (s->fd, F_DUPFD_CLOEXEC, 3));
  if (ctx->pivoted) /* it would be looked for in the container */
    return checked (ctx, CALL_VERIFY, -EXDEV);
  return checked (ctx, CALL_OPEN_TREE,
                  sys_open_tree (AT_FDCWD, s->first, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | deep | nofollow));
}

/* The source is what the plan says it is.  Invariants 11 and 14.  */
static int
verify_source (const struct step *s, struct context *ctx, int tree, const struct stat *st)
{
  uint64_t rdev;

  if (s->c & MOUNT_PROCFS)
    return verify_kernel_fs (ctx, tree);
  if (!(s->c & MOUNT_DEVICE_NODE))
    return 0;
  if (s->data_size != sizeof (rdev))
    return checked (ctx, CALL_DECODE, -EPROTO);
  memcpy (&rdev, s->data, sizeof (rdev));
  if ((!S_ISCHR (st->st_mode) && !S_ISBLK (st->st_mode))
      || st->st_rdev != makedev ((unsigned int) (rdev >> 32), (unsigned int) rdev))
    return checked (ctx, CALL_VERIFY, -EXDEV);
  return 0;
}

/* What to make of a missing target: it has to be of the source's kind.  */
static uint64_t
target_flags (uint64_t flags, mode_t source)
{
  uint64_t make = S_ISDIR (source) ? MOUNT_MAKE_DIR : MOUNT_MAKE_FILE;

  return (flags & (MOUNT_PROCFS | MOUNT_TARGET_NOFOLLOW))
         | (flags & (MOUNT_MAKE_DIR | MOUNT_MAKE_FILE) ? make : 0);
}

/* A tree from the parent is still a peer of the host's mounts: what we mount in it must not show
   up there.  One cloned here came from a slave, if the plan wants it so.  mount_namespaces(7) */
static int
set_bind_attributes (const struct step *s, struct context *ctx, int tree)
{
  uint64_t propagation = s->b == 0 && s->fd >= 0 ? MS_SLAVE | MS_REC : s->b;

  return set_attributes (ctx, tree, s->a, propagation, s->c);
}

/* A link of the host as a link of the container: where it leads is the container's business.  */
static int
copy_source_link (struct context *ctx, int tree, const char *target)
{
  char text[PATH_MAX];
  int size = checked (ctx, CALL_READLINKAT, sys_readlinkat (tree, "", text, sizeof (text)));

  if (size < 0)
    return size;
  if ((size_t) size >= sizeof (text))
    return checked (ctx, CALL_READLINKAT, -ENAMETOOLONG);
  text[size] = '\0';
  return make_link (ctx, text, target, false);
}

int
do_bind (const struct step *s, struct context *ctx)
{
  const char *target = string_at (s, 1);
  autoclose int tree = take_source (s, ctx);
  autoclose int at = -1;
  struct stat st;
  int err;

  if (tree < 0)
    return is_absent (tree) && s->c & MOUNT_OPTIONAL ? 0 : tree;
  err = checked (ctx, CALL_FSTAT, sys_fstat (tree, &st));
  if (err == 0)
    err = verify_source (s, ctx, tree, &st);
  if (err < 0)
    return err;
  if (s->c & MOUNT_COPY_LINK && S_ISLNK (st.st_mode))
    return copy_source_link (ctx, tree, target);
  at = open_target (ctx, target, target_flags (s->c, st.st_mode));
  if (at < 0)
    return is_absent (at) && s->c & MOUNT_OPTIONAL ? 0 : at;
  err = set_bind_attributes (s, ctx, tree);
  if (err < 0)
    return err;
  return attach_only (ctx, tree, at, target, s->c | (S_ISLNK (st.st_mode) ? MOUNT_TARGET_NOFOLLOW : 0));
}

/* Whether fd is on the mount that was made for this target or, if that was spelled otherwise, on any
   that we made.  The root needs no proof: its descriptor never leaves us.  */
static int
verify_made (struct context *ctx, int fd, const char *target)
{
  uint64_t id;
  uint32_t i = ctx->made_count;
  int err = mount_id (ctx, fd, &id);

  if (err < 0 || strcmp (target, "/") == 0)
    return err;
  while (i > 0 && strcmp (ctx->made[i - 1].target, target) != 0)
    i--;
  if (i > 0 ? ctx->made[i - 1].mnt_id != id : find_made (ctx, id, 0) == ctx->made_count)
    return checked (ctx, CALL_VERIFY, -EXDEV);
  return 0;
}

/* Change options of a file system that was made for the container.  fspick(2)  */
static int
reconfigure (const struct step *s, struct context *ctx, int at)
{
  autoclose int fs = checked (ctx, CALL_FSPICK, sys_fspick (at, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH));
  int err = fs < 0 ? fs : 0;

  for (uint32_t i = 1; err == 0 && i < s->strings; i++)
    err = set_option (ctx, fs, string_at (s, i));
  return err < 0 ? err
                 : checked (ctx, CALL_FSCONFIG, sys_fsconfig (fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0));
}

int
do_setattr (const struct step *s, struct context *ctx)
{
  autoclose int at = open_mount_target (ctx, s->first, s->c & MOUNT_TARGET_NOFOLLOW);
  int err;

  if (at < 0)
    return is_absent (at) && s->c & MOUNT_OPTIONAL ? 0 : at;
  err = verify_made (ctx, at, s->first);
  if (err == 0 && s->strings > 1)
    err = reconfigure (s, ctx, at);
  return err < 0 ? err : set_attributes (ctx, at, s->a, s->b, s->c);
}

/* Of file systems that take no label when they are mounted.  */
int
do_file_label (const struct step *s, struct context *ctx)
{
  const char *label = string_at (s, 1);
  autoclose int at
      = checked (ctx, CALL_OPENAT2, open_in_root (ctx->rootfd, s->first, O_RDONLY | O_DIRECTORY));
  int err = at < 0 ? at : verify_made (ctx, at, s->first);

  return err < 0 ? err
                 : checked (ctx, CALL_FSETXATTR,
                            sys_fsetxattr (at, "security.selinux", label, strlen (label) + 1));
}

/* Masks.  */

/* The spare tree itself the first time, then clones of it where it is: one that is attached nowhere
   can be cloned only since Linux 6.15.  */
static int
another_mask (struct context *ctx, int spare)
{
  uint64_t id;
  int err = mount_id (ctx, spare, &id);

  if (err < 0)
    return err;
  if (find_made (ctx, id, 0) == ctx->made_count)
    return checked (ctx, CALL_FCNTL, sys_fcntl (spare, F_DUPFD_CLOEXEC, 3));
  return checked (ctx, CALL_OPEN_TREE, sys_open_tree (spare, "", CLONE_FD));
}

static int
mask_directory (struct context *ctx, int at, const char *target, const char *label)
{
  autoclose int tree = -1;

  if (ctx->masktreefd < 0)
    ctx->masktreefd = make_empty_tree (ctx, label);
  if (ctx->masktreefd < 0)
    return ctx->masktreefd;
  tree = another_mask (ctx, ctx->masktreefd);
  return tree < 0 ? tree : attach_only (ctx, tree, at, target, 0);
}

static int
null_mask (struct context *ctx)
{
#ifdef WEAK_T28 /* guard of T28: the source is the host's verified null, not the container's */
  autoclose int null = checked (ctx, CALL_OPENAT2, open_in_root (ctx->rootfd, "/dev/null", O_PATH));

  return checked (ctx, CALL_OPEN_TREE, sys_open_tree (null, "", CLONE_FD));
#else
  return another_mask (ctx, ctx->nullfd);
#endif
}

static int
mask_file (struct context *ctx, int at, const char *target)
{
  autoclose int mask = null_mask (ctx);
  autoclose int found = -1;

  if (mask < 0)
    return mask;
  found = attach (ctx, mask, at, target, 0);
  return found < 0 ? found : verify_null (ctx, found);
}

int
do_mask (const struct step *s, struct context *ctx)
{
  autoclose int at = checked (ctx, CALL_OPENAT2, open_in_root (ctx->rootfd, s->first, O_PATH));
  struct stat st;
  int err;

#ifdef WEAK_T65 /* guard of T65: only what is absent needs no mask */
  if (at < 0)
    return 0;
#endif
  if (at < 0)
    return is_absent (at) ? 0 : at;
  err = checked (ctx, CALL_FSTAT, sys_fstat (at, &st));
  if (err < 0)
    return err;
  return S_ISDIR (st.st_mode) ? mask_directory (ctx, at, s->first, string_at (s, 1))
                              : mask_file (ctx, at, s->first);
}

/* nosuid, nodev and noexec come along with the clone.  */
int
do_readonly (const struct step *s, struct context *ctx)
{
  autoclose int at = checked (ctx, CALL_OPENAT2, open_in_root (ctx->rootfd, s->first, O_PATH));
  autoclose int tree = -1;
  int err;

  if (at < 0)
    return is_absent (at) ? 0 : at;
  tree = checked (ctx, CALL_OPEN_TREE, sys_open_tree (at, "", CLONE_FD | AT_RECURSIVE));
  if (tree < 0)
    return tree;
  err = set_attributes (ctx, tree, MOUNT_ATTR_RDONLY, 0, 0);
  return err < 0 ? err : attach_only (ctx, tree, at, s->first, 0);
}

/* Cut off the last part of a path and the slash before it, but not the root's.  */
static size_t
parent_size (const char *path, size_t size)
{
  while (size > 1 && path[size - 1] != '/')
    size--;
  return size > 1 ? size - 1 : size;
}

/* Whether a mount that we made later hides this one: the target, or a directory above it, is on that
   mount.  What was below moves along into a recursive bind, as a copy with an id of its own.  */
static bool
is_covered (struct context *ctx, uint32_t index)
{
  char path[PATH_MAX];
  size_t size = strlen (ctx->made[index].target);

  if (size >= sizeof (path))
    return false;
  memcpy (path, ctx->made[index].target, size + 1);
  for (;; path[size = parent_size (path, size)] = '\0')
    {
      autoclose int found = open_in_root (ctx->rootfd, path, O_PATH);
      uint64_t id;

      if (found >= 0 && mount_id (ctx, found, &id) == 0 && find_made (ctx, id, index + 1) < ctx->made_count)
        return true;
      if (size <= 1 || (found < 0 && !is_absent (found)))
        return false;
    }
}

int
do_verify_mounts (const struct step *s, struct context *ctx)
{
  (void) s;
  for (uint32_t i = 0; i < ctx->made_count; i++)
    {
      autoclose int found = reopen_made (ctx, ctx->made[i].target, ctx->made[i].mnt_id, ctx->made[i].flags);

      if (found < 0 && !is_covered (ctx, i))
        return found;
    }
  return 0;
}
