/* steps_dev.c: device nodes, links and the console.

   Made by name in a directory that is held open, then opened without following
   links and verified before owner or mode change.  Invariants 10, 11 and 19.  */

#include "mounts.h"
#include "sys.h"
#include <limits.h>
#include <linux/major.h>
#include <string.h>
#include <sys/sysmacros.h>

enum
{
  DEVPTS_ROOT_INO = 1,
  PTMX_INO = 2,
  PTMX_MINOR = 2, /* devices.txt */
};

/* Guard of T06: what has the name is seen as it is, not as what it leads to.  */
#ifdef WEAK_T06
#define NODE_FLAGS (O_PATH | O_CLOEXEC)
#else
#define NODE_FLAGS (O_PATH | O_NOFOLLOW | O_CLOEXEC)
#endif

static int
open_parent_of (struct context *ctx, const char *path, const char **name)
{
#ifdef WEAK_T43 /* guard of T43: links in the root lead nowhere outside it */
  char parent[PATH_MAX] = "./";

  *name = strrchr (path, '/') + 1;
  strncat (parent, path + 1, (size_t) (*name - path - 1));
  return sys_openat (ctx->rootfd, parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
#endif
  return checked (ctx, CALL_OPENAT2, open_parent (ctx->rootfd, path, name));
}

/* An O_PATH descriptor takes no fchmod(2) before fchmodat2(2), Linux 6.6.  */
static int
change_mode (struct context *ctx, int fd, mode_t mode)
{
  char link[sizeof ("self/fd/") + 10] = "self/fd/";
  char *end = link + sizeof (link) - 1;
  char *digits = end;
  int err = sys_fchmodat2 (fd, "", mode, AT_EMPTY_PATH);

  if (err != -ENOSYS)
    return checked (ctx, CALL_FCHMOD, err);
  for (int rest = fd; digits == end || rest != 0; rest /= 10)
    *--digits = (char) ('0' + rest % 10);
  memmove (link + strlen ("self/fd/"), digits, (size_t) (end - digits) + 1);
  return checked (ctx, CALL_FCHMOD, sys_fchmodat (ctx->procfd, link, mode));
}

/* The node that the step asks for: its type and, but for a fifo, its number.  */
static bool
is_node (const struct stat *st, mode_t mode, dev_t rdev)
{
  return (st->st_mode & S_IFMT) == (mode & S_IFMT) && (S_ISFIFO (mode) || st->st_rdev == rdev);
}

/* mknod(2) has given it the mode and our ids, unless the directory has a default ACL or the setgid
   bit.  chown(2) takes the set-id bits away again.  */
static int
own_node (const struct step *s, struct context *ctx, int fd, const struct stat *st)
{
  uid_t uid = (uid_t) (s->c >> 32);
  gid_t gid = (gid_t) s->c;
  mode_t mode = (mode_t) s->a & ALLPERMS;
  bool is_ours = st->st_uid == uid && st->st_gid == gid;
  int err = 0;

  if (!is_ours)
    err = checked (ctx, CALL_FCHOWN, sys_fchownat (fd, "", uid, gid, AT_EMPTY_PATH));
  if (err == 0 && ((st->st_mode & ALLPERMS) != mode || (!is_ours && mode & (S_ISUID | S_ISGID))))
    err = change_mode (ctx, fd, mode);
  return err;
}

int
do_device (const struct step *s, struct context *ctx)
{
  const char *name;
  autoclose int parent = open_parent_of (ctx, s->first, &name);
  autoclose int fd = -1;
  mode_t mode = (mode_t) s->a;
  dev_t rdev = makedev ((unsigned int) (s->b >> 32), (unsigned int) s->b);
  struct stat st;
  int made, err;

  if (parent < 0)
    return parent;
  made = checked (ctx, CALL_MKNODAT, sys_mknodat (parent, name, mode, rdev));
  if (made < 0 && made != -EEXIST)
    return made;
  fd = checked (ctx, CALL_OPENAT, sys_openat (parent, name, NODE_FLAGS, 0));
  err = fd < 0 ? fd : checked (ctx, CALL_FSTAT, sys_fstat (fd, &st));
  if (err != 0)
    return err;
#ifdef WEAK_T06 /* guard of T06: it is the node that we want, or ours to change */
  return own_node (s, ctx, fd, &st);
#endif
  if (!is_node (&st, mode, rdev))
    return checked (ctx, CALL_MKNODAT, -EEXIST);
  return made < 0 ? 0 : own_node (s, ctx, fd, &st); /* one that was there is left as it is: runc */
}

/* Whether what is there is a link with that text.  */
static bool
is_link (int parent, const char *name, const char *text)
{
  char found[PATH_MAX];
  int size = sys_readlinkat (parent, name, found, sizeof (found));

  return size >= 0 && strlen (text) == (size_t) size && memcmp (found, text, (size_t) size) == 0;
}

int
make_link (struct context *ctx, const char *text, const char *target, bool optional)
{
  const char *name;
  autoclose int parent = open_parent_of (ctx, target, &name);
  int err = parent < 0 ? parent : checked (ctx, CALL_SYMLINKAT, sys_symlinkat (text, parent, name));

  if (parent >= 0 && err == -EEXIST && (optional || is_link (parent, name, text)))
    return 0;
  return err;
}

int
do_symlink (const struct step *s, struct context *ctx)
{
  return make_link (ctx, s->first, string_at (s, 1), (s->c & MOUNT_OPTIONAL) != 0);
}

/* The console.  */

/* fd is inode `ino` of a devpts, which nobody but the kernel can put there.  */
static int
verify_devpts (struct context *ctx, int fd, ino_t ino)
{
  struct statfs fs;
  struct stat st;
  int err = checked (ctx, CALL_FSTATFS, sys_fstatfs (fd, &fs));

  if (err == 0)
    err = checked (ctx, CALL_FSTAT, sys_fstat (fd, &st));
  if (err != 0)
    return err;
  if (fs.f_type == DEVPTS_SUPER_MAGIC && st.st_ino == ino)
    return 0;
#ifdef WEAK_T29 /* guard of T29: it is a devpts */
  return 0;
#endif
  return checked (ctx, CALL_VERIFY, -EXDEV);
}

/* The container's own devpts; without a root of our own (exec), the one of the root that we joined.  */
static int
open_devpts (struct context *ctx)
{
  static const char path[] = "/dev/pts";
  autoclose int joined
      = ctx->rootfd >= 0 ? -1 : sys_openat (AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  autoclose int dir = checked (ctx, CALL_OPENAT2,
                               open_in_root (joined >= 0 ? joined : ctx->rootfd, path, O_PATH | O_DIRECTORY));
  int err = dir < 0 ? dir : verify_devpts (ctx, dir, DEVPTS_ROOT_INO);

  return err < 0 ? err : take_fd (&dir);
}

/* Its multiplexer: a new pty for each open(2).  */
static int
open_master (struct context *ctx, int devpts)
{
#ifdef WEAK_T29 /* guard of T29: by no link and across no mount */
  uint64_t resolve = 0;
#else
  uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
#endif
  autoclose int fd
      = checked (ctx, CALL_OPENAT2, sys_openat2 (devpts, "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC, 0, resolve));
  struct stat st;
  int unlock = 0;
  int err = fd < 0 ? fd : verify_devpts (ctx, fd, PTMX_INO);

  if (err == 0)
    err = checked (ctx, CALL_FSTAT, sys_fstat (fd, &st));
  if (err != 0)
    return err;
  if (!is_node (&st, S_IFCHR, makedev (TTYAUX_MAJOR, PTMX_MINOR)))
    return checked (ctx, CALL_VERIFY, -EXDEV);
  err = checked (ctx, CALL_IOCTL, sys_ioctl (fd, TIOCSPTLCK, &unlock));
  return err < 0 ? err : take_fd (&fd);
}

/* The other end, by the master itself and not by the name that devpts gives it.  ioctl_tty(2) */
static int
open_slave (struct context *ctx, int master)
{
  autoclose int fd
      = checked (ctx, CALL_IOCTL, sys_result (ioctl (master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)));
  struct stat st;
  int err = fd < 0 ? fd : checked (ctx, CALL_FSTAT, sys_fstat (fd, &st));

  if (err < 0)
    return err;
  if (!S_ISCHR (st.st_mode) || major (st.st_rdev) != UNIX98_PTY_SLAVE_MAJOR)
    return checked (ctx, CALL_VERIFY, -EXDEV);
  return take_fd (&fd);
}

/* /dev/console as it is, or a new file of that name.  Only a file and a node may be covered.  */
static int
open_console (struct context *ctx, const char *path)
{
  const char *name;
  autoclose int parent = open_parent_of (ctx, path, &name);
  autoclose int fd = parent < 0 ? parent : sys_openat (parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  struct stat st;
  int err;

  if (parent < 0)
    return parent;
  if (fd == -ENOENT)
    fd = sys_openat (parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  err = fd < 0 ? checked (ctx, CALL_OPENAT, fd) : checked (ctx, CALL_FSTAT, sys_fstat (fd, &st));
  if (err < 0)
    return err;
  if (!S_ISREG (st.st_mode) && !S_ISCHR (st.st_mode))
    return checked (ctx, CALL_VERIFY, -EEXIST);
  return take_fd (&fd);
}

/* What covers /dev/console.  */
static int
console_tree (struct context *ctx, int slave)
{
#ifdef WEAK_T29 /* guard of T29: the pty that we hold, not what has its name */
  autoclose int named = open_in_root (ctx->rootfd, "/dev/pts/0", O_PATH);

  slave = named;
#endif
  return checked (ctx, CALL_OPEN_TREE,
                  sys_open_tree (slave, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}

static int
bind_console (struct context *ctx, int slave)
{
  static const char path[] = "/dev/console";
  autoclose int at = open_console (ctx, path);
  autoclose int tree = at < 0 ? at : console_tree (ctx, slave);
  autoclose int found = tree < 0 ? tree : attach (ctx, tree, at, path, 0);

  return found < 0 ? found : 0;
}

static int
set_size (struct context *ctx, int master, uint64_t rows_and_columns)
{
  struct winsize size
      = { .ws_row = (uint16_t) (rows_and_columns >> 16), .ws_col = (uint16_t) rows_and_columns };

  return rows_and_columns == 0 ? 0 : checked (ctx, CALL_IOCTL, sys_ioctl (master, TIOCSWINSZ, &size));
}

int
do_console (const struct step *s, struct context *ctx)
{
  autoclose int devpts = open_devpts (ctx);
  autoclose int master = devpts < 0 ? devpts : open_master (ctx, devpts);
  autoclose int slave = master < 0 ? master : open_slave (ctx, master);
  int err = slave < 0 ? slave : set_size (ctx, master, s->a);

  if (err == 0)
    err = checked (ctx, CALL_FCHOWN, sys_fchown (slave, (uid_t) (s->c >> 32), (gid_t) s->c));
  if (err == 0 && s->b != 0)
    err = bind_console (ctx, slave);
  if (err == 0)
    err = checked (ctx, CALL_IOCTL, sys_ioctl (slave, TIOCSCTTY, NULL));
  if (err < 0)
    return err;
  ctx->fd_numbers[0] = ctx->fd_numbers[1] = ctx->fd_numbers[2] = take_fd (&slave);
  ctx->sendfd = take_fd (&master);
  return 0;
}
