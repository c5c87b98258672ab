/* lib.h: what the Python side calls.  Read by lib.c and by cffi's ffi.cdef(), so with wire.h's
   restrictions: no includes, no guards, plain declarations.

   Every function returns a value or -errno, releases the GIL (cffi does), and keeps no state.
   Descriptors come back close-on-exec and belong to the caller.  */

/* SHA-256 in hex of the helper that was built together with this library.  */
extern const char lib_helper_digest[];

/* Execute the image (a read-only descriptor of a sealed memfd) with `control` as its control
   socket, without copying this process: vfork(2)-like, own stack, signals blocked meanwhile.
   Its pid, and *pidfd.  */
int lib_spawn_helper (int image, int control, int *pidfd);

/* Execute `path` in a session of its own, in `directory`, with `input` as descriptor 0, `output` as 1,
   `errors` as 2, and no other; argv and envp end with NULL.  In the same way.  Its pid, and *pidfd.  */
int lib_start_program (const char *path, char **argv, char **envp, const char *directory, int input,
                       int output, int errors, int *pidfd);

/* Execute `path` in a session of its own with fds[i] as descriptor i, `count` of them and no other; they
   may be renumbered.  In that namespace, too, unless it is -1; with `keyring` in a new session
   keyring of that name and these permissions.  In the same way.  */
int lib_start_worker (const char *path, char **argv, char **envp, int *fds, uint32_t count, int namespace,
                      const char *keyring, uint32_t permissions, int *pidfd);

/* A mount namespace like ours in which the directory `root` is a mount, perhaps read-only; fds[i] become the directories
   paths[i], `count` of them, opened there.  */
int lib_rooted_mounts (const char *root, int read_only, const char *const *paths, uint32_t count, int *fds);

/* A sealed memfd with these bytes; `flags` for memfd_create(2) and `seals` beside the four usual
   ones, each left out where the kernel does not know it.  */
int lib_sealed_memfd (const char *name, const void *data, size_t size, unsigned int flags,
                      unsigned int seals);

/* How a process ended, and what it used.  */
struct lib_exit
{
  int32_t code;   /* CLD_EXITED, CLD_KILLED or CLD_DUMPED; 0: it has not ended */
  int32_t status; /* exit status or signal */
  int32_t usage_known;
  int32_t reserved;
  int64_t user_us;
  int64_t system_us;
  int64_t max_rss_kb;
  int64_t minor_faults;
  int64_t major_faults;
  int64_t blocks_in;
  int64_t blocks_out;
  int64_t switches_voluntary;
  int64_t switches_forced;
};

/* waitid(2) P_PIDFD, never blocking, reaping if asked to.  When somebody else has reaped it, or SIGCHLD is
   ignored, what the pidfd still knows (Linux 6.15; without usage), or -ECHILD.  */
int lib_wait (int pidfd, int reap, struct lib_exit *result);

int lib_openat2 (int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
int lib_open_tree (int dirfd, const char *path, unsigned int flags);
int lib_move_mount (int from, const char *from_path, int to, const char *to_path, unsigned int flags);
int lib_mount_setattr (int dirfd, const char *path, unsigned int flags, uint64_t set, uint64_t clear,
                       uint64_t propagation);

/* A detached overlay over the directory `lower`: its upper layer is a tmpfs of at most `size` (as
   tmpfs(5) writes it; "" for its default) that goes away with the mount, with a root of uid:gid.  */
int lib_overlay (const char *lower, const char *size, uint32_t uid, uint32_t gid);

/* The same over many layers, the topmost first.  */
struct lib_layers
{
  const char *const *layers;
  uint32_t count;
  const char *source; /* what mountinfo says that it is made of */
  const char *upper;  /* NULL for a tmpfs */
  const char *work;
  uint32_t uid, gid; /* of the tmpfs */
  uint32_t userxattr;
};
int lib_layered (const struct lib_layers *layers);
int lib_syncfs (int fd);

/* A user namespace with these maps, in the form of /proc/PID/uid_map, and nobody in it.  */
int lib_user_namespace (const char *uid_map, const char *gid_map);

/* The maps of a user namespace as /proc/PID/uid_map has them, then its gid_map, then "allow" or "deny"
   for setgroups(2), each ended by a NUL; how many bytes.  */
int lib_user_namespace_maps (int user_namespace, char *text, size_t size);

/* Give a detached mount, and with `recursive` those in it, the maps of a user namespace.  */
int lib_map_mount (int tree, int user_namespace, int recursive);

/* A netlink socket in the network namespace of a namespace file or a pidfd; -1 is our own.  */
int lib_netlink_socket (int network_namespace);

/* Load a BPF_PROG_TYPE_CGROUP_DEVICE program of `size` bytes.  */
int lib_load_device_filter (const void *program, size_t size);

/* Make a loaded program the only one that is attached to this cgroup directly.  */
int lib_attach_device_filter (int cgroup, int program);

/* The magic number of a descriptor's file system.  statfs(2) */
int64_t lib_filesystem_type (int fd);

/* libseccomp, opened at the first call; until one has succeeded, no other function that needs it may
   be called.  -ENOENT: it is not installed; -ENOSYS: it is too old.  */
struct lib_seccomp
{
  uint32_t version; /* major << 16 | minor << 8 | micro */
  uint32_t api;     /* what of it this kernel can do.  seccomp_api_get(3) */
  uint32_t native;  /* the architecture, as an audit token */
};
int lib_seccomp_open (struct lib_seccomp *found);

/* The token of an architecture, "x86_64"; 0 if libseccomp does not know it.  */
uint32_t lib_seccomp_arch (const char *name);

/* The number of a system call.  Negative numbers below -1 stand for calls that the architecture has
   not, or only as part of another; -1 if libseccomp does not know it.  With arch 0 the native one.  */
int lib_seccomp_number (uint32_t arch, const char *name);
int lib_seccomp_name (uint32_t arch, int number, char *buf, size_t size);

#define LIB_SECCOMP_ARGS 6

struct lib_seccomp_arg
{
  uint32_t index;
  uint32_t op; /* SCMP_CMP_* */
  uint64_t value;
  uint64_t value_two;
};

/* When all conditions hold.  */
struct lib_seccomp_rule
{
  int32_t number;  /* native */
  uint32_t action; /* SECCOMP_RET_* with its data */
  uint32_t count;  /* of conditions */
  uint32_t reserved;
  struct lib_seccomp_arg args[LIB_SECCOMP_ARGS];
};

struct lib_seccomp_profile
{
  uint32_t default_action;
  uint32_t arch_count; /* beside the native one, which may be among them */
  uint32_t rule_count;
  const uint32_t *arches;
  const struct lib_seccomp_rule *rules;
};

/* A memfd with the filter as an array of struct sock_filter; or -errno as libseccomp gives it, and
   *refused is the architecture, or, counted on from these, the rule that it did not take.  */
int lib_seccomp_build (const struct lib_seccomp_profile *profile, uint32_t *refused);

/* What a filter of `size` bytes returns for a call: SECCOMP_RET_*, as the kernel would run it.
   UINT32_MAX for instructions that no filter of libseccomp has.  */
uint32_t lib_seccomp_run (const void *program, size_t size, uint32_t number, uint32_t arch,
                          const uint64_t *args);

/* 1 if seccomp(2) knows these SECCOMP_FILTER_FLAG_*, all of them.  */
int lib_seccomp_knows (unsigned int flags);

/* 1 if the kernel has the system call of that name, one of those in lib_probe.c, and no filter says
   that it has not; else 0.  -EINVAL for another name.  */
int lib_knows_call (const char *name);

/* decode.c, for tests: is this a plan?  */
int plan_check (const void *buf, size_t size, uint32_t fds, uint32_t *step);
