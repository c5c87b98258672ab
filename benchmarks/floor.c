/* floor.c: what the kernel alone needs for a container, the physical limit that
   the library is measured against.

   Per container: mkdir of a cgroup, clone3(2) into new mount, pid, uts, ipc,
   cgroup and network namespaces and into that cgroup, the mounts, device nodes,
   masked and read-only paths of runc's default specification, pivot_root(2),
   execve(2) of a static program, wait, rmdir.  No policy, no checks, no state.

   Modes differ in who makes the process:
     direct       this program clones, the child does the steps
     exec-helper  as direct, and the child first executes a static helper from a memfd
     resident     a resident process clones on request, with CLONE_PARENT
     bare         vfork(2) and execve(2) of the static program, no container

   Run it inside benchmarks/view.py: it wants a pure cgroup2 at /sys/fs/cgroup.  */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LENGTH(array) (sizeof (array) / sizeof *(array))
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP | CLONE_NEWNET)

enum mode
{
  DIRECT,
  EXEC_HELPER,
  RESIDENT,
  BARE,
};

static const char *const mode_names[] = { "direct", "exec-helper", "resident", "bare" };

struct options
{
  enum mode mode;
  unsigned count; /* containers, over all jobs */
  unsigned jobs;
  uint64_t namespaces;
  const char *rootfs; /* holds ./true */
  const char *cgroup; /* parent of the containers' cgroups, NULL for none */
  bool samples;       /* print every one */
};

struct mount_point
{
  const char *type, *target, *data;
  unsigned long flags;
};

/* runc's specconv.Example().  Targets are relative: the working directory is the new root.  */
static const struct mount_point mounts[] = {
  { "proc", "proc", NULL, 0 },
  { "tmpfs", "dev", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME },
  { "devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5", MS_NOSUID | MS_NOEXEC },
  { "tmpfs", "dev/shm", "mode=1777,size=65536k", MS_NOSUID | MS_NOEXEC | MS_NODEV },
  { "mqueue", "dev/mqueue", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV },
  { "sysfs", "sys", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY },
  { "cgroup2", "sys/fs/cgroup", NULL, MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RELATIME | MS_RDONLY },
};

static const struct device
{
  const char *path;
  unsigned minor_number, major_number;
} devices[] = {
  { "dev/null", 3, 1 },   { "dev/zero", 5, 1 },    { "dev/full", 7, 1 },
  { "dev/random", 8, 1 }, { "dev/urandom", 9, 1 }, { "dev/tty", 0, 5 },
};

static const char *const links[][2] = {
  { "/proc/self/fd", "dev/fd" },       { "/proc/self/fd/0", "dev/stdin" }, { "/proc/self/fd/1", "dev/stdout" },
  { "/proc/self/fd/2", "dev/stderr" }, { "pts/ptmx", "dev/ptmx" },
};

static const char *const masked[] = {
  "proc/acpi",        "proc/asound",     "proc/kcore",      "proc/keys",    "proc/latency_stats",
  "proc/timer_list",  "proc/timer_stats", "proc/sched_debug", "sys/firmware", "proc/scsi",
};

static const char *const read_only[]
    = { "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger" };

static void
check (bool ok, const char *what)
{
  if (ok)
    return;
  fprintf (stderr, "floor: %s: %s\n", what, strerror (errno));
  _exit (125);
}

static uint64_t
now_ns (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

/* A directory gets an empty read-only tmpfs, a file /dev/null; what is absent needs no mask.  */
static void
mask (const char *path)
{
  if (mount ("/dev/null", path, NULL, MS_BIND, NULL) == 0 || errno == ENOENT)
    return;
  check (errno == ENOTDIR && mount ("tmpfs", path, "tmpfs", MS_RDONLY, NULL) == 0, path);
}

static void
make_read_only (const char *path)
{
  if (mount (path, path, NULL, MS_BIND | MS_REC, NULL) < 0)
    {
      check (errno == ENOENT, path);
      return;
    }
  check (mount (NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0,
         path);
}

/* The container's own process: from its birth to execve(2).  */
__attribute__ ((noreturn)) static void
become_container (const char *rootfs)
{
  char *const argv[] = { "true", NULL };
  char *const envp[] = { NULL };

  check (mount (NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0, "make / a slave");
  check (mount (rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL) == 0 && chdir (rootfs) == 0, rootfs);
  for (size_t i = 0; i < LENGTH (mounts); i++)
    {
      const struct mount_point *m = &mounts[i];

      if (i > 1 && strncmp (m->target, "dev/", 4) == 0)
        check (mkdir (m->target, 0755) == 0, m->target);
      check (mount (m->type, m->target, m->type, m->flags, m->data) == 0, m->target);
    }
  for (size_t i = 0; i < LENGTH (devices); i++)
    check (mknod (devices[i].path, S_IFCHR | 0666, makedev (devices[i].major_number, devices[i].minor_number))
               == 0,
           devices[i].path);
  for (size_t i = 0; i < LENGTH (links); i++)
    check (symlink (links[i][0], links[i][1]) == 0, links[i][1]);
  check (syscall (SYS_pivot_root, ".", ".") == 0 && umount2 (".", MNT_DETACH) == 0 && chdir ("/") == 0,
         "pivot_root");
  for (size_t i = 0; i < LENGTH (read_only); i++)
    make_read_only (read_only[i]);
  for (size_t i = 0; i < LENGTH (masked); i++)
    mask (masked[i]);
  execve ("/true", argv, envp);
  check (false, "execve /true");
  __builtin_unreachable ();
}

/* clone3(2) without a stack is fork(2).  pid, 0 in the child; *pidfd belongs to the caller.  */
static pid_t
clone_container (uint64_t flags, int cgroup_fd, uint64_t exit_signal, int *pidfd)
{
  struct clone_args args = {
    .flags = flags | CLONE_PIDFD | (cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
    .pidfd = (uint64_t) (uintptr_t) pidfd,
    .exit_signal = exit_signal,
    .cgroup = cgroup_fd >= 0 ? (__u64) cgroup_fd : 0u,
  };

  return (pid_t) syscall (SYS_clone3, &args, sizeof args);
}

/* One message that may carry one descriptor: the cgroup down, the pidfd up.  */
static void
send_fd (int socket, int fd)
{
  char byte = 0;
  union
  {
    char buffer[CMSG_SPACE (sizeof (int))];
    struct cmsghdr align;
  } control = { 0 };
  struct iovec data = { &byte, 1 };
  struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };

  if (fd >= 0)
    {
      message.msg_control = control.buffer;
      message.msg_controllen = sizeof control.buffer;
      struct cmsghdr *header = CMSG_FIRSTHDR (&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN (sizeof (int));
      memcpy (CMSG_DATA (header), &fd, sizeof fd);
    }
  check (sendmsg (socket, &message, MSG_NOSIGNAL) == 1, "sendmsg");
}

/* False at end of file; *fd is -1 if none came.  */
static bool
receive_fd (int socket, int *fd)
{
  char byte;
  union
  {
    char buffer[CMSG_SPACE (sizeof (int))];
    struct cmsghdr align;
  } control;
  struct iovec data = { &byte, 1 };
  struct msghdr message
      = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.buffer, .msg_controllen = sizeof control.buffer };
  ssize_t size = recvmsg (socket, &message, MSG_CMSG_CLOEXEC);

  check (size >= 0, "recvmsg");
  *fd = -1;
  if (size == 1 && CMSG_FIRSTHDR (&message) != NULL)
    memcpy (fd, CMSG_DATA (CMSG_FIRSTHDR (&message)), sizeof *fd);
  return size == 1;
}

/* Clone one sibling per request until the parent closes its end.  */
__attribute__ ((noreturn)) static void
serve (int socket, const struct options *options)
{
  int cgroup_fd;

  while (receive_fd (socket, &cgroup_fd))
    {
      int pidfd = -1;
      pid_t pid = clone_container (options->namespaces | CLONE_PARENT, cgroup_fd, 0, &pidfd);

      check (pid >= 0, "clone3");
      if (pid == 0)
        become_container (options->rootfs);
      send_fd (socket, pidfd);
      close (pidfd);
      if (cgroup_fd >= 0)
        close (cgroup_fd);
    }
  _exit (0);
}

/* The socket of a new resident process, which ends when it is closed.  */
static int
start_resident (const struct options *options)
{
  int ends[2];
  pid_t pid;

  check (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  pid = fork ();
  check (pid >= 0, "fork");
  if (pid == 0)
    {
      close (ends[0]);
      serve (ends[1], options);
    }
  close (ends[1]);
  return ends[0];
}

/* A sealed copy of this static program, as a runtime's helper would be.  */
static int
helper_memfd (void)
{
  int memfd = memfd_create ("helper", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  int self = open ("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  char buffer[65536];
  ssize_t size;

  check (memfd >= 0 && self >= 0, "helper memfd");
  while ((size = read (self, buffer, sizeof buffer)) > 0)
    check (write (memfd, buffer, (size_t) size) == size, "write helper");
  close (self);
  check (fcntl (memfd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0, "seal");
  return memfd;
}

__attribute__ ((noreturn)) static void
exec_helper (int memfd, const char *rootfs)
{
  char *const argv[] = { "floor-helper", (char *) rootfs, NULL };
  char *const envp[] = { NULL };

  syscall (SYS_execveat, memfd, "", argv, envp, AT_EMPTY_PATH);
  check (false, "execveat");
  __builtin_unreachable ();
}

static pid_t
spawn_bare (const char *rootfs)
{
  char path[4096];
  char *const argv[] = { "true", NULL };
  char *const envp[] = { NULL };
  pid_t pid;

  snprintf (path, sizeof path, "%s/true", rootfs);
  pid = vfork ();
  if (pid == 0)
    {
      execve (path, argv, envp);
      _exit (125);
    }
  return pid;
}

struct worker
{
  const struct options *options;
  int helper;   /* memfd, or -1 */
  int resident; /* socket, or -1 */
};

/* The pidfd of a container that is on its way.  */
static int
spawn (const struct worker *worker, int cgroup_fd)
{
  const struct options *options = worker->options;
  int pidfd = -1;
  pid_t pid;

  if (options->mode == RESIDENT)
    {
      send_fd (worker->resident, cgroup_fd);
      check (receive_fd (worker->resident, &pidfd) && pidfd >= 0, "resident process");
      return pidfd;
    }
  pid = clone_container (options->namespaces, cgroup_fd, SIGCHLD, &pidfd);
  check (pid >= 0, "clone3");
  if (pid == 0)
    {
      if (options->mode == EXEC_HELPER)
        exec_helper (worker->helper, options->rootfs);
      become_container (options->rootfs);
    }
  return pidfd;
}

static void
run_container (const struct worker *worker, const char *cgroup)
{
  siginfo_t exited = { 0 };
  int cgroup_fd = -1, pidfd;

  if (cgroup != NULL)
    {
      check (mkdir (cgroup, 0755) == 0, cgroup);
      cgroup_fd = open (cgroup, O_PATH | O_DIRECTORY | O_CLOEXEC);
      check (cgroup_fd >= 0, cgroup);
    }
  pidfd = spawn (worker, cgroup_fd);
  if (cgroup_fd >= 0)
    close (cgroup_fd);
  check (waitid (P_PIDFD, (id_t) pidfd, &exited, WEXITED | __WALL) == 0, "waitid");
  close (pidfd);
  check (exited.si_code == CLD_EXITED && exited.si_status == 0, "the container failed");
  check (cgroup == NULL || rmdir (cgroup) == 0, "rmdir");
}

static void
run_bare (const char *rootfs)
{
  int status = -1;
  pid_t pid = spawn_bare (rootfs);

  check (pid > 0 && waitpid (pid, &status, 0) == pid && status == 0, "vfork and execve");
}

/* One job: its share of the samples, one after another.  */
__attribute__ ((noreturn)) static void
work (const struct options *options, uint64_t *samples, unsigned count)
{
  struct worker worker = { .options = options, .helper = -1, .resident = -1 };
  char cgroup[4096];

  if (options->mode == EXEC_HELPER)
    worker.helper = helper_memfd ();
  if (options->mode == RESIDENT)
    worker.resident = start_resident (options);
  for (unsigned i = 0; i < count; i++)
    {
      uint64_t start = now_ns ();

      if (options->mode == BARE)
        run_bare (options->rootfs);
      else
        {
          if (options->cgroup != NULL)
            snprintf (cgroup, sizeof cgroup, "%s/%d-%u", options->cgroup, (int) getpid (), i);
          run_container (&worker, options->cgroup != NULL ? cgroup : NULL);
        }
      samples[i] = now_ns () - start;
    }
  _exit (0);
}

/* Wall time of all jobs together.  */
static uint64_t
run_jobs (const struct options *options, uint64_t *samples)
{
  uint64_t start = now_ns ();
  unsigned given = 0;
  int status;

  for (unsigned job = 0; job < options->jobs; job++)
    {
      unsigned share = (options->count - given) / (options->jobs - job);
      pid_t pid = fork ();

      check (pid >= 0, "fork");
      if (pid == 0)
        work (options, samples + given, share);
      given += share;
    }
  for (unsigned job = 0; job < options->jobs; job++)
    if (wait (&status) < 0 || status != 0)
      exit (1);
  return now_ns () - start;
}

static int
by_size (const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

  return (x > y) - (x < y);
}

static void
print_result (const struct options *options, uint64_t *samples, uint64_t wall_ns)
{
  const unsigned n = options->count;

  printf ("{\"mode\": \"%s\", \"count\": %u, \"jobs\": %u, \"wall_ns\": %ju, \"per_second\": %.1f", mode_names[options->mode],
          n, options->jobs, (uintmax_t) wall_ns, n * 1e9 / (double) wall_ns);
  if (options->samples)
    {
      printf (", \"samples_ns\": [");
      for (unsigned i = 0; i < n; i++)
        printf ("%s%ju", i ? ", " : "", (uintmax_t) samples[i]);
      printf ("]");
    }
  qsort (samples, n, sizeof *samples, by_size);
  printf (", \"p50_ns\": %ju, \"p90_ns\": %ju, \"p99_ns\": %ju}\n", (uintmax_t) samples[(n - 1) / 2],
          (uintmax_t) samples[(uint64_t) (n - 1) * 90 / 100], (uintmax_t) samples[(uint64_t) (n - 1) * 99 / 100]);
}

static enum mode
parse_mode (const char *name)
{
  for (size_t i = 0; i < LENGTH (mode_names); i++)
    if (strcmp (name, mode_names[i]) == 0)
      return (enum mode) i;
  fprintf (stderr, "floor: no such mode: %s\n", name);
  exit (2);
}

__attribute__ ((noreturn)) static void
usage (void)
{
  fputs ("usage: floor --rootfs DIR [--cgroup DIR] [--mode direct|exec-helper|resident|bare]\n"
         "             [--count N] [--jobs N] [--no-cgroup] [--no-net] [--samples]\n",
         stderr);
  exit (2);
}

static void
parse_options (int argc, char **argv, struct options *options)
{
  static const struct option table[]
      = { { "mode", 1, NULL, 'm' },   { "count", 1, NULL, 'n' },     { "jobs", 1, NULL, 'j' },
          { "rootfs", 1, NULL, 'r' }, { "cgroup", 1, NULL, 'c' },    { "no-cgroup", 0, NULL, 'C' },
          { "no-net", 0, NULL, 'N' }, { "samples", 0, NULL, 's' }, { 0 } };
  int c;

  while ((c = getopt_long (argc, argv, "", table, NULL)) != -1)
    switch (c)
      {
      case 'm': options->mode = parse_mode (optarg); break;
      case 'n': options->count = (unsigned) strtoul (optarg, NULL, 10); break;
      case 'j': options->jobs = (unsigned) strtoul (optarg, NULL, 10); break;
      case 'r': options->rootfs = optarg; break;
      case 'c': options->cgroup = optarg; break;
      case 'C': options->cgroup = NULL; break;
      case 'N': options->namespaces &= ~(uint64_t) CLONE_NEWNET; break;
      case 's': options->samples = true; break;
      default: usage ();
      }
  if (optind != argc || options->rootfs == NULL || options->jobs == 0 || options->count < options->jobs)
    usage ();
}

int
main (int argc, char **argv)
{
  struct options options = { .count = 100, .jobs = 1, .namespaces = NAMESPACES, .cgroup = "/sys/fs/cgroup/aioc-test-floor" };
  uint64_t *samples, wall_ns;

  if (argc == 2 && strcmp (argv[0], "floor-helper") == 0)
    become_container (argv[1]);
  parse_options (argc, argv, &options);
  samples = mmap (NULL, options.count * sizeof *samples, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check (samples != MAP_FAILED, "mmap");
  if (options.cgroup != NULL && options.mode != BARE)
    check (mkdir (options.cgroup, 0755) == 0 || errno == EEXIST, options.cgroup);
  wall_ns = run_jobs (&options, samples);
  if (options.cgroup != NULL && options.mode != BARE)
    check (rmdir (options.cgroup) == 0, options.cgroup);
  print_result (&options, samples, wall_ns);
  return 0;
}
