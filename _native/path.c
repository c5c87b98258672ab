/* path.c: the only place where paths below the rootfs are resolved.

   The rootfs is hostile: any part of it may be a link, and other containers may
   exchange its parts while we look.  So the kernel resolves (openat2(2) with
   RESOLVE_IN_ROOT), and what this file adds only ever makes something new in a
   directory that it holds open.  Invariants 8 to 10.  */

#include "step.h"
#include "sys.h"
#include <limits.h>
#include <string.h>
#include <time.h>

enum
{
  MAX_TRIES = 128,
  MAX_LINKS = 40,          /* as path_resolution(7) */
  PATIENCE_NS = 2000000,   /* after MAX_TRIES */
  PART_SIZE = NAME_MAX + 2 /* a name cut off here is still one that the kernel refuses */
};

/* Guard of T07 and T27: a part that became a link is seen as a link.  */
#if defined(WEAK_T27) || defined(WEAK_T07)
#define PART_FLAGS (O_PATH | O_CLOEXEC)
#else
#define PART_FLAGS (O_PATH | O_CLOEXEC | O_NOFOLLOW)
#endif

/* Guard of T21: what is asked to be real has no links on the way.  */
#ifdef WEAK_T21
#define RESOLVE_REAL 0
#else
#define RESOLVE_REAL RESOLVE_NO_SYMLINKS
#endif

static int64_t
now_ns (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (int64_t) t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ".." fails with EAGAIN whenever any mount or rename happens meanwhile, anywhere on the machine,
   and with EXDEV if the directory left the root.  Bounded: else who renames in a loop stalls us.  */
static int
openat2_retrying (int dirfd, const char *path, uint64_t flags, uint64_t resolve)
{
  int64_t deadline = 0;

  for (int tries = 0;; tries++)
    {
      int fd = sys_openat2 (dirfd, path, flags | O_CLOEXEC, 0, resolve);

      if ((fd != -EAGAIN && fd != -EXDEV) || (deadline != 0 && now_ns () > deadline))
        return fd;
      if (tries == MAX_TRIES)
        deadline = now_ns () + PATIENCE_NS;
    }
}

int
open_in_root (int root, const char *path, uint64_t flags)
{
#ifdef WEAK_T40 /* guard of T40: links and ".." lead nowhere outside the root */
  path += strspn (path, "/");
  return openat2_retrying (root, *path != '\0' ? path : ".", flags, RESOLVE_NO_MAGICLINKS);
#endif
  return openat2_retrying (root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int
open_real (int root, const char *path, uint64_t flags)
{
  return openat2_retrying (root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_REAL);
}

/* A way through the rootfs, one part at a time.  */
struct walk
{
  int root;
  int at;              /* the directory reached so far, never a link */
  unsigned int links;  /* followed so far */
  uint64_t flags;      /* MOUNT_MAKE_DIR, MOUNT_MAKE_FILE, MOUNT_PROCFS */
  char real[PATH_MAX]; /* its name below the root, free of links: "" or "/a/b" */
  char rest[PATH_MAX]; /* still to go */
};

static void
walk_close (const struct walk *w)
{
  sys_autoclose (&w->at);
}

static int
walk_to (struct walk *w, int fd)
{
  if (fd < 0)
    return fd;
  sys_autoclose (&w->at);
  w->at = fd;
  return 0;
}

/* By name from the root, not by "..": a directory moved away by somebody must not lead us out.  */
static int
walk_up (struct walk *w)
{
  char *last = strrchr (w->real, '/');

  if (last != NULL)
    *last = '\0';
  return walk_to (w, openat2_retrying (w->root, w->real[0] != '\0' ? w->real + 1 : ".", O_PATH | O_DIRECTORY,
                                       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS));
}

static int
walk_to_root (struct walk *w)
{
  w->real[0] = '\0';
  return walk_to (w, openat2_retrying (w->root, ".", O_PATH | O_DIRECTORY, RESOLVE_BENEATH));
}

static int
walk_down (struct walk *w, int fd, const char *part)
{
  size_t used = strlen (w->real);
  size_t size = strlen (part);

  if (used + 1 + size >= sizeof (w->real))
    return sys_close (fd), -ENAMETOOLONG;
  w->real[used] = '/';
  memcpy (w->real + used + 1, part, size + 1);
  return walk_to (w, fd);
}

/* Put the text of the link before what is still to go.  */
static int
walk_link (struct walk *w, int fd)
{
  char text[PATH_MAX];
  struct statfs fs;
  size_t rest = strlen (w->rest);
  int size = sys_readlinkat (fd, "", text, sizeof (text));

  if (size < 0)
    return size;
  /* A magic link's text means nothing.  procfs has no others worth following, and nothing can be
     made there.  */
  if (sys_fstatfs (fd, &fs) < 0 || fs.f_type == PROC_SUPER_MAGIC || w->flags & MOUNT_PROCFS)
    return -ELOOP;
  if (++w->links > MAX_LINKS)
    return -ELOOP;
  if ((size_t) size + 1 + rest >= sizeof (w->rest))
    return -ENAMETOOLONG;
  memmove (w->rest + size + 1, w->rest, rest + 1);
  memcpy (w->rest, text, (size_t) size);
  w->rest[size] = '/';
  return text[0] == '/' ? walk_to_root (w) : 0;
}

/* Take the next part out of what is still to go; "" at the end.  */
static void
next_part (struct walk *w, char part[static PART_SIZE])
{
  size_t start = strspn (w->rest, "/");
  size_t size = strcspn (w->rest + start, "/");
  size_t next = start + size + strspn (w->rest + start + size, "/");
  size_t kept = size < PART_SIZE ? size : PART_SIZE - 1;

  memcpy (part, w->rest + start, kept);
  part[kept] = '\0';
  memmove (w->rest, w->rest + next, strlen (w->rest + next) + 1);
}

/* EEXIST is no error: somebody else, say a container on the same rootfs, made it first.  */
static int
make_part (const struct walk *w, const char *part)
{
  bool file = w->rest[0] == '\0' && w->flags & MOUNT_MAKE_FILE;
  int made = file ? sys_openat (w->at, part, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644)
                  : sys_mkdirat (w->at, part, 0755);

  if (file)
    sys_autoclose (&made);
  return made < 0 && made != -EEXIST ? made : 0;
}

/* One part, made if it is missing.  Owner and mode of what somebody else put there are his affair;
   that it is no link is ours.  */
static int
open_part (const struct walk *w, const char *part)
{
  for (int tries = 0; tries < MAX_TRIES; tries++)
    {
      int fd = sys_openat (w->at, part, PART_FLAGS, 0);
      int err;

      if (fd != -ENOENT)
        return fd;
      err = make_part (w, part);
      if (err < 0)
        return err;
    }
  return -EAGAIN;
}

static int
walk_part (struct walk *w, const char *part)
{
  autoclose int fd = -1;
  struct stat st;
  int err;

  if (strcmp (part, ".") == 0)
    return 0;
  if (strcmp (part, "..") == 0)
    return walk_up (w);
  fd = open_part (w, part);
  if (fd < 0)
    return fd;
  err = sys_fstat (fd, &st);
  if (err < 0)
    return err;
  if (S_ISLNK (st.st_mode))
    return walk_link (w, fd);
  if (S_ISDIR (st.st_mode))
    return walk_down (w, take_fd (&fd), part);
  return w->rest[0] == '\0' ? 0 : -ENOTDIR;
}

/* Make what is missing of the path.  Links on the way lead where they would inside the container,
   also the dangling ones.  */
static int
make_missing (int root, const char *path, uint64_t flags)
{
  __attribute__ ((cleanup (walk_close))) struct walk w = { .root = root, .at = -1, .flags = flags };
  char part[PART_SIZE];
  size_t size = strlen (path);
  int err;

  if (size >= sizeof (w.rest))
    return -ENAMETOOLONG;
  memcpy (w.rest, path, size + 1);
  err = walk_to_root (&w);
  for (next_part (&w, part); err == 0 && part[0] != '\0'; next_part (&w, part))
    err = walk_part (&w, part);
  return err;
}

int
open_or_make (int root, const char *path, uint64_t mount_flags)
{
  /* The walk's own idea of the place counts for nothing: the kernel looks again.  */
  for (int tries = 0; tries < MAX_TRIES; tries++)
    {
      int fd = mount_flags & MOUNT_PROCFS ? open_real (root, path, O_PATH | O_DIRECTORY)
                                          : open_in_root (root, path, O_PATH);
      int err;

      if (fd != -ENOENT || !(mount_flags & (MOUNT_MAKE_DIR | MOUNT_MAKE_FILE)))
        return fd;
      err = make_missing (root, path, mount_flags);
      if (err < 0)
        return err;
    }
  return -EAGAIN;
}

int
open_parent (int root, const char *path, const char **name)
{
  const char *slash = strrchr (path, '/');
  char parent[PATH_MAX];
  size_t size = slash == NULL ? 0 : (size_t) (slash - path);

  *name = slash == NULL ? path : slash + 1;
  if (**name == '\0' || strcmp (*name, ".") == 0 || strcmp (*name, "..") == 0)
    return -EINVAL;
  if (size + 2 > sizeof (parent))
    return -ENAMETOOLONG;
  memcpy (parent, path, size);
  memcpy (parent + size, "/", 2); /* a directory, and for "" the root itself */
  return open_or_make (root, parent, MOUNT_MAKE_DIR);
}
