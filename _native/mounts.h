/* mounts.h: what the mount steps are made of: mounts.c.  All return 0, a descriptor or -errno,
   and set ctx->call.  */
#pragma once
#include "step.h"
#include <errno.h>

/* Unique for ever where the kernel has it (Linux 6.8), else among the mounts of now.  */
int mount_id (struct context *ctx, int fd, uint64_t *id);

/* Where in the list of what we made, from `first` on; `made_count` if it is not ours.  */
uint32_t find_made (const struct context *ctx, uint64_t id, uint32_t first);

/* Whether fd is the root of a procfs or sysfs: a bind of one counts only if it is the whole of it.  */
int verify_kernel_fs (struct context *ctx, int fd);

/* Whether fd is the null device.  */
int verify_null (struct context *ctx, int fd);

/* Open the target of a mount, made if it is missing and may be: open_or_make(), but the last part as
   it is with MOUNT_TARGET_NOFOLLOW.  */
int open_mount_target (struct context *ctx, const char *target, uint64_t mount_flags);

/* Move `tree` onto `at`, which was found at `target`, and prove that it is there now.  The
   descriptor of what is found there.  */
int attach (struct context *ctx, int tree, int at, const char *target, uint64_t mount_flags);

/* Require that `target`, looked up anew, leads to the mount `id`.  The descriptor that was found.  */
int reopen_made (struct context *ctx, const char *target, uint64_t id, uint64_t mount_flags);

/* `change` is MOUNT_ATTR_* to set | to clear << 32, propagation MS_* with or without MS_REC, or 0.  */
int set_attributes (struct context *ctx, int tree, uint64_t change, uint64_t propagation,
                    uint64_t mount_flags);

/* Configure what fsopen(2) gave: a flag if there is no value; "key" or "key=value".  */
int set_key (struct context *ctx, int fs, const char *key, const char *value);
int set_option (struct context *ctx, int fs, const char *option);

/* The superblock and a detached mount of it.  */
int make_filesystem (struct context *ctx, int fs, unsigned int attributes);

/* A detached tmpfs with nothing to see and no room for anything; with that SELinux label, or NULL.  */
int make_empty_tree (struct context *ctx, const char *label);

/* throwaway.c: a detached overlay over the directory `lower` of the host.  */
int make_throwaway (struct context *ctx, const char *lower);

/* The same over the layers of a step with ROOTFS_LAYERS.  */
int make_layered (struct context *ctx, const struct step *s);

/* copyup.c: fill `tree`, a detached mount, with what the directory `at` holds.  */
int copy_up (struct context *ctx, int at, int tree, uint64_t mount_flags);

/* steps_dev.c: a link with that text; one that is there already is fine, anything else only if
   `optional`.  */
int make_link (struct context *ctx, const char *text, const char *target, bool optional);

static inline bool
is_absent (int err)
{
  return err == -ENOENT || err == -ENOTDIR;
}
