/* copyup.c: fill a new file system with what the directory that it covers
   holds.

   The directory belongs to the container's image: names in it may be links,
   change while we look (T02, T14), be devices or fifos.  So each name is
   opened as what it is, never through a link, never upwards and never across a
   mount; only regular files are read, and everything is made anew in a tree
   that nobody else can reach yet.  No recursion and no allocation: the depth,
   the number of names and each extended attribute are bounded, the bytes by
   the file system's own size.

   What is mounted in the directory stays behind, and leaves an empty directory
   or file.  Names of one file become files of their own, as with runc and
   crun; a socket without its process is nothing.  */

#include "mounts.h"
#include "sys.h"
#include <dirent.h>
#include <limits.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/xattr.h>

enum
{
  MAX_DEPTH = 100,
  MAX_NAMES = 1 << 20,
  NAMES_SIZE = 4096,
  XATTRS_SIZE = 65536, /* XATTR_LIST_MAX, XATTR_SIZE_MAX */
  CHUNK = 1 << 30,
};

/* Guard of T02: a link is a link.  */
#ifdef WEAK_T02
#define O_AS_IT_IS 0
static const uint64_t WITHIN = 0;
#else
#define O_AS_IT_IS O_NOFOLLOW
static const uint64_t WITHIN = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
#endif
static const uint64_t DIRECTORY = O_RDONLY | O_DIRECTORY | O_AS_IT_IS | O_CLOEXEC;
/* A device or fifo that takes the place of a file meanwhile must not make us
 * wait.  */
static const uint64_t REGULAR = O_RDONLY | O_AS_IT_IS | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;

/* One directory on the way down.  */
struct level
{
  int from, to;
  struct stat st; /* of `from` */
  size_t used, size;
  _Alignas(struct dirent64) char names[NAMES_SIZE]; /* as getdents64(2) gives
                                                       them */
};

static struct level levels[MAX_DEPTH]; /* no memory until it is used */
static char xattr_names[XATTRS_SIZE];
static char xattr_value[XATTRS_SIZE];

/* Bound to the machine that made them, or given anew by the file system's own
 * label.  */
static bool
is_local (const char *name)
{
  return strcmp (name, "security.selinux") == 0 || strcmp (name, "security.ima") == 0
         || strcmp (name, "security.evm") == 0;
}

static int
copy_xattr (struct context *ctx, int from, int to, const char *name)
{
  int size = sys_result (fgetxattr (from, name, xattr_value, sizeof (xattr_value)));
  int err;

  if (size == -ENODATA) /* gone since it was listed */
    return 0;
  if (size < 0)
    return checked (ctx, CALL_FGETXATTR, size);
  err = sys_result (fsetxattr (to, name, xattr_value, (size_t) size, 0));
  if (err == -EOPNOTSUPP) /* tmpfs has user.* since Linux 6.6 */
    return 0;
  return checked (ctx, CALL_FSETXATTR, err);
}

static int
copy_xattrs (struct context *ctx, int from, int to)
{
  int size = sys_result (flistxattr (from, xattr_names, sizeof (xattr_names)));
  int err = 0;

  if (size == -EOPNOTSUPP)
    return 0;
  if (size < 0)
    return checked (ctx, CALL_FGETXATTR, size);
  for (const char *name = xattr_names; err == 0 && name < xattr_names + size; name += strlen (name) + 1)
    if (!is_local (name))
      err = copy_xattr (ctx, from, to, name);
  return err;
}

/* Owner, mode, attributes and times, in an order in which none takes away
   another.  An owner whom the user namespace does not have cannot be given:
   the file is ours then, and gives nobody our rights.  */
static int
copy_status (struct context *ctx, int from, int to, const struct stat *st)
{
  const struct timespec times[] = { st->st_atim, st->st_mtim };
  mode_t mode = st->st_mode & 07777;
  int err = sys_fchown (to, st->st_uid, st->st_gid);

  if (err == -EINVAL)
    {
      mode &= 0777;
      err = 0;
    }
  if (err < 0)
    return checked (ctx, CALL_FCHOWN, err);
  err = checked (ctx, CALL_FCHMOD, sys_fchmod (to, mode));
  if (err == 0)
    err = copy_xattrs (ctx, from, to);
  return err < 0 ? err : checked (ctx, CALL_UTIMENSAT, sys_result (futimens (to, times)));
}

/* From one hole to the next.  */
static int
copy_range (struct context *ctx, int from, int to, off_t start, off_t end)
{
  off_t at = start;

  if (lseek (to, start, SEEK_SET) < 0)
    return checked (ctx, CALL_LSEEK, -errno);
  while (at < end)
    {
      ssize_t n = sendfile (to, from, &at, (size_t) (end - at < CHUNK ? end - at : CHUNK));

      if (n < 0)
        return checked (ctx, CALL_SENDFILE, -errno);
      if (n == 0) /* truncated meanwhile */
        return 0;
    }
  return 0;
}

/* As many bytes as it had when we looked, holes left out.  */
static int
copy_content (struct context *ctx, int from, int to, off_t size)
{
  off_t end = 0;

  while (end < size)
    {
      off_t start = lseek (from, end, SEEK_DATA);
      int err;

      if (start < 0 && errno == ENXIO)
        break;
      end = start < 0 ? -1 : lseek (from, start, SEEK_HOLE);
      if (end < 0)
        return checked (ctx, CALL_LSEEK, -errno);
      if (end > size) /* it grows: no end in sight */
        end = size;
      err = copy_range (ctx, from, to, start, end);
      if (err < 0)
        return err;
    }
  return checked (ctx, CALL_FTRUNCATE, sys_result (ftruncate (to, size)));
}

static int
copy_file (struct context *ctx, const struct level *l, const char *name)
{
  autoclose int from = sys_openat2 (l->from, name, REGULAR, 0, WITHIN);
  autoclose int to = -1;
  struct stat st;
  int err = from < 0 ? from : sys_fstat (from, &st);

  if (err < 0)
    return checked (ctx, CALL_OPENAT2, err);
  if (!S_ISREG (st.st_mode)) /* it was one a moment ago */
    return checked (ctx, CALL_VERIFY, -EXDEV);
  to = checked (ctx, CALL_OPENAT,
                sys_openat (l->to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  err = to < 0 ? to : copy_content (ctx, from, to, st.st_size);
  return err < 0 ? err : copy_status (ctx, from, to, &st);
}

static int
own_name (struct context *ctx, const struct level *l, const char *name, const struct stat *st)
{
  int err = sys_fchownat (l->to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW);

  return err == -EINVAL ? 0 : checked (ctx, CALL_FCHOWN, err);
}

static int
copy_link (struct context *ctx, const struct level *l, int node, const char *name, const struct stat *st)
{
  char text[PATH_MAX];
  int size = checked (ctx, CALL_READLINKAT, sys_readlinkat (node, "", text, sizeof (text)));
  int err;

  if (size < 0)
    return size;
  if ((size_t) size >= sizeof (text))
    return checked (ctx, CALL_READLINKAT, -ENAMETOOLONG);
  text[size] = '\0';
  err = checked (ctx, CALL_SYMLINKAT, sys_symlinkat (text, l->to, name));
  return err < 0 ? err : own_name (ctx, l, name, st);
}

static int
copy_node (struct context *ctx, const struct level *l, const char *name, const struct stat *st)
{
  int err
      = checked (ctx, CALL_MKNODAT, sys_mknodat (l->to, name, st->st_mode & (S_IFMT | 0777), st->st_rdev));

  return err < 0 ? err : own_name (ctx, l, name, st);
}

/* What somebody mounted on is covered by what is mounted: only the name is
 * ours to keep.  */
static int
copy_mount_point (struct context *ctx, const struct level *l, const char *name)
{
  autoclose int node
      = checked (ctx, CALL_OPENAT, sys_openat (l->from, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0));
  autoclose int made = -1;
  struct stat st;
  int err = node < 0 ? node : checked (ctx, CALL_FSTAT, sys_fstat (node, &st));

  if (err < 0)
    return err;
  if (S_ISDIR (st.st_mode))
    return checked (ctx, CALL_MKDIRAT, sys_mkdirat (l->to, name, 0755));
  made = sys_openat (l->to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  return made < 0 ? checked (ctx, CALL_OPENAT, made) : 0;
}

/* Down into a directory, which has been made.  */
static int
enter (struct context *ctx, const struct level *above, struct level *l, const char *name)
{
  int err;

  *l = (struct level){ .from = -1, .to = -1 };
  l->from = checked (ctx, CALL_OPENAT2, sys_openat2 (above->from, name, DIRECTORY, 0, WITHIN));
  if (l->from < 0)
    return l->from;
  l->to = checked (ctx, CALL_OPENAT2, sys_openat2 (above->to, name, DIRECTORY, 0, WITHIN));
  err = l->to < 0 ? l->to : checked (ctx, CALL_FSTAT, sys_fstat (l->from, &l->st));
  return err;
}

static void
leave (struct level *l)
{
  sys_autoclose (&l->from);
  sys_autoclose (&l->to);
}

/* 1 for a directory to go down to, 0 when it is done, or -errno.  */
static int
copy_name (struct context *ctx, const struct level *l, const char *name)
{
  autoclose int node = sys_openat2 (l->from, name, O_PATH | O_AS_IT_IS | O_CLOEXEC, 0, WITHIN);
  struct stat st;
  int err;

  if (node == -ENOENT) /* gone since it was listed */
    return 0;
  if (node == -EXDEV)
    return copy_mount_point (ctx, l, name);
  err = node < 0 ? node : sys_fstat (node, &st);
  if (err < 0)
    return checked (ctx, CALL_OPENAT2, err);
  switch (st.st_mode & S_IFMT)
    {
    case S_IFDIR:
      err = checked (ctx, CALL_MKDIRAT, sys_mkdirat (l->to, name, 0700));
      return err < 0 ? err : 1;
    case S_IFREG: return copy_file (ctx, l, name);
    case S_IFLNK: return copy_link (ctx, l, node, name, &st);
    case S_IFSOCK: return 0;
    default: return copy_node (ctx, l, name, &st);
    }
}

/* The next name of a directory, NULL at its end; *err is its failure.  */
static const char *
next_name (struct context *ctx, struct level *l, int *err)
{
  const struct dirent64 *entry;

  do
    {
      if (l->used == l->size)
        {
          long n = syscall (SYS_getdents64, l->from, l->names, sizeof (l->names));

          *err = n < 0 ? checked (ctx, CALL_GETDENTS64, -errno) : 0;
          if (n <= 0)
            return NULL;
          l->used = 0;
          l->size = (size_t) n;
        }
      entry = (const struct dirent64 *) (const void *) (l->names + l->used);
      l->used += entry->d_reclen;
    }
  while (strcmp (entry->d_name, ".") == 0 || strcmp (entry->d_name, "..") == 0);
  return entry->d_name;
}

/* Everything below levels[0]; directories get their status when they are full.
 */
static int
copy_tree (struct context *ctx)
{
  int depth = 0;
  int err = 0;

  for (uint32_t names = 0; err >= 0 && depth >= 0; names++)
    {
      struct level *l = &levels[depth];
      const char *name = names == MAX_NAMES ? NULL : next_name (ctx, l, &err);

      if (names == MAX_NAMES)
        err = checked (ctx, CALL_VERIFY, -E2BIG);
      else if (name != NULL)
        err = copy_name (ctx, l, name);
      else if (err == 0 && depth > 0)
        err = copy_status (ctx, l->from, l->to, &l->st);
      if (err == 1 && depth + 1 == MAX_DEPTH)
        err = checked (ctx, CALL_VERIFY, -ENAMETOOLONG);
      if (err == 1)
        err = enter (ctx, l, &levels[++depth], name);
      else if (name == NULL && err == 0)
        leave (&levels[depth--]);
    }
  for (; depth >= 0; depth--)
    leave (&levels[depth]);
  return err;
}

/* The covered directory's own status, as far as the options of the file system
 * leave it open.  */
static int
copy_top (struct context *ctx, uint64_t flags)
{
  const struct level *l = &levels[0];
  int err = 0;

  if (flags & MOUNT_KEEP_OWNER)
    err = sys_fchown (l->to, l->st.st_uid, l->st.st_gid);
  if (err < 0 && err != -EINVAL)
    return checked (ctx, CALL_FCHOWN, err);
  if (flags & MOUNT_KEEP_MODE)
    err = checked (ctx, CALL_FCHMOD, sys_fchmod (l->to, l->st.st_mode & 07777));
  else
    err = 0;
  return err < 0 ? err : copy_xattrs (ctx, l->from, l->to);
}

int
copy_up (struct context *ctx, int at, int tree, uint64_t flags)
{
  const struct level top = { .from = at, .to = tree };
  int err = enter (ctx, &top, &levels[0], ".");

  if (err == 0)
    err = copy_top (ctx, flags);
  if (err < 0)
    {
      leave (&levels[0]);
      return err;
    }
  return copy_tree (ctx);
}
