/* decode.h: a plan's bytes into steps; see decode.c for what is proven.  */
#pragma once
#include "step.h"
#include <stddef.h>

/* Where reading stands in a plan that plan_check() has accepted.  */
struct plan_reader
{
  const unsigned char *buf;
  size_t pos;
  uint32_t index; /* of the next step */
  uint32_t steps; /* how many there are */
};

/* Check the whole plan, which travels with `fds` descriptors.  0, or a negative errno:
   -EPROTONOSUPPORT for another version, -EBADMSG for everything else; then *step is the
   number of the offending step, or UINT32_MAX for the plan itself.  */
int plan_check (const void *buf, size_t size, uint32_t fds, uint32_t *step);

/* Start reading an accepted plan, and take the next step; false after the last.
   step.fd is still the index of the descriptor.  */
void plan_open (struct plan_reader *r, const void *buf);
bool plan_next (struct plan_reader *r, struct step *s);

/* The string after this one of the same step, which has one.  */
const char *string_after (const char *string);
