/* Which relations of given numbers hold, written as marks over a row's tokens, for row_codec.c.
 *
 * What given_marks.py does in Python's own numbers; here of whole numbers and date-times, which it
 * says how to count. Relations of others, such as amounts with cents, are left to it.
 */

/* A column's number as relations count it. */
typedef struct {
  int32_t place;       /* of the column */
  int32_t zero_counts; /* of a date-time: zero is a day like any other */
  int64_t step;
} Counted;

/* A mark that says that a relation holds. */
typedef struct {
  int32_t slot, token;
  int32_t parts, rough_count;
  const int32_t *part;  /* [parts], which of the counted */
  const int32_t *sign;  /* [parts], 1 or -1 */
  const int32_t *rough; /* [rough_count], by the token that the slot has without a mark */
} Mark;

/* By how many relations may count numbers, and how many a relation has. */
#define MOST_COUNTED 64
#define MOST_PARTS 4
/* Beyond this a sum of four of them may not fit 64 bits. */
#define LARGEST 0x1p61

/* What of a number adds up; 0: nothing does. */
INLINE int is_counted(const Counted *counted, const uint64_t *bits, const uint8_t *states,
                      int64_t *whole) {
  if (states[counted->place] != OBSERVED) return 0;
  const int64_t number = (int64_t)bits[counted->place];
  if (!(fabs((double)number) * (double)counted->step < LARGEST)) return 0;
  *whole = number * counted->step;
  return number || counted->zero_counts;
}

/* Whether a relation of numbers that are all there holds, and says something: no part of it is zero
 * by itself. */
INLINE int adds_up(const Mark *mark, const int64_t *wholes) {
  int64_t first = 0, sum = 0;
  for (int i = 0; i < mark->parts; i++) {
    const int64_t signed_one = mark->sign[i] * wholes[mark->part[i]];
    if (!i) first = signed_one;
    if (mark->parts == MOST_PARTS && i && first + signed_one == 0) return 0;
    sum += signed_one;
  }
  return sum == 0;
}

/* Marks a row whose tokens stand. Marks are in the order of their rank: of a slot the first stands. */
INLINE void put_marks(const Counted *counted, int64_t count, const Mark *marks, int64_t mark_count,
                      const uint64_t *bits, const uint8_t *states, int32_t *tokens) {
  int64_t wholes[MOST_COUNTED];
  uint64_t known = 0;
  for (int64_t i = 0; i < count; i++)
    known |= (uint64_t)is_counted(&counted[i], bits, states, &wholes[i]) << i;
  /* By number: a table without marks has none to point to. */
  for (int64_t each = 0; each < mark_count; each++) {
    const Mark *const mark = &marks[each];
    int is_known = 1;
    for (int i = 0; i < mark->parts; i++) is_known &= known >> mark->part[i] & 1;
    int32_t *const token = tokens + mark->slot;
    /* A token that is a mark has no rough place. */
    if (!is_known || *token >= mark->rough_count || !adds_up(mark, wholes)) continue;
    token[1] = mark->rough[*token];
    *token = mark->token;
  }
}
