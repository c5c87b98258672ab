/* guest.c: what a process finds itself to be, as one JSON object on standard output.

   The program of containers in tests: static, and by system calls rather than by files
   where there is a choice, so that it can be trusted in a root of the attacker's.

     guest                    tell, and end
     guest wait               tell, then wait for the end of standard input
     guest call NUMBER [A...] make one system call and print its result, or -errno
     guest call32 NUMBER      the same as a 32-bit program would, on x86-64
     guest all [PATH...]      tell everything: mounts, namespaces, /dev, and what is at these paths  */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

extern char **environ;

enum
{
  MAX_FD = 2048,
  MAX_GROUPS = 4096,
  SIGNALS = 64,
  IOPRIO_WHO_PROCESS = 1,
};

static const char *separator = "";

static void
text (const char *s)
{
  putchar ('"');
  for (; *s != '\0'; s++)
    if (*s == '"' || *s == '\\' || (unsigned char) *s < 0x20 || (unsigned char) *s > 0x7e)
      printf ("\\u%04x", (unsigned char) *s);
    else
      putchar (*s);
  putchar ('"');
}

static void
key (const char *name)
{
  printf ("%s\"%s\":", separator, name);
  separator = ",";
}

static void
number (const char *name, long long value)
{
  key (name);
  printf ("%lld", value);
}

static void
words (const char *name, char **list)
{
  const char *comma = "";

  key (name);
  putchar ('[');
  for (; *list != NULL; list++, comma = ",")
    {
      fputs (comma, stdout);
      text (*list);
    }
  putchar (']');
}

static void
ids (void)
{
  static gid_t groups[MAX_GROUPS];
  uid_t ruid, euid, suid;
  gid_t rgid, egid, sgid;
  int count = getgroups (MAX_GROUPS, groups);

  getresuid (&ruid, &euid, &suid);
  getresgid (&rgid, &egid, &sgid);
  key ("uids");
  printf ("[%u,%u,%u]", ruid, euid, suid);
  key ("gids");
  printf ("[%u,%u,%u]", rgid, egid, sgid);
  key ("groups");
  putchar ('[');
  for (int i = 0; i < count; i++)
    printf ("%s%u", i > 0 ? "," : "", groups[i]);
  putchar (']');
}

static uint64_t
mask (int (*bit) (int))
{
  uint64_t all = 0;

  for (int i = 0; i < 64; i++)
    if (bit (i) == 1)
      all |= UINT64_C (1) << i;
  return all;
}

static int
is_bounding (int cap)
{
  return prctl (PR_CAPBSET_READ, cap);
}

static int
is_ambient (int cap)
{
  return prctl (PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0);
}

static void
capabilities (void)
{
  struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
  struct __user_cap_data_struct sets[2] = { 0 };

  syscall (SYS_capget, &header, sets);
  key ("capabilities");
  printf ("{\"effective\":%llu,\"permitted\":%llu,\"inheritable\":%llu,\"bounding\":%llu,\"ambient\":%llu}",
          (unsigned long long) sets[1].effective << 32 | sets[0].effective,
          (unsigned long long) sets[1].permitted << 32 | sets[0].permitted,
          (unsigned long long) sets[1].inheritable << 32 | sets[0].inheritable,
          (unsigned long long) mask (is_bounding), (unsigned long long) mask (is_ambient));
}

/* "number" to what is behind it.  Nothing is open but what was here before us.  */
static void
descriptors (void)
{
  const char *comma = "";

  key ("fds");
  putchar ('{');
  for (int fd = 0; fd < MAX_FD; fd++)
    {
      struct stat st;
      struct statfs fs;

      if (fstat (fd, &st) < 0)
        continue;
      fstatfs (fd, &fs);
      printf ("%s\"%d\":{\"mode\":%u,\"rdev\":[%u,%u],\"dev\":%llu,\"ino\":%llu,\"uid\":%u,\"gid\":%u,\"flags\":%d,\"fs\":%lld}",
              comma, fd, st.st_mode, major (st.st_rdev), minor (st.st_rdev), (unsigned long long) st.st_dev,
              (unsigned long long) st.st_ino, st.st_uid, st.st_gid, fcntl (fd, F_GETFL), (long long) fs.f_type);
      comma = ",";
    }
  putchar ('}');
}

/* As the kernel has them: libc keeps two for itself and would not tell.  */
static void
signals (void)
{
  uint64_t blocked = 0, ignored = 0;

  syscall (SYS_rt_sigprocmask, SIG_BLOCK, NULL, &blocked, sizeof (blocked));
  for (int signal = 1; signal <= SIGNALS; signal++)
    {
      struct
      {
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
      } action = { 0 };

      if (syscall (SYS_rt_sigaction, signal, NULL, &action, sizeof (uint64_t)) == 0
          && action.handler == (void *) SIG_IGN)
        ignored |= UINT64_C (1) << (signal - 1);
    }
  key ("blocked");
  printf ("%llu", (unsigned long long) blocked);
  key ("ignored");
  printf ("%llu", (unsigned long long) ignored);
}

static void
limits (void)
{
  key ("rlimits");
  putchar ('[');
  for (int resource = 0; resource < RLIM_NLIMITS; resource++)
    {
      struct rlimit limit = { 0 };

      getrlimit (resource, &limit);
      printf ("%s[%llu,%llu]", resource > 0 ? "," : "", (unsigned long long) limit.rlim_cur,
              (unsigned long long) limit.rlim_max);
    }
  putchar (']');
}

/* sched_getattr(2): flags, priority and the three times.  */
static void
schedule (void)
{
  struct
  {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
  } attr = { 0 };

  syscall (SYS_sched_getattr, 0, &attr, sizeof (attr), 0);
  key ("schedule");
  printf ("[%llu,%u,%llu,%llu,%llu]", (unsigned long long) attr.flags, attr.priority,
          (unsigned long long) attr.runtime, (unsigned long long) attr.deadline,
          (unsigned long long) attr.period);
}

static void
scheduling (void)
{
  const char *comma = "";
  cpu_set_t set;
  int mode = -1;
  unsigned long nodes[16] = { 0 };

  CPU_ZERO (&set);
  sched_getaffinity (0, sizeof (set), &set);
  key ("cpus");
  putchar ('[');
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET (cpu, &set))
      {
        printf ("%s%d", comma, cpu);
        comma = ",";
      }
  putchar (']');
  number ("nice", getpriority (PRIO_PROCESS, 0));
  number ("policy", sched_getscheduler (0));
  schedule ();
  number ("ioprio", syscall (SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0));
  syscall (SYS_get_mempolicy, &mode, nodes, 8 * sizeof (nodes), NULL, 0);
  number ("mempolicy", mode);
  number ("nodes", (long) nodes[0]);
}

static void
keyring (void)
{
  char description[512] = "";
  long ring = syscall (SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0, 0, 0);

  if (ring > 0)
    syscall (SYS_keyctl, KEYCTL_DESCRIBE, ring, description, sizeof (description) - 1, 0);
  key ("keyring");
  text (description);
}

static void
file (const char *name, const char *path)
{
  char content[4096] = "";
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  ssize_t size = fd >= 0 ? read (fd, content, sizeof (content) - 1) : -1;

  close (fd);
  key (name);
  if (size < 0)
    {
      fputs ("null", stdout);
      return;
    }
  content[strcspn (content, "\n")] = '\0';
  text (content);
}

static void
place (void)
{
  char path[PATH_MAX];
  struct utsname names;
  mode_t mask = umask (0);
  int tty = open ("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

  uname (&names);
  key ("cwd");
  text (syscall (SYS_getcwd, path, sizeof (path)) > 0 ? path : strerror (errno));
  key ("hostname");
  text (names.nodename);
  key ("domainname");
  text (names.domainname);
  number ("umask", mask);
  number ("pid", getpid ());
  number ("ppid", getppid ());
  number ("sid", getsid (0));
  number ("pgid", getpgid (0));
  number ("has_terminal", tty >= 0);
  close (tty);
}

static int
asked (int option)
{
  int value = -1;

  prctl (option, &value);
  return value;
}

/* A system call by its number; the result is what the kernel returned.  */
static int
call (char **argv)
{
  long args[6] = { 0 };
  long result;

  for (int i = 0; i < 6 && argv[1 + i] != NULL; i++)
    args[i] = (long) strtoull (argv[1 + i], NULL, 0);
  result = syscall (strtol (argv[0], NULL, 0), args[0], args[1], args[2], args[3], args[4], args[5]);
  printf ("%ld\n", result == -1 ? -(long) errno : result);
  return 0;
}

static int
call32 (char **argv)
{
  long result = -ENOSYS;

#ifdef __x86_64__
  __asm__ volatile ("int $0x80" : "=a" (result) : "0" (strtol (argv[0], NULL, 0)), "b" (0L) : "memory");
#else
  (void) argv;
#endif
  printf ("%ld\n", result);
  return 0;
}

/* All lines of a file, as a list; null if it cannot be read.  */
static void
lines (const char *name, const char *path)
{
  const char *comma = "";
  char line[8192];
  FILE *stream = fopen (path, "re");

  key (name);
  if (stream == NULL)
    {
      fputs ("null", stdout);
      return;
    }
  putchar ('[');
  for (; fgets (line, sizeof (line), stream) != NULL; comma = ",")
    {
      line[strcspn (line, "\n")] = '\0';
      fputs (comma, stdout);
      text (line);
    }
  fclose (stream);
  putchar (']');
}

/* Type and mode, owner, device, target of a link, beginning of a file, and whether it can be written to.  */
static void
at_path (const char *path)
{
  char content[1024] = "";
  struct stat st;
  ssize_t size = -1;
  int fd;

  text (path);
  putchar (':');
  if (lstat (path, &st) < 0)
    {
      printf ("{\"error\":%d}", errno);
      return;
    }
  if (S_ISLNK (st.st_mode))
    size = readlink (path, content, sizeof (content) - 1);
  else if (S_ISREG (st.st_mode))
    {
      fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
      size = read (fd, content, sizeof (content) - 1);
      close (fd);
    }
  printf ("{\"mode\":%u,\"uid\":%u,\"gid\":%u,\"rdev\":[%u,%u],\"writable\":%d,\"content\":", st.st_mode,
          st.st_uid, st.st_gid, major (st.st_rdev), minor (st.st_rdev),
          faccessat (AT_FDCWD, path, W_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW) == 0);
  content[size < 0 ? 0 : size] = '\0';
  text (content);
  putchar ('}');
}

/* What is in these directories, not below: its path to what is there.  */
static void
directory (const char *name, const char *path, char **more)
{
  const char *comma = "";
  char place[PATH_MAX];
  struct dirent *entry;
  DIR *stream = opendir (path);

  key (name);
  putchar ('{');
  while (stream != NULL && (entry = readdir (stream)) != NULL)
    {
      if (strcmp (entry->d_name, ".") == 0 || strcmp (entry->d_name, "..") == 0)
        continue;
      snprintf (place, sizeof (place), "%s/%s", path, entry->d_name);
      fputs (comma, stdout);
      at_path (place);
      comma = ",";
    }
  for (; more != NULL && *more != NULL; more++, comma = ",")
    {
      fputs (comma, stdout);
      at_path (*more);
    }
  if (stream != NULL)
    closedir (stream);
  putchar ('}');
}

static void
everything (char **paths)
{
  lines ("mountinfo", "/proc/self/mountinfo");
  lines ("status", "/proc/self/status");
  lines ("uid_map", "/proc/self/uid_map");
  lines ("gid_map", "/proc/self/gid_map");
  lines ("cgroup", "/proc/self/cgroup");
  lines ("timens_offsets", "/proc/self/timens_offsets");
  file ("setgroups", "/proc/self/setgroups");
  directory ("namespaces", "/proc/self/ns", NULL);
  directory ("dev", "/dev", NULL);
  directory ("paths", "/proc/self/nothing", paths);
}

int
main (int argc, char **argv)
{
  char byte;

  if (argc > 2 && strcmp (argv[1], "call") == 0)
    return call (argv + 2);
  if (argc > 2 && strcmp (argv[1], "call32") == 0)
    return call32 (argv + 2);
  putchar ('{');
  descriptors (); /* first: nothing of ours is open */
  words ("args", argv);
  words ("env", environ);
  ids ();
  capabilities ();
  signals ();
  limits ();
  scheduling ();
  keyring ();
  place ();
  number ("no_new_privs", prctl (PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  number ("dumpable", prctl (PR_GET_DUMPABLE));
  number ("securebits", prctl (PR_GET_SECUREBITS));
  number ("keepcaps", prctl (PR_GET_KEEPCAPS));
  number ("subreaper", asked (PR_GET_CHILD_SUBREAPER));
  number ("death_signal", asked (PR_GET_PDEATHSIG));
  number ("timer_slack", prctl (PR_GET_TIMERSLACK));
  number ("personality", syscall (SYS_personality, 0xffffffffUL));
  file ("oom_score_adj", "/proc/self/oom_score_adj");
  if (argc > 1 && strcmp (argv[1], "all") == 0)
    everything (argv + 2);
  puts ("}");
  fflush (stdout);
  if (argc > 1 && strcmp (argv[1], "wait") == 0)
    while (read (STDIN_FILENO, &byte, 1) > 0)
      ;
  return 0;
}
