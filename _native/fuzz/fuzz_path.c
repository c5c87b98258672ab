/* fuzz_path.c: the way through a hostile root file system (path.c) under libFuzzer, on real directories.

   The input is a farm of directories, files and links, and a path to look up or to make in it.  What
   comes back has to be what the kernel itself finds there with RESOLVE_IN_ROOT, and nothing may ever
   appear beside the root.  In some cases two names of the root are exchanged meanwhile; then only the
   latter holds.  */

#include "../step.h"
#include "../sys.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum
{
  MAX_ENTRIES = 24,
  MAX_TEXT = 400,
};

/* Parts of paths and of links.  No other file of the machine has such names.  */
static const char *const tokens[] = { "aiocq1", "aiocq2", "aiocq3", "aiocq4", "..", ".", "/", "//" };

struct input
{
  const uint8_t *data;
  size_t left;
};

static char outer_name[64];
static int outer = -1, root = -1;
static atomic_bool racing;

static void
require (bool what)
{
  if (!what)
    abort ();
}

static uint8_t
take (struct input *in)
{
  return in->left > 0 ? (in->left--, *in->data++) : 0;
}

/* Names with slashes between them, or what else there is, up to `most` of them.  */
static void
take_path (struct input *in, char text[static MAX_TEXT], unsigned int most)
{
  unsigned int count = take (in) % most + 1;

  text[0] = '\0';
  for (unsigned int i = 0; i < count; i++)
    {
      uint8_t kind = take (in);

      strcat (text, tokens[kind % 8]);
      if (kind % 8 < 6 && kind < 192)
        strcat (text, "/");
    }
}

/* Where a file is put is no part of what is tested: never through a link.  */
static int
open_directory (int dirfd, const char *path)
{
  return sys_openat2 (dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0,
                      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

static void
make_entry (struct input *in)
{
  char where[MAX_TEXT], text[MAX_TEXT];
  const char *name = tokens[take (in) % 4];
  uint8_t kind = take (in);
  int directory;

  take_path (in, where, 3);
  directory = open_directory (root, where);
  if (directory < 0)
    directory = sys_openat (root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  require (directory >= 0);
  if (kind % 4 == 0)
    (void) close (openat (directory, name, O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  else if (kind % 4 == 1)
    (void) mkdirat (directory, name, 0755);
  else
    {
      take_path (in, text, 6);
      (void) symlinkat (text, directory, name);
    }
  (void) close (directory);
}

/* Remove everything below a directory; how much there was.  */
static unsigned int
empty (int directory)
{
  DIR *stream = fdopendir (directory);
  const struct dirent *entry;
  unsigned int count = 0;

  require (stream != NULL);
  while ((entry = readdir (stream)) != NULL)
    {
      if (strcmp (entry->d_name, ".") == 0 || strcmp (entry->d_name, "..") == 0)
        continue;
      count++;
      if (unlinkat (dirfd (stream), entry->d_name, 0) == 0)
        continue;
      count += empty (open_directory (dirfd (stream), entry->d_name));
      require (unlinkat (dirfd (stream), entry->d_name, AT_REMOVEDIR) == 0);
    }
  (void) closedir (stream);
  return count;
}

static bool
same_file (int one, int other)
{
  struct stat a, b;

  require (fstat (one, &a) == 0 && fstat (other, &b) == 0);
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Nothing was made beside the root, nor at the root of the machine.  */
static void
check_outside (void)
{
  DIR *stream = fdopendir (sys_openat (outer, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
  unsigned int count = 0;
  struct stat st;
  char path[32];

  require (stream != NULL);
  while (readdir (stream) != NULL)
    count++;
  (void) closedir (stream);
  require (count == 3); /* "root" and the two that every directory has */
  for (unsigned int i = 0; i < 4; i++)
    {
      (void) snprintf (path, sizeof (path), "/%s", tokens[i]);
      require (lstat (path, &st) < 0);
    }
}

/* A descriptor is of something below the root, unless it was removed.  */
static void
check_below (int fd)
{
  char link[64], place[512], prefix[96];
  ssize_t size;

  (void) snprintf (link, sizeof (link), "/proc/self/fd/%d", fd);
  (void) snprintf (prefix, sizeof (prefix), "%s/root", outer_name);
  size = readlink (link, place, sizeof (place) - 1);
  require (size > 0);
  place[size] = '\0';
  require (strncmp (place, prefix, strlen (prefix)) == 0);
}

/* The kernel's own answer.  Mounts and renames anywhere on the machine make ".." fail.  */
static int
find (const char *path)
{
  int fd;

  do
    fd = sys_openat2 (root, path, O_PATH | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
  while (fd == -EAGAIN);
  return fd;
}

/* What is found is what the kernel finds, before and after.  */
static void
look_up (const char *path, uint64_t flags)
{
  autoclose int before = find (path);
  autoclose int fd = open_or_make (root, path, flags);
  autoclose int after = find (path);

  if (fd == -EAGAIN)
    return; /* our patience has an end; see find() */
  if (before != -ENOENT || flags == 0)
    require (before < 0 ? fd == before && after == before : fd >= 0 && same_file (before, fd));
  require (fd != -EXDEV && (fd != -ENOENT || flags == 0));
  if (fd >= 0)
    {
      require (after >= 0 && same_file (fd, after));
      check_below (fd);
    }
}

static void *
race (void *arg)
{
  while (atomic_load (&racing))
    (void) renameat2 (root, tokens[0], root, tokens[1], RENAME_EXCHANGE);
  return arg;
}

static void
look_up_racing (const char *path, uint64_t flags)
{
  pthread_t racer;

  atomic_store (&racing, true);
  require (pthread_create (&racer, NULL, race, NULL) == 0);
  for (int i = 0; i < 8; i++)
    {
      autoclose int fd = open_or_make (root, path, flags);

      if (fd >= 0)
        check_below (fd);
    }
  atomic_store (&racing, false);
  require (pthread_join (racer, NULL) == 0);
}

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  (void) argc;
  (void) argv;
  (void) snprintf (outer_name, sizeof (outer_name), "/dev/shm/aioc-test-fuzz-XXXXXX");
  require (mkdtemp (outer_name) != NULL);
  outer = open (outer_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  require (outer >= 0 && mkdirat (outer, "root", 0755) == 0);
  root = openat (outer, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  require (root >= 0);
  return 0;
}

__attribute__ ((destructor)) static void
remove_outer (void)
{
  if (outer >= 0)
    {
      (void) empty (dup (root));
      (void) unlinkat (outer, "root", AT_REMOVEDIR);
      (void) rmdir (outer_name);
    }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static const uint64_t wanted[] = { 0, MOUNT_MAKE_DIR, MOUNT_MAKE_FILE, MOUNT_MAKE_DIR };
  struct input in = { data, size };
  uint8_t kind = take (&in);
  uint8_t entries = take (&in) % MAX_ENTRIES;
  uint64_t flags = wanted[kind % 4];
  char path[MAX_TEXT];

  for (uint8_t i = 0; i < entries; i++)
    make_entry (&in);
  take_path (&in, path, 12);
  if (kind >= 240)
    look_up_racing (path, flags);
  else
    look_up (path, flags);
  check_outside ();
  require (empty (sys_openat (root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)) < 1024);
  return 0;
}
