/* step.h: what the helper's files share: a decoded step, the context that steps
   work on, and one executor per opcode.  */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h" /* wants the types above: cffi reads it too, so it includes nothing */

#include "calls.h" /* enum wire_call, CALL_*: also read by cffi */

/* A decoded step.  Strings and data lie in the plan's own mapping.  */
struct step
{
  uint32_t op;
  uint32_t index; /* in the plan */
  int32_t fd;     /* the descriptor itself (not the index), or -1 */
  uint64_t a, b, c;
  const char *first; /* first string; the next starts after its NUL and a length: string_at() */
  uint32_t strings;
  const void *data;
  uint32_t data_size;
};

struct made_mount
{
  const char *target; /* in the plan's mapping */
  uint64_t flags;     /* MOUNT_TARGET_NOFOLLOW: how it is found */
  uint64_t mnt_id;    /* STATX_MNT_ID_UNIQUE where the kernel has it, else STATX_MNT_ID */
};

#define MAX_MADE_MOUNTS WIRE_MAX_MOUNTS
#define HOOK_STRINGS 2 /* of STEP_HOOK that come before argv */
#define FD_NUMBERS (3 + WIRE_MAX_FDS) /* that STEP_FD may give: stdio and the preserved ones */

/* A resource limit that would bind the helper itself: STEP_EXEC sets it.  */
struct late_limit
{
  bool asked; /* by STEP_RLIMIT */
  uint64_t soft, hard;
};

/* State carried from step to step.  Every descriptor is close-on-exec; -1 is none.  */
struct context
{
  int control;    /* to the application, or to whoever opened the gate */
  int rootfd;     /* root of the new root file system, O_PATH */
  int procfd;     /* private procfs, never attached */
  int hostprocfd; /* root of the procfs that we started under, O_PATH; gone before FORK and "created" */
  int nsdirfd;    /* our own /proc/self/ns of that one, for STEP_VERIFY_NS */
  int sysctlfd;   /* root of a procfs with sysctls in it; lives from the first STEP_SYSCTL to the last */
  int nullfd;     /* the host's verified /dev/null, a detached clone ready to be cloned again */
  int masktreefd; /* the shared empty read-only tmpfs that covers directories */
  int sendfd;     /* goes with the next PAUSED */
  int gatefd;     /* the listening socket of STEP_GATE */
  int networkfd;  /* a network namespace made beforehand, for STEP_UNSHARE */
  int fd_numbers[FD_NUMBERS]; /* STEP_FD: number -> descriptor, -1 none */
  const char *program;        /* found by STEP_PROGRAM */
  uint32_t umask;             /* of the payload */
  bool pivoted;
  struct late_limit core, files; /* RLIMIT_CORE, RLIMIT_NOFILE; core starts as the caller's */
  struct step filter;  /* a STEP_SECCOMP that waits for execve(2); op 0 is none */
  bool in_userns;                /* STEP_NS_ROOT has run */
  bool joined;                   /* STEP_JOIN_NS has run: others share a namespace with us */
  uint32_t call;                 /* enum wire_call of the last failure */
  int64_t value;                 /* how the hook ended that has failed */
  char text[WIRE_MAX_TEXT];      /* the end of what it wrote */
  uint32_t text_size;
  struct made_mount made[MAX_MADE_MOUNTS];
  uint32_t made_count;
};

/* Note which call a failure came from; the result passes through.  */
static inline int
checked (struct context *ctx, enum wire_call call, int result)
{
  if (result < 0)
    ctx->call = call;
  return result;
}

/* The n-th string; NULL past the end.  decode.c has proven that it is there and terminated.  */
const char *string_at (const struct step *s, uint32_t n);

/* close(2) and forget; -1 is fine.  */
void drop_fd (int *fd);

/* Executors: 0 or -errno, with ctx->call set on failure.  STEP_EXEC does not return on success.  */
int do_pause (const struct step *s, struct context *ctx); /* container.c */
int do_gate (const struct step *s, struct context *ctx);
int do_fork (const struct step *s, struct context *ctx);

int do_join_cgroup (const struct step *s, struct context *ctx); /* steps_ns.c */
int do_join_ns (const struct step *s, struct context *ctx);
int do_verify_ns (const struct step *s, struct context *ctx);
int do_unshare (const struct step *s, struct context *ctx);
int do_time_ns (const struct step *s, struct context *ctx);
int do_ns_root (const struct step *s, struct context *ctx);
int do_oom_score (const struct step *s, struct context *ctx);
int do_loopback (const struct step *s, struct context *ctx);
int do_hostname (const struct step *s, struct context *ctx);
int do_domainname (const struct step *s, struct context *ctx);
int do_setsid (const struct step *s, struct context *ctx);
int do_keyring (const struct step *s, struct context *ctx);
int do_reset (const struct step *s, struct context *ctx);
int do_sysctl (const struct step *s, struct context *ctx);

int do_propagation (const struct step *s, struct context *ctx); /* steps_root.c */
int do_procfs (const struct step *s, struct context *ctx);
int do_rootfs (const struct step *s, struct context *ctx);
int do_pivot (const struct step *s, struct context *ctx);

int do_mount (const struct step *s, struct context *ctx); /* steps_mount.c */
int do_bind (const struct step *s, struct context *ctx);
int do_setattr (const struct step *s, struct context *ctx);
int do_mask (const struct step *s, struct context *ctx);
int do_readonly (const struct step *s, struct context *ctx);
int do_verify_mounts (const struct step *s, struct context *ctx);
int do_file_label (const struct step *s, struct context *ctx);

int do_device (const struct step *s, struct context *ctx); /* steps_dev.c */
int do_symlink (const struct step *s, struct context *ctx);
int do_console (const struct step *s, struct context *ctx);

int do_fd (const struct step *s, struct context *ctx); /* steps_process.c */
int do_rlimit (const struct step *s, struct context *ctx);
int do_umask (const struct step *s, struct context *ctx);
int do_bounding (const struct step *s, struct context *ctx);
int do_credentials (const struct step *s, struct context *ctx);
int do_capabilities (const struct step *s, struct context *ctx);
int do_cwd (const struct step *s, struct context *ctx);
int do_no_new_privs (const struct step *s, struct context *ctx);
int do_program (const struct step *s, struct context *ctx);
int do_exec (const struct step *s, struct context *ctx);

int do_hook (const struct step *s, struct context *ctx); /* steps_hook.c */

int do_affinity (const struct step *s, struct context *ctx); /* steps_tuning.c */
int do_scheduler (const struct step *s, struct context *ctx);
int do_io_priority (const struct step *s, struct context *ctx);
int do_memory_policy (const struct step *s, struct context *ctx);
int do_personality (const struct step *s, struct context *ctx);

int do_label (const struct step *s, struct context *ctx); /* steps_label.c */

int do_seccomp (const struct step *s, struct context *ctx); /* steps_seccomp.c */

/* path.c: the only place where paths below the rootfs are resolved.  */

/* Open `path` inside the tree of `root` (openat2 RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), bounded
   retry on EAGAIN.  An fd, close-on-exec, or -errno.  */
int open_in_root (int root, const char *path, uint64_t flags);

/* The same, but no part of the path may be a link: -ELOOP.  */
int open_real (int root, const char *path, uint64_t flags);

/* Open it O_PATH, making what is missing: parents 0755, the last part a directory
   (MOUNT_MAKE_DIR) or an empty file (MOUNT_MAKE_FILE), part by part on fds, never through a
   raced link.  With MOUNT_PROCFS it must be a real directory.  */
int open_or_make (int root, const char *path, uint64_t mount_flags);

/* Open the parent of the last part in the root, making missing parents, and point *name at the
   last part.  "..", "." and "" as a last part: -EINVAL.  */
int open_parent (int root, const char *path, const char **name);

/* sys.h holds static inline wrappers for the system calls: result or -errno.  */
