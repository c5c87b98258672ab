/* wire.h: the one description of what Python tells the helper and what it answers.

   Read twice: by the compiler (through step.h) and by cffi's ffi.cdef(), which
   takes no include guards, no includes and no sized types beyond its own; so
   only integer #defines, enums and structs of stdint types stand here.

   A plan is one sealed memfd: struct wire_plan, then `steps` records, each a
   struct wire_step, `strings` times (uint32_t length without the terminator,
   the bytes, one NUL), then `data_size` raw bytes.  Every record starts at a
   multiple of 8 and is padded with zero bytes to one.  Everything is in the
   machine's own byte order: both ends are one machine.  */

#define WIRE_MAGIC 0x6f696163
#define WIRE_VERSION 1
#define WIRE_MAX_PLAN 8388608
#define WIRE_MAX_STEPS 4096
#define WIRE_MAX_STRINGS 65536
#define WIRE_MAX_DATA 262144
#define WIRE_MAX_FDS 240
#define WIRE_MAX_MOUNTS 1024 /* that a plan makes */
#define WIRE_MAX_TEXT 4096

struct wire_plan
{
  uint32_t magic;
  uint32_t version;
  uint32_t size;  /* of the whole plan, this header included */
  uint32_t steps; /* how many records follow */
  uint32_t fds;   /* how many descriptors travel with it; a step names one by index */
  uint32_t reserved;
};

struct wire_step
{
  uint32_t op;      /* enum wire_op */
  uint32_t size;    /* of the record, padding included */
  int32_t fd;       /* index of a passed descriptor, or -1 */
  uint32_t strings; /* how many */
  uint64_t a;
  uint64_t b;
  uint64_t c;
  uint32_t data_size;
  uint32_t reserved;
};

/* What a step does; fields not named must be 0 (fd: -1, no strings, no data).
   In brackets the fields that it takes.  */
enum wire_op
{
  /* Dialogue. */
  STEP_PAUSE = 1,     /* [a kind: enum wire_pause, b 1: dumpable while waiting] answer PAUSED, wait for PROCEED */
  STEP_GATE = 2,      /* [fd listening socket, a uid allowed to open it] close the control socket, accept a peer, answer PAUSED, wait for PROCEED; its connection is the control socket from here on. A peer that goes without PROCEED changes nothing; one that comes too late reads end of file and no PAUSED */
  STEP_FORK = 3,      /* [a CLONE_NEW* flags] close the host's descriptors and go on in a new sibling (CLONE_PARENT); this process answers SPAWNED with its pidfd and exits 0 */
  /* Namespaces and placement. */
  STEP_JOIN_CGROUP = 10, /* [fd a v1 "tasks" file or v2 "cgroup.procs"] write "0" */
  STEP_JOIN_NS = 11,  /* [fd namespace file or pidfd, a CLONE_NEW* flags] setns(2) */
  STEP_VERIFY_NS = 12, /* [a one CLONE_NEW* flag, b inode] the namespace we are in is that one, or EXDEV */
  STEP_UNSHARE = 13,  /* [a CLONE_NEW* flags] */
  STEP_TIME_NS = 14,  /* [string offsets, may be ""] unshare, write timens_offsets, enter */
  STEP_NS_ROOT = 15,  /* [a 1: drop supplementary groups] become uid 0, gid 0 of a user namespace just made or joined */
  STEP_OOM_SCORE = 16, /* [a value as int64_t] */
  STEP_LOOPBACK = 17, /* bring `lo` up */
  STEP_HOSTNAME = 18, /* [string] */
  STEP_DOMAINNAME = 19, /* [string] */
  STEP_SETSID = 20,
  STEP_KEYRING = 21,  /* [string name] join a session keyring of that name, made if there is none; ENOSYS is no error */
  STEP_RESET = 22,    /* [a mask of enum wire_reset] attributes of the caller that must not reach the payload */
  STEP_SYSCTL = 23,   /* [strings path below /proc/sys without leading '/', value] */
  /* Root file system.  Targets are absolute paths, resolved inside the rootfs. */
  STEP_PROPAGATION = 30, /* [a MS_* flags] of "/", before anything is mounted, or of the new root after STEP_PIVOT */
  STEP_PROCFS = 31,   /* take a private procfs handle; needs the final pid namespace */
  STEP_ROOTFS = 32,   /* [fd detached tree or -1, a enum wire_rootfs, string path; with ROOTFS_LAYERS also source, upper and work directory or "" for both, then layers, the topmost first] attach the root at path: the passed tree, or what `a` says of path */
  STEP_MOUNT = 33,    /* [a MOUNT_ATTR_* set, b propagation MS_* or 0, c enum wire_mount_flag; strings fstype, source, target, then one "key" or "key=value" each] */
  STEP_BIND = 34,     /* [fd detached tree or -1, a MOUNT_ATTR_* set | clear << 32, b propagation MS_* or 0, c enum wire_mount_flag; strings source, target; data uint64_t rdev with MOUNT_DEVICE_NODE] */
  STEP_SETATTR = 35,  /* [a MOUNT_ATTR_* set | clear << 32, b propagation MS_* or 0, c enum wire_mount_flag; strings target, then one "key" or "key=value" each for its file system] of a mount made before */
  STEP_DEVICE = 36,   /* [a mode with S_IFMT, b major << 32 | minor, c uid << 32 | gid; string target] mknod, or the same node already there */
  STEP_SYMLINK = 37,  /* [strings text, target] an existing link with that text is fine, anything else there stays and is no error only if c of enum wire_mount_flag has MOUNT_OPTIONAL */
  STEP_MASK = 38,     /* [strings target, and SELinux label of the tmpfs] /dev/null over a file, an empty read-only tmpfs over a directory; ENOENT is no error */
  STEP_READONLY = 39, /* [string target] bind on itself, read-only; ENOENT is no error */
  STEP_PIVOT = 40,    /* [a enum wire_pivot] */
  STEP_VERIFY_MOUNTS = 41, /* each mount made is still the one at its path, or EXDEV */
  STEP_CONSOLE = 42,  /* [a rows << 16 | columns (0: leave), b 1: bind over /dev/console, c uid << 32 | gid] pty from the container's devpts as stdio and controlling terminal; the next PAUSED carries the master */
  /* The process. */
  STEP_FD = 50,       /* [fd, a number, b 1: fchown to c = uid << 32 | gid unless it is a device or the file system refuses] the descriptor the payload will see under that number */
  STEP_RLIMIT = 51,   /* [a resource, b soft, c hard] */
  STEP_UMASK = 52,    /* [a] of the payload */
  STEP_BOUNDING = 53, /* [a mask of the capabilities that stay] */
  STEP_CREDENTIALS = 54, /* [a uid, b gid, c 1: leave the groups alone; data uint32_t groups] keeps capabilities for the next step */
  STEP_CAPABILITIES = 55, /* [data uint64_t effective, permitted, inheritable, ambient] exact */
  STEP_CWD = 56,      /* [a 1: make it if missing, b 1: EACCES and EPERM are no error yet; string path] and prove it is inside the root */
  STEP_NO_NEW_PRIVS = 57,
  STEP_PROGRAM = 58,  /* [strings candidates, best first] the first that is an executable file */
  STEP_EXEC = 59,     /* [a argc; strings argv, then envp] close everything else and execve(2); nothing may follow */
  STEP_SECCOMP = 60,  /* [a SECCOMP_FILTER_FLAG_*, b 1: later, as the last call before execve(2); data struct sock_filter] load a filter, once; with NEW_LISTENER answer PAUSED with the listener, wait for PROCEED */
  /* Programs of others on the way.  */
  STEP_HOOK = 70,     /* [a argc, b timeout in ms or 0, c where in the data the pid belongs; strings path, directory or "", argv, then envp; data the state document but for the pid] run it to its end; it must end with 0 */
  /* What the process gets of the machine's CPUs and memory.  */
  STEP_AFFINITY = 80, /* [data a mask of CPUs, uint64_t words] */
  STEP_SCHEDULER = 81, /* [data struct sched_attr with util_min and util_max] */
  STEP_IO_PRIORITY = 82, /* [a class << 13 | level] */
  STEP_MEMORY_POLICY = 83, /* [a MPOL_* mode with flags; data a mask of nodes, uint64_t words] */
  STEP_PERSONALITY = 84, /* [a PER_*] */
  /* Security modules.  */
  STEP_LABEL = 85,    /* [a enum wire_label, string label or "": none] through the handle of STEP_PROCFS, read back: EXDEV if another is in force */
  STEP_FILE_LABEL = 86, /* [strings target, SELinux label] of the root of a mount made before */
};

/* Meeting points, by what the parent must do before it says PROCEED.  */
enum wire_pause
{
  PAUSE_MAPS = 1,    /* write uid_map, setgroups, gid_map, limits */
  PAUSE_CGROUP = 2,  /* move us into our cgroup */
  PAUSE_CONSOLE = 3, /* take the pty master */
  PAUSE_CREATED = 4, /* save the state: from here on we outlive the parent; directly before STEP_GATE, and only the payload's descriptors, dialogue and gate are still open */
  PAUSE_HOOKS = 5,   /* run the hooks that run outside */
  PAUSE_NETWORK = 6, /* move devices into our network namespace */
  PAUSE_READY = 7,   /* as CREATED, but without a gate: the payload is executed as soon as the state is saved */
};

enum wire_label
{
  LABEL_APPARMOR_EXEC = 1, /* of the payload */
  LABEL_SELINUX_EXEC = 2,
  LABEL_SELINUX_KEYS = 3,  /* of keys and keyrings that we make */
};

enum wire_reset
{
  RESET_SIGNALS = 1,   /* dispositions and mask */
  RESET_AFFINITY = 2,  /* all CPUs; the cpuset then narrows it */
  RESET_SCHEDULER = 4, /* SCHED_OTHER, nice 0 unless it would need a privilege, I/O class none */
  RESET_PERSONALITY = 8,
  RESET_MEMPOLICY = 16,
};

enum wire_mount_flag
{
  MOUNT_MAKE_DIR = 1,    /* a missing target becomes a directory, 0755 */
  MOUNT_MAKE_FILE = 2,   /* a missing target becomes an empty file */
  MOUNT_RECURSIVE = 4,   /* bind: with its submounts */
  MOUNT_SETATTR_RECURSIVE = 8, /* the attributes go to submounts too (mount_setattr AT_RECURSIVE) */
  MOUNT_OPTIONAL = 16,   /* an absent source, file system or target is no error */
  MOUNT_PROCFS = 32,     /* target must be a real directory, no link; result must be procfs/sysfs itself */
  MOUNT_KEEP_MODE = 64,  /* tmpfs: give the new root the mode of the directory it covers */
  MOUNT_RDONLY_SB = 128, /* fsconfig "ro": read-only superblock as well */
  MOUNT_DEVICE_NODE = 256, /* bind: the source must be a device node; the step's data is its expected uint64_t major << 32 | minor */
  MOUNT_COPY_UP = 512,   /* tmpfs: fill it with what the directory has that it covers */
  MOUNT_KEEP_OWNER = 1024, /* with MOUNT_COPY_UP: its owner as well */
  MOUNT_SOURCE_NOFOLLOW = 2048, /* bind: a link is the source itself, not what it leads to */
  MOUNT_TARGET_NOFOLLOW = 4096, /* a link is the target itself */
  MOUNT_COPY_LINK = 8192, /* bind: a source that is a link is made anew at the target, not mounted; with MOUNT_SOURCE_NOFOLLOW */
};

enum wire_rootfs
{
  ROOTFS_CLONE = 0,     /* a recursive clone */
  ROOTFS_OPEN = 1,      /* the directory itself, or the one passed: nothing is mounted, for PIVOT_CHROOT */
  ROOTFS_THROWAWAY = 2, /* a layer over it that ends with the container; where the kernel gives none, a recursive clone that is read-only */
  ROOTFS_LAYERS = 3,    /* layers over each other, and over them the upper directory or a layer that ends with the container */
};

enum wire_pivot
{
  PIVOT_ROOT = 0,
  PIVOT_MOVE = 1,   /* MS_MOVE and chroot, for a root on ramfs */
  PIVOT_CHROOT = 2, /* no mount namespace of our own */
};

/* Application to spawner, one SOCK_SEQPACKET message: this, with descriptors
   [control socket, plan memfd, cgroup directory if SPAWN_INTO_CGROUP, then the plan's].  */
enum wire_spawn_flag
{
  SPAWN_INTO_CGROUP = 1, /* clone3(2) CLONE_INTO_CGROUP */
  SPAWN_OWNED = 2,       /* killed by the spawner when the application is gone; not what STEP_FORK makes */
  SPAWN_NETWORK = 4,     /* its STEP_UNSHARE may take a network namespace made beforehand: owned by the user namespace of the application, and with `lo` up */
  SPAWN_ADOPT = 8, /* nothing is made: the second descriptor is the pidfd of what is owned from now on; answered only if not */
};

struct wire_spawn
{
  uint32_t magic;
  uint32_t version;
  uint32_t flags;       /* enum wire_spawn_flag */
  uint32_t fds;         /* how many travel with this message, all of them */
  uint64_t clone_flags; /* CLONE_NEWUSER, CLONE_NEWPID: what must be there from birth */
};

/* Spawner and container process to application, on the control socket.  SPAWNED
   may come after PAUSED, and after that of a forked process: they have several senders.  End of file without FAILED
   after the last PROCEED means that execve(2) worked.  */
enum wire_reply_kind
{
  REPLY_SPAWNED = 1, /* step: that forked it, 0: the spawner did; value: pid in the application's pid namespace, -errno if clone3 failed; carries the pidfd */
  REPLY_PAUSED = 2,  /* step */
  REPLY_FAILED = 3,  /* step (UINT32_MAX: the plan itself), error, call; of CALL_HOOK also value, and after the struct up to WIRE_MAX_TEXT bytes of output */
};

struct wire_reply
{
  uint32_t magic;
  uint32_t kind;
  uint32_t step;
  int32_t error;  /* errno, positive */
  uint32_t call;  /* enum wire_call: the system call that failed */
  uint32_t fds;   /* how many travel with it */
  int64_t value;  /* CALL_HOOK with ECANCELED: how the hook ended, a status or minus a signal */
};

/* Application to container process: the one verb.  */
#define WIRE_PROCEED 0x50524f43
struct wire_order
{
  uint32_t magic;
  uint32_t verb;
};
