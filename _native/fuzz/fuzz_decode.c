/* fuzz_decode.c: the plan decoder under libFuzzer, linked alone.

   Whatever plan_check() accepts must be readable to its last byte, and must say everything once:
   walked record by record it is byte for byte the canonical encoding of what was read.  */

#include "../decode.h"
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 8

size_t LLVMFuzzerMutate (uint8_t *data, size_t size, size_t max_size);

static void
require (bool what)
{
  if (!what)
    abort ();
}

static void
put (unsigned char **to, const void *from, size_t size)
{
  memcpy (*to, from, size);
  *to += size;
}

/* The record of a step as Python would write it.  */
static size_t
encode (const struct step *s, unsigned char *record)
{
  unsigned char *to = record + sizeof (struct wire_step);
  struct wire_step h = { .op = s->op, .fd = s->fd, .strings = s->strings, .a = s->a, .b = s->b, .c = s->c };
  const char *string = s->first;

  for (uint32_t i = 0; i < s->strings; i++)
    {
      uint32_t length = (uint32_t) strlen (string);

      require (string_at (s, i) == string);
      put (&to, &length, sizeof (length));
      put (&to, string, (size_t) length + 1);
      if (i + 1 < s->strings)
        string = string_after (string);
    }
  require (string_at (s, s->strings) == NULL);
  h.data_size = s->data_size;
  if (s->data_size > 0)
    put (&to, s->data, s->data_size);
  while ((size_t) (to - record) % ALIGNMENT != 0)
    *to++ = 0;
  h.size = (uint32_t) (to - record);
  memcpy (record, &h, sizeof (h));
  return h.size;
}

static void
read_all (const uint8_t *data, size_t size)
{
  unsigned char *record = malloc (size + ALIGNMENT);
  struct plan_reader reader;
  struct step s;
  size_t at = sizeof (struct wire_plan);

  require (record != NULL);
  plan_open (&reader, data);
  while (plan_next (&reader, &s))
    {
      size_t written = encode (&s, record);

      require (at + written <= size && memcmp (data + at, record, written) == 0);
      at += written;
      require (reader.pos == at && (s.op == STEP_EXEC) == (at == size));
    }
  require (at == size);
  free (record);
}

/* As many descriptors as the plan says, or one too few.  */
static uint32_t
fds_of (const uint8_t *data, size_t size)
{
  struct wire_plan plan = { 0 };

  if (size >= sizeof (plan))
    memcpy (&plan, data, sizeof (plan));
  return plan.fds;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  /* A copy of exactly this size, so that one byte too far is seen.  */
  uint8_t *plan = malloc (size > 0 ? size : 1);
  uint32_t fds = fds_of (data, size);
  uint32_t step = 0;

  require (plan != NULL);
  memcpy (plan, data, size);
  require (plan_check (plan, size, fds + 1, &step) < 0);
  if (plan_check (plan, size, fds, &step) == 0)
    read_all (plan, size);
  free (plan);
  return 0;
}

/* Nearly every change breaks the length of the whole; repair it, or nothing behind it is reached.  */
size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
  struct wire_plan plan;

  size = LLVMFuzzerMutate (data, size, max_size);
  if (size < sizeof (plan) || seed % 16 == 0)
    return size;
  memcpy (&plan, data, sizeof (plan));
  plan.magic = WIRE_MAGIC;
  plan.version = WIRE_VERSION;
  plan.size = (uint32_t) size;
  plan.reserved = 0;
  memcpy (data, &plan, sizeof (plan));
  return size;
}
