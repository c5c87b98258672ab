/* throwaway.c: a layer over a directory that ends with the container, made by an ordinary user in a
   user namespace.  Root has the application make it: lib_mount.c.

   Until Linux 6.15 overlayfs takes only an upper directory that is attached in the caller's mount
   namespace.  So its tmpfs is attached for a moment over "/", where nobody who already has a root
   looks.  */

#include "mounts.h"
#include "sys.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum
{
  OPTION_SIZE = 256, /* fsconfig(2) */
  FIRST_LAYER = 4,
};

static int
make_tmpfs (struct context *ctx)
{
  autoclose int fs = checked (ctx, CALL_FSOPEN, sys_fsopen ("tmpfs", FSOPEN_CLOEXEC));
  int err = fs < 0 ? fs : set_key (ctx, fs, "mode", "0755");

  return err < 0 ? err : make_filesystem (ctx, fs, 0);
}

/* A tmpfs with the two directories, attached here, and our working directory.  */
static int
enter_upper (struct context *ctx)
{
  autoclose int tmpfs = make_tmpfs (ctx);
  int err = tmpfs < 0 ? tmpfs : checked (ctx, CALL_MKDIRAT, sys_mkdirat (tmpfs, "upper", 0755));

  if (err == 0)
    err = checked (ctx, CALL_MKDIRAT, sys_mkdirat (tmpfs, "work", 0755));
  if (err == 0)
    err = checked (ctx, CALL_MOVE_MOUNT, sys_move_mount (tmpfs, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH));
  return err < 0 ? err : checked (ctx, CALL_FCHDIR, sys_fchdir (tmpfs));
}

/* Take away what enter_upper() attached: the overlay has it still.  */
static int
leave_upper (struct context *ctx)
{
  int err = checked (ctx, CALL_UMOUNT2, sys_umount2 (".", MNT_DETACH));

  return err < 0 ? err : checked (ctx, CALL_CHDIR, sys_chdir ("/"));
}

/* overlayfs wants a list with ':' between its members, so ':' and '\' are escaped.  */
static int
escape (struct context *ctx, const char *lower, char escaped[static OPTION_SIZE])
{
  size_t used = 0;

  for (; *lower != '\0'; lower++)
    {
      if (used + 3 > OPTION_SIZE)
        return checked (ctx, CALL_FSCONFIG, -ENAMETOOLONG);
      if (*lower == ':' || *lower == '\\')
        escaped[used++] = '\\';
      escaped[used++] = *lower;
    }
  escaped[used] = '\0';
  return 0;
}

static int
make_overlay (struct context *ctx, const char *lower)
{
  autoclose int fs = checked (ctx, CALL_FSOPEN, sys_fsopen ("overlay", FSOPEN_CLOEXEC));
  int err = fs < 0 ? fs : set_key (ctx, fs, "lowerdir", lower);

  if (err == 0)
    err = set_key (ctx, fs, "upperdir", "upper");
  if (err == 0)
    err = set_key (ctx, fs, "workdir", "work");
  if (err == 0)
    err = set_key (ctx, fs, "userxattr", NULL);
  return err < 0 ? err : make_filesystem (ctx, fs, 0);
}

int
make_throwaway (struct context *ctx, const char *lower)
{
  char escaped[OPTION_SIZE];
  autoclose int tree = -1;
  int err = escape (ctx, lower, escaped);

  if (err == 0)
    err = enter_upper (ctx);
  if (err < 0)
    return err;
  tree = make_overlay (ctx, escaped);
  err = leave_upper (ctx);
  return err < 0 ? err : take_fd (&tree);
}

/* Each layer by itself: Linux 6.7.  */
static int
append_layers (const struct step *s, struct context *ctx, int fs)
{
  int err = 0;

  for (uint32_t i = FIRST_LAYER; err == 0 && i < s->strings; i++)
    err = set_key (ctx, fs, "lowerdir+", string_at (s, i));
  return err;
}

/* Older kernels take one option of 255 bytes for all: so the layers get short names, as links in our
   working directory.  */
static int
link_layers (const struct step *s, struct context *ctx, int fs)
{
  char list[OPTION_SIZE] = "";
  size_t used = 0;
  int err = 0;

  for (uint32_t i = FIRST_LAYER; err == 0 && i < s->strings; i++)
    {
      char name[16];
      int size = snprintf (name, sizeof (name), "%s%x", used > 0 ? ":" : "", i - FIRST_LAYER);

      if (used + (size_t) size >= sizeof (list))
        return checked (ctx, CALL_FSCONFIG, -ENAMETOOLONG);
      memcpy (list + used, name, (size_t) size + 1);
      err = checked (ctx, CALL_SYMLINKAT,
                     sys_symlinkat (string_at (s, i), AT_FDCWD, name + (used > 0 ? 1 : 0)));
      used += (size_t) size;
    }
  return err < 0 ? err : set_key (ctx, fs, "lowerdir", list);
}

static int
stack_layers (struct context *ctx, const struct step *s,
              int (*set) (const struct step *, struct context *, int))
{
  const char *upper = string_at (s, 2);
  const char *work = string_at (s, 3);
  autoclose int fs = checked (ctx, CALL_FSOPEN, sys_fsopen ("overlay", FSOPEN_CLOEXEC));
  int err = fs < 0 ? fs : set (s, ctx, fs);

  if (err == 0)
    err = set_key (ctx, fs, "source", string_at (s, 1));
  if (err == 0)
    err = set_key (ctx, fs, "upperdir", upper[0] != '\0' ? upper : "upper");
  if (err == 0)
    err = set_key (ctx, fs, "workdir", upper[0] != '\0' ? work : "work");
  if (err == 0)
    err = set_key (ctx, fs, "userxattr", NULL);
  return err < 0 ? err : make_filesystem (ctx, fs, 0);
}

int
make_layered (struct context *ctx, const struct step *s)
{
  autoclose int tree = -1;
  int err = enter_upper (ctx);

  if (err < 0)
    return err;
  tree = stack_layers (ctx, s, append_layers);
  if (tree == -EINVAL)
    tree = stack_layers (ctx, s, link_layers);
  err = leave_upper (ctx);
  if (tree < 0)
    return tree;
  return err < 0 ? err : take_fd (&tree);
}
