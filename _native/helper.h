/* helper.h: what the helper's process side shares: start-up, spawner, container process.  */
#pragma once
#include "step.h"
#include <sys/resource.h>

/* Descriptor number of the control socket at start, and the numbers below it, which are kept
   occupied so that nothing of a container ever lands on them.  */
#define CONTROL_FD 3

/* One request, as received: every descriptor is ours to close.  */
struct job
{
  int control;
  int plan;
  int cgroup;  /* -1: none */
  int network; /* a network namespace made beforehand, or -1 */
  int fds[WIRE_MAX_FDS];
  uint32_t fd_count;
};

/* Limits of the application, which the helper narrows or widens for itself.  */
struct caller_limits
{
  struct rlimit64 core;
  struct rlimit64 files;
};

/* The soft RLIMIT_CORE of the helper.  core(5): a piped core_pattern ignores 0 and honours 1.  */
#define HELPER_CORE_LIMIT 1

/* spawner.c: serve requests until the application is gone.  */
_Noreturn void spawner_main (int control, const struct caller_limits *limits);

/* prepared.c: make the next container's network namespace, unless there is one or none can be made.  */
void prepare_network (void);

/* prepared.c: whether one waits; take it, -1 if not; throw it away.  */
bool has_network (void);
int take_network (void);
void forget_network (void);

/* steps_ns.c: bring `lo` up; on failure `call` is the enum wire_call that it comes from.  */
int raise_loopback (uint32_t *call);

/* container.c: run the plan.  */
_Noreturn void container_main (const struct job *job, const struct caller_limits *limits);

/* container.c: answer PAUSED with ctx->sendfd, which is closed, and wait for PROCEED.  */
int meet (const struct step *s, struct context *ctx);

/* steps_seccomp.c: execve(2) of ctx->program, under the filter that waits for it.  Returns only a
   failure.  */
int execute (struct context *ctx, char *const argv[], char *const envp[]);

/* message.c: one reply, with a descriptor unless it is -1.  0 or -errno; never blocks for long,
   the other side reads.  */
int send_reply (int socket, const struct wire_reply *reply, int fd);

/* message.c: the same with text after it instead of a descriptor.  */
int send_text (int socket, const struct wire_reply *reply, const char *text, size_t size);

/* Close everything but these, in any order, -1 allowed; `keep` is sorted in place.  */
int close_all_but (int *keep, size_t count);

/* steps_process.c: give each descriptor of STEP_FD its final number, still close-on-exec, and move
   the others out of the way.  */
int place_fds (struct context *ctx);

/* steps_process.c: 0 if the file can be executed by who we are now; no part of the path may be a
   magic link.  */
int check_program (const char *path);

/* steps_process.c: argv of the step's strings from `first` on, `argc` of them, and the rest as *envp.
   Both end with NULL and are good until the next call.  */
char **fill_vectors (const struct step *s, uint32_t first, uint32_t argc, char ***envp);

/* steps_ns.c: in one write or not at all: procfs and cgroupfs files take a value in one piece.  */
int write_value (int fd, const char *text);

/* How names in our own procfs are looked up: no link but "self", and nothing mounted over them.  */
#define OWN_PROC (RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS)

/* Open below a procfs root and prove that this is procfs: an overmounted or replaced file would
   swallow what we write (CVE-2025-52881).  */
int open_proc (int procfd, const char *path, uint64_t flags, uint64_t resolve);

/* signals.c: SIG_DFL for all, nothing blocked.  */
void reset_signals (void);
