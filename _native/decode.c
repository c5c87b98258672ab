/* decode.c: the plan decoder.

   Invariant: a plan is read only after plan_check() has walked all of it and found every
   length inside the plan, every string ended by its only NUL, every field in the range that
   its opcode allows and everything else zero; so the executors meet no malformed step, and a
   plan is refused before its first action.  Makes no system call, allocates nothing, keeps
   no state and copies integers out by memcpy: the buffer may have any alignment.  */

#include "decode.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) /* Linux 5.19 */
#endif

#define RECORD_ALIGNMENT 8
#define STRING_HEADER sizeof (uint32_t)

#define U32 UINT64_C (0xffffffff)
#define ALL UINT64_MAX
#define FLAG 1
#define MODE UINT64_C (0177777)
#define NAMESPACES                                                                                           \
  ((uint64_t) CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER    \
   | CLONE_NEWPID | CLONE_NEWNET)
#define PROPAGATION ((uint64_t) MS_REC | MS_PRIVATE | MS_SLAVE | MS_SHARED | MS_UNBINDABLE)
#define RESETS                                                                                               \
  ((uint64_t) RESET_SIGNALS | RESET_AFFINITY | RESET_SCHEDULER | RESET_PERSONALITY | RESET_MEMPOLICY)
#define MOUNTS                                                                                               \
  ((uint64_t) MOUNT_MAKE_DIR | MOUNT_MAKE_FILE | MOUNT_RECURSIVE | MOUNT_SETATTR_RECURSIVE | MOUNT_OPTIONAL  \
   | MOUNT_PROCFS | MOUNT_KEEP_MODE | MOUNT_RDONLY_SB | MOUNT_DEVICE_NODE | MOUNT_COPY_UP | MOUNT_KEEP_OWNER \
   | MOUNT_SOURCE_NOFOLLOW | MOUNT_TARGET_NOFOLLOW | MOUNT_COPY_LINK)
#define SCHED_ATTR_SIZE 56 /* SCHED_ATTR_SIZE_VER1 */
#define MASK_WORD sizeof (uint64_t)
#define MASK_SIZE 8192 /* bytes: 64 Ki CPUs or nodes */
/* Not TSYNC: the helper has no other thread that the filter is for.  */
#define FILTER_FLAGS                                                                                         \
  ((uint64_t) SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_NEW_LISTENER    \
   | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
#define CAPABILITY_WORDS (4 * sizeof (uint64_t))
#define ROOT_STRINGS 4 /* before the layers */
#define MAX_LAYERS 500 /* OVL_MAX_STACK */
#define STRINGS(min, max) .strings_min = (min), .strings_max = (max)
#define DATA(unit, min, max) .data_unit = (unit), .data_min = (min), .data_max = (max)

enum fd_rule
{
  FD_NO = 0,
  FD_MAY,
  FD_MUST,
};

/* What one opcode takes.  a, b, c: the bits that may be set.  path: 1 + the number of the
   string that must be an absolute path.  data_unit: data comes in multiples of it, up to
   data_max bytes.  */
struct rule
{
  bool known;
  enum fd_rule fd;
  uint64_t a, b, c;
  uint32_t strings_min, strings_max;
  uint32_t path;
  uint32_t data_unit, data_min, data_max;
};

static const struct rule rules[] = {
  [STEP_PAUSE] = { .known = true, .a = 7, .b = FLAG },
  [STEP_GATE] = { .known = true, .fd = FD_MUST, .a = U32 },
  [STEP_FORK] = { .known = true, .a = NAMESPACES },

  [STEP_JOIN_CGROUP] = { .known = true, .fd = FD_MUST },
  [STEP_JOIN_NS] = { .known = true, .fd = FD_MUST, .a = NAMESPACES },
  [STEP_VERIFY_NS] = { .known = true, .a = NAMESPACES, .b = ALL },
  [STEP_UNSHARE] = { .known = true, .a = NAMESPACES },
  [STEP_TIME_NS] = { .known = true, STRINGS (1, 1) },
  [STEP_NS_ROOT] = { .known = true, .a = FLAG },
  [STEP_OOM_SCORE] = { .known = true, .a = ALL },
  [STEP_LOOPBACK] = { .known = true },
  [STEP_HOSTNAME] = { .known = true, STRINGS (1, 1) },
  [STEP_DOMAINNAME] = { .known = true, STRINGS (1, 1) },
  [STEP_SETSID] = { .known = true },
  [STEP_KEYRING] = { .known = true, STRINGS (1, 1) },
  [STEP_RESET] = { .known = true, .a = RESETS },
  [STEP_SYSCTL] = { .known = true, STRINGS (2, 2) },

  [STEP_PROPAGATION] = { .known = true, .a = PROPAGATION },
  [STEP_PROCFS] = { .known = true },
  [STEP_ROOTFS] = { .known = true, .fd = FD_MAY, .a = 3, STRINGS (1, ROOT_STRINGS + MAX_LAYERS), .path = 1 },
  [STEP_MOUNT]
  = { .known = true, .a = U32, .b = PROPAGATION, .c = MOUNTS, STRINGS (3, WIRE_MAX_STRINGS), .path = 3 },
  [STEP_BIND] = { .known = true,
                  .fd = FD_MAY,
                  .a = ALL,
                  .b = PROPAGATION,
                  .c = MOUNTS,
                  STRINGS (2, 2),
                  .path = 2,
                  DATA (sizeof (uint64_t), 0, sizeof (uint64_t)) },
  [STEP_SETATTR]
  = { .known = true, .a = ALL, .b = PROPAGATION, .c = MOUNTS, STRINGS (1, WIRE_MAX_STRINGS), .path = 1 },
  [STEP_DEVICE] = { .known = true, .a = MODE, .b = ALL, .c = ALL, STRINGS (1, 1), .path = 1 },
  [STEP_SYMLINK] = { .known = true, .c = MOUNT_OPTIONAL, STRINGS (2, 2), .path = 2 },
  [STEP_MASK] = { .known = true, STRINGS (1, 2), .path = 1 },
  [STEP_READONLY] = { .known = true, STRINGS (1, 1), .path = 1 },
  [STEP_PIVOT] = { .known = true, .a = 3 },
  [STEP_VERIFY_MOUNTS] = { .known = true },
  [STEP_CONSOLE] = { .known = true, .a = U32, .b = FLAG, .c = ALL },

  [STEP_FD] = { .known = true, .fd = FD_MUST, .a = U32, .b = FLAG, .c = ALL },
  [STEP_RLIMIT] = { .known = true, .a = U32, .b = ALL, .c = ALL },
  [STEP_UMASK] = { .known = true, .a = 0777 },
  [STEP_BOUNDING] = { .known = true, .a = ALL },
  [STEP_CREDENTIALS]
  = { .known = true, .a = U32, .b = U32, .c = FLAG, DATA (sizeof (uint32_t), 0, WIRE_MAX_DATA) },
  [STEP_CAPABILITIES] = { .known = true, DATA (CAPABILITY_WORDS, CAPABILITY_WORDS, CAPABILITY_WORDS) },
  [STEP_CWD] = { .known = true, .a = FLAG, .b = FLAG, STRINGS (1, 1), .path = 1 },
  [STEP_NO_NEW_PRIVS] = { .known = true },
  [STEP_PROGRAM] = { .known = true, STRINGS (1, WIRE_MAX_STRINGS) },
  [STEP_EXEC] = { .known = true, .a = U32, STRINGS (1, WIRE_MAX_STRINGS) },
  [STEP_SECCOMP] = { .known = true,
                     .a = FILTER_FLAGS,
                     .b = FLAG,
                     DATA (sizeof (struct sock_filter), sizeof (struct sock_filter),
                           BPF_MAXINSNS * sizeof (struct sock_filter)) },

  [STEP_HOOK] = { .known = true,
                  .a = U32,
                  .b = U32,
                  .c = U32,
                  STRINGS (HOOK_STRINGS + 1, WIRE_MAX_STRINGS),
                  .path = 1,
                  DATA (1, 0, WIRE_MAX_DATA) },
  [STEP_AFFINITY] = { .known = true, DATA (MASK_WORD, MASK_WORD, MASK_SIZE) },
  [STEP_SCHEDULER] = { .known = true, DATA (SCHED_ATTR_SIZE, SCHED_ATTR_SIZE, SCHED_ATTR_SIZE) },
  [STEP_IO_PRIORITY] = { .known = true, .a = 0xffff },
  [STEP_MEMORY_POLICY] = { .known = true, .a = 0xffff, DATA (MASK_WORD, 0, MASK_SIZE) },
  [STEP_PERSONALITY] = { .known = true, .a = U32 },

  [STEP_LABEL] = { .known = true, .a = 3, STRINGS (1, 1) },
  [STEP_FILE_LABEL] = { .known = true, STRINGS (2, 2), .path = 1 },
};

/* Bytes being walked.  A short read sets `bad` and yields zero: callers check once, after
   the last field.  */
struct cursor
{
  const unsigned char *buf;
  size_t len;
  size_t pos;
  bool bad;
};

static void
take (struct cursor *c, void *value, size_t size)
{
  if (c->bad || c->len - c->pos < size)
    {
      c->bad = true;
      memset (value, 0, size);
      return;
    }
  memcpy (value, c->buf + c->pos, size);
  c->pos += size;
}

/* The next `size` bytes in place, or NULL.  */
static const unsigned char *
take_bytes (struct cursor *c, size_t size)
{
  const unsigned char *bytes = c->buf + c->pos;

  if (c->bad || c->len - c->pos < size)
    return c->bad = true, NULL;
  c->pos += size;
  return bytes;
}

/* One string, terminated by the only NUL that it has.  */
static const char *
take_string (struct cursor *c)
{
  const unsigned char *bytes;
  uint32_t length;

  take (c, &length, sizeof (length));
  bytes = take_bytes (c, (size_t) length + 1);
  if (bytes == NULL || memchr (bytes, 0, (size_t) length + 1) != bytes + length)
    return c->bad = true, NULL;
  return (const char *) bytes;
}

/* All that is left is zero, and no more than alignment asks for.  */
static bool
is_padding (struct cursor *c)
{
  size_t left = c->len - c->pos;
  const unsigned char *bytes = take_bytes (c, left);

  if (bytes == NULL || left >= RECORD_ALIGNMENT)
    return false;
  for (size_t i = 0; i < left; i++)
    if (bytes[i] != 0)
      return false;
  return true;
}

static bool
fd_fits (const struct rule *rule, int32_t fd, uint32_t fds)
{
  if (fd == -1)
    return rule->fd != FD_MUST;
  return rule->fd != FD_NO && fd >= 0 && (uint32_t) fd < fds;
}

static bool
data_fits (const struct rule *rule, uint32_t size)
{
  if (size == 0)
    return rule->data_min == 0;
  return rule->data_unit != 0 && size % rule->data_unit == 0 && size >= rule->data_min
         && size <= rule->data_max;
}

static bool
header_fits (const struct rule *rule, const struct wire_step *h, uint32_t fds)
{
  return rule->known && h->reserved == 0 && fd_fits (rule, h->fd, fds) && (h->a & ~rule->a) == 0
         && (h->b & ~rule->b) == 0 && (h->c & ~rule->c) == 0 && h->strings >= rule->strings_min
         && h->strings <= rule->strings_max && data_fits (rule, h->data_size);
}

/* A relative path of plain parts: none of them empty, "." or "..".  */
static bool
is_plain_relative (const char *path)
{
  const char *part = path;

  for (;;)
    {
      size_t length = strcspn (part, "/");

      if (length == 0 || (length == 1 && part[0] == '.') || (length == 2 && part[0] == '.' && part[1] == '.'))
        return false;
      if (part[length] == '\0')
        return true;
      part += length + 1;
    }
}

static bool
is_single_bit (uint64_t value)
{
  return value != 0 && (value & (value - 1)) == 0;
}

static bool
is_file_type (uint64_t mode)
{
  mode_t type = (mode_t) mode & S_IFMT;

  return type == S_IFCHR || type == S_IFBLK || type == S_IFIFO;
}

/* A structure that tells the kernel its own size: as much as there is.  sched_setattr(2) */
static bool
is_sized (const struct step *s)
{
  uint32_t size;

  memcpy (&size, s->data, sizeof (size));
  return size == s->data_size;
}

/* What is made of directories has no tree that is passed, and only layers have more than a path.  */
static bool
is_root (const struct step *s)
{
  if (s->a == ROOTFS_LAYERS)
    return s->fd < 0 && s->strings > ROOT_STRINGS;
  return s->strings == 1 && !(s->a == ROOTFS_THROWAWAY && s->fd >= 0);
}

/* What masks of bits cannot say.  */
static bool
values_fit (const struct step *s)
{
  switch ((enum wire_op) s->op)
    {
    case STEP_PAUSE: return s->a >= PAUSE_MAPS && s->a <= PAUSE_READY;
    case STEP_VERIFY_NS: return is_single_bit (s->a);
    case STEP_JOIN_NS:
    case STEP_UNSHARE:
    case STEP_PROPAGATION:
    case STEP_RESET: return s->a != 0;
    case STEP_OOM_SCORE: return (int64_t) s->a >= -1000 && (int64_t) s->a <= 1000;
    case STEP_SYSCTL: return s->first != NULL && is_plain_relative (s->first);
    case STEP_BIND: return ((s->c & MOUNT_DEVICE_NODE) != 0) == (s->data_size != 0);
    case STEP_DEVICE: return is_file_type (s->a);
    case STEP_ROOTFS: return is_root (s);
    case STEP_PIVOT: return s->a <= PIVOT_CHROOT;
    case STEP_FD: return s->a < FD_NUMBERS;
    case STEP_RLIMIT: return s->a < RLIM_NLIMITS && s->b <= s->c;
    case STEP_CREDENTIALS: return s->a != U32 && s->b != U32; /* (uid_t) -1 means "leave as it is" */
    case STEP_EXEC: return s->a >= 1 && s->a <= s->strings;
    case STEP_HOOK: return s->a >= 1 && s->a <= s->strings - HOOK_STRINGS && s->c <= s->data_size;
    case STEP_MOUNT: return (s->c & MOUNT_DEVICE_NODE) == 0;
    case STEP_SCHEDULER: return is_sized (s);
    case STEP_LABEL: return s->a != 0;
    case STEP_GATE:
    case STEP_FORK:
    case STEP_JOIN_CGROUP:
    case STEP_TIME_NS:
    case STEP_NS_ROOT:
    case STEP_LOOPBACK:
    case STEP_HOSTNAME:
    case STEP_DOMAINNAME:
    case STEP_SETSID:
    case STEP_KEYRING:
    case STEP_PROCFS:
    case STEP_SETATTR:
    case STEP_SYMLINK:
    case STEP_MASK:
    case STEP_READONLY:
    case STEP_VERIFY_MOUNTS:
    case STEP_CONSOLE:
    case STEP_UMASK:
    case STEP_BOUNDING:
    case STEP_CAPABILITIES:
    case STEP_CWD:
    case STEP_NO_NEW_PRIVS:
    case STEP_PROGRAM:
    case STEP_SECCOMP:
    case STEP_AFFINITY:
    case STEP_IO_PRIORITY:
    case STEP_MEMORY_POLICY:
    case STEP_PERSONALITY:
    case STEP_FILE_LABEL: return true;
    }
  return false;
}

/* Strings and data of a record whose header fits; then its padding.  */
static bool
body_fits (const struct rule *rule, struct cursor *c, struct step *s)
{
  for (uint32_t i = 0; i < s->strings; i++)
    {
      const char *string = take_string (c);

      if (string == NULL)
        return false;
      if (i == 0)
        s->first = string;
      if (i + 1 == rule->path && string[0] != '/')
        return false;
    }
  if (s->data_size > 0)
    s->data = take_bytes (c, s->data_size);
  return is_padding (c) && values_fit (s);
}

static struct step
step_of (const struct wire_step *h, uint32_t index)
{
  return (struct step){
    .op = h->op,
    .index = index,
    .fd = h->fd,
    .a = h->a,
    .b = h->b,
    .c = h->c,
    .strings = h->strings,
    .data_size = h->data_size,
  };
}

/* Check the record at the cursor and move past it.  */
static bool
take_step (struct cursor *c, uint32_t fds, struct step *s)
{
  struct cursor record;
  struct wire_step h;

  record = *c;
  take (&record, &h, sizeof (h));
  *s = step_of (&h, s->index);
  if (record.bad || h.size < sizeof (h) || h.size % RECORD_ALIGNMENT != 0 || take_bytes (c, h.size) == NULL)
    return false;
  record.len = c->pos;
  return h.op < sizeof (rules) / sizeof (rules[0]) && header_fits (&rules[h.op], &h, fds)
         && body_fits (&rules[h.op], &record, s);
}

/* How the dialogue may go: CREATED at most once and directly before the one gate, EXEC once
   and last.  */
static bool
order_fits (const struct step *s, const struct step *before, uint32_t steps)
{
  bool after_created = before->op == STEP_PAUSE && before->a == PAUSE_CREATED;

  return (s->op == STEP_GATE) == after_created && (s->op == STEP_EXEC) == (s->index + 1 == steps);
}

int
plan_check (const void *buf, size_t size, uint32_t fds, uint32_t *step)
{
  struct cursor c = { .buf = buf, .len = size };
  struct step before = { 0 };
  struct wire_plan plan;
  uint32_t gates = 0;

  *step = UINT32_MAX;
  take (&c, &plan, sizeof (plan));
  if (c.bad || plan.magic != WIRE_MAGIC)
    return -EBADMSG;
  if (plan.version != WIRE_VERSION)
    return -EPROTONOSUPPORT;
  if (size > WIRE_MAX_PLAN || plan.size != size || plan.reserved != 0 || plan.fds != fds || fds > WIRE_MAX_FDS
      || plan.steps == 0 || plan.steps > WIRE_MAX_STEPS)
    return -EBADMSG;
  for (uint32_t i = 0; i < plan.steps; i++)
    {
      struct step s = { .index = i };

      *step = i;
      if (!take_step (&c, fds, &s) || !order_fits (&s, &before, plan.steps))
        return -EBADMSG;
      gates += s.op == STEP_GATE;
      before = s;
    }
  *step = UINT32_MAX;
  return c.pos == size && gates <= 1 ? 0 : -EBADMSG;
}

void
plan_open (struct plan_reader *r, const void *buf)
{
  struct wire_plan plan;

  memcpy (&plan, buf, sizeof (plan));
  *r = (struct plan_reader){ .buf = buf, .pos = sizeof (plan), .steps = plan.steps };
}

bool
plan_next (struct plan_reader *r, struct step *s)
{
  const unsigned char *record = r->buf + r->pos;
  const unsigned char *data;
  struct wire_step h;

  if (r->index == r->steps)
    return false;
  memcpy (&h, record, sizeof (h));
  *s = step_of (&h, r->index);
  data = record + sizeof (h);
  for (uint32_t i = 0; i < h.strings; i++)
    {
      uint32_t length;

      memcpy (&length, data, sizeof (length));
      if (i == 0)
        s->first = (const char *) data + STRING_HEADER;
      data += STRING_HEADER + length + 1;
    }
  s->data = h.data_size > 0 ? data : NULL;
  r->pos += h.size;
  r->index++;
  return true;
}

const char *
string_after (const char *string)
{
  uint32_t length;

  memcpy (&length, string - STRING_HEADER, sizeof (length));
  return string + length + 1 + STRING_HEADER;
}

const char *
string_at (const struct step *s, uint32_t n)
{
  const char *string = s->first;

  if (n >= s->strings)
    return NULL;
  for (; n > 0; n--)
    string = string_after (string);
  return string;
}
