/* One row from the wire to tokens, and drawn tokens to the wire.
 *
 * What the codec does with a row for which a payment waits is a few hundred look-ups: in Python
 * they take longer than the student. Here are those of them that nearly all rows are made of: values
 * of the columns' own types that were learnt. Of everything else these functions say "not mine", and
 * Python answers, which is also what says what is right: see row_codec.py, and its tests.
 *
 * Plain C11. No Python headers: it is loaded by ctypes. The table comes from row_codec.py and is
 * trusted; bytes of callers and tokens are not.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "wire.h"

/* Of the structures here and of how functions are called, as VERSION in library.py. */
#define VERSION 4
int32_t cascade_row_codec_version(void) { return VERSION; }

/* Of which sources this is made; hatch_build.py gives it, see cascade_tables/compiled.py. */
#ifndef SOURCES
#define SOURCES ""
#endif
const char *cascade_row_codec_sources(void) { return SOURCES; }

/* Bins inside of a coarse one, as FINE of binned_codec.py. */
#define FINE 16

/* Texts by their bytes. */
typedef struct {
  const uint8_t *bytes;
  const int64_t *begin; /* [count + 1] */
  int64_t count;
  int32_t *slots; /* [mask + 1]: which text, or -1 */
  int64_t mask;   /* a power of two less one, at least twice `count` */
} Texts;

/* Numbers that have tokens of their own, in increasing order: double of real ones, else int64. */
typedef struct {
  const void *values;
  const int32_t *tokens;
  int64_t count;
} Numbers;

/* How a column is encoded. */
enum { LISTED_TEXTS, LISTED_NUMBERS, BINNED };

typedef struct {
  int32_t how, field, slot;
  int32_t size, fine_size;       /* tokens of its slots; no second slot: 0 */
  int32_t null_tokens;           /* 1 where it may be NULL */
  int32_t bins_from, marks_from; /* the first coarse tokens that are a bin, and a mark */
  Texts texts;
  const int32_t *text_tokens;
  Numbers listed; /* of one that is binned its point masses */
  const void *edges;
  int64_t edge_count;
  double low, high;
  int64_t whole_low, whole_high;
  const void *pair_low; /* of each pair of tokens: double of real numbers, else int64 */
  const double *pair_high;
  const uint64_t *pair_count;
  uint64_t step;
  double scale;
  const uint8_t *name; /* the field of `Column` that is its name */
  int64_t name_bytes;
  const uint8_t *written;       /* a `Column` without its name, by token, one after another */
  const int64_t *written_begin; /* [tokens + 1]; of one that is binned those of NULL */
  int64_t written_tokens;
} Column;

#include "row_marks.h"

typedef struct {
  int64_t columns, slots;
  const Column *column;
  Texts names;
  const Counted *counted; /* numbers that relations add up, `counted_count` of them */
  int64_t counted_count;
  const Mark *marks;
  int64_t mark_count;
} Table;

INLINE uint64_t hashed(Bytes text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const uint8_t *at = text.at; at < text.end; at++) hash = (hash ^ *at) * 0x100000001b3u;
  return hash ^ hash >> 32;
}

INLINE Bytes text_of(const Texts *texts, int64_t which) {
  return (Bytes){texts->bytes + texts->begin[which], texts->bytes + texts->begin[which + 1]};
}

/* Which text it is, or -1. */
INLINE int64_t find_text(const Texts *texts, Bytes text) {
  for (uint64_t at = hashed(text);; at++) {
    const int32_t found = texts->slots[at & (uint64_t)texts->mask];
    if (found < 0 || is_same(text, text_of(texts, found))) return found;
  }
}

/* Fills the slots of texts, all of which are -1. */
void cascade_row_codec_index(const Texts *texts) {
  for (int64_t which = 0; which < texts->count; which++) {
    uint64_t at = hashed(text_of(texts, which));
    while (texts->slots[at & (uint64_t)texts->mask] >= 0) at++;
    texts->slots[at & (uint64_t)texts->mask] = (int32_t)which;
  }
}

/* How many of some increasing numbers a value is not below. */
INLINE int64_t not_below(const void *numbers, int64_t count, const Cell *cell, int is_real) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    const int is_below = is_real ? cell->value.real < ((const double *)numbers)[middle]
                                 : cell->value.whole < ((const int64_t *)numbers)[middle];
    if (is_below)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

/* The token of a number that has one of its own, or -1. */
INLINE int32_t own_token(const Numbers *listed, const Cell *cell, int is_real) {
  const int64_t after = not_below(listed->values, listed->count, cell, is_real);
  if (!after) return -1;
  const int is_it = is_real ? ((const double *)listed->values)[after - 1] == cell->value.real
                            : ((const int64_t *)listed->values)[after - 1] == cell->value.whole;
  return is_it ? listed->tokens[after - 1] : -1;
}

/* The tokens of a value that is there; 0: not mine. */
INLINE int encode_value(const Column *column, const Cell *cell, int32_t *tokens) {
  const int is_real = column->field == DOUBLES;
  if (cell->field != column->field) return 0;
  if (column->how == LISTED_TEXTS) {
    const int64_t found = find_text(&column->texts, cell->text);
    if (found < 0) return 0;
    tokens[0] = column->text_tokens[found];
    return 1;
  }
  if (column->how == BINNED) {
    const int within =
        is_real ? column->low <= cell->value.real && cell->value.real <= column->high
                : column->whole_low <= cell->value.whole && cell->value.whole <= column->whole_high;
    if (!within) return 0;
  }
  const int32_t own = own_token(&column->listed, cell, is_real);
  if (own >= 0) {
    tokens[0] = own;
    return 1; /* The second token of a point mass is 0. */
  }
  if (column->how != BINNED) return 0;
  int64_t place = not_below(column->edges, column->edge_count, cell, is_real) - 1;
  const int64_t last = column->edge_count - 2;
  if (place < 0) place = 0;
  if (place > last) place = last;
  tokens[0] = column->bins_from + (int32_t)(place / FINE);
  tokens[1] = (int32_t)(place % FINE);
  return 1;
}

INLINE int is_inside(int64_t size, int64_t at, int64_t bytes) {
  return at >= 0 && bytes >= 0 && at <= size && bytes <= size - at;
}

/* What of a `SynthesizeRequest` is no row. 0; or 1: not mine. */
int64_t cascade_row_codec_scan(const uint8_t *message, int64_t size, Request *out) {
  return !scan(message, size, out);
}

/* A row of `Rows`, `bytes` of a message from `at` on, to what is put into `out`, one behind another:
 * bits uint64 [columns] of numbers, tokens int32 [slots], observed [slots], and states [columns], as
 * in `Column.states`, UNSTATED where a column is not there; relations that hold are marked. 0; or 1:
 * not mine. */
int64_t cascade_row_codec_encode(const Table *table, const uint8_t *message, int64_t size,
                                 int64_t at, int64_t bytes, uint64_t *out) {
  uint64_t *const bits = out;
  int32_t *const tokens = (int32_t *)(out + table->columns);
  uint8_t *const observed = (uint8_t *)(tokens + table->slots), *const states = observed + table->slots;
  if (!is_inside(size, at, bytes)) return 1;
  memset(bits, 0, (size_t)table->columns * sizeof *bits);
  memset(tokens, 0, (size_t)table->slots * sizeof *tokens);
  memset(observed, 0, (size_t)table->slots);
  memset(states, UNSTATED, (size_t)table->columns);
  Bytes rows = {message + at, message + at + bytes};
  uint64_t count = 0;
  Cell cell;
  int is_there;
  int64_t expected = 0;
  while ((is_there = next_cell(&rows, &count, &cell)) > 0) {
    /* Columns mostly come in their order, with some left out. */
    int64_t which = -1;
    if (expected < table->columns && is_same(cell.name, text_of(&table->names, expected)))
      which = expected;
    else
      which = find_text(&table->names, cell.name);
    if (which < 0 || states[which] != UNSTATED) return 1;
    expected = which + 1;
    const Column *const column = &table->column[which];
    const int second = column->fine_size != 0;
    states[which] = (uint8_t)cell.state;
    if (cell.state == ABSENT) continue;
    if (cell.state == NULLED) {
      if (!column->null_tokens) return 1;
    } else {
      if (!encode_value(column, &cell, tokens + column->slot)) return 1;
      bits[which] = cell.value.bits;
    }
    observed[column->slot] = 1;
    if (second) observed[column->slot + 1] = 1;
  }
  if (is_there < 0 || count != 1) return 1;
  put_marks(table->counted, table->counted_count, table->marks, table->mark_count, bits, states,
            tokens);
  return 0;
}

#include "row_writer.h"

/* A row that was drawn to `Rows`: of the columns that are asked for, what the caller gave, and else
 * what tokens stand for.
 *
 * tokens: int32 [slots]. uniform: in [0, 1), one for each of the columns asked for that is binned,
 * in their order, of real use where it was drawn. asked: columns by their places, `asked_count` of
 * them. message, size, at, bytes: what the caller gave, as for `encode`. out: `out_size` bytes, of
 * which the first, those of `columns` pairs of addresses, are room to work in.
 *
 * computed, bits: drawn columns whose numbers follow from others, by their places, and these numbers,
 * which are written whatever the tokens say. A `computed_count` of -1 means that nobody has looked
 * what follows: then a row with a mark, which says that something does, is not mine.
 *
 * Returns the bytes that were written behind these; -1: not mine. */
int64_t cascade_row_codec_write(const Table *table, const int32_t *tokens, const double *uniform,
                                int64_t uniform_count, const int32_t *asked, int64_t asked_count,
                                const uint8_t *message, int64_t size, int64_t at, int64_t bytes,
                                const int32_t *computed, const uint64_t *bits,
                                int64_t computed_count, uint8_t *out, int64_t out_size) {
  static const uint8_t one_row[] = {0x08, 0x01};
  const Computed known = {computed, NULL, bits, computed_count};
  Bytes *const given = (Bytes *)out;
  uint8_t *const begin = out + table->columns * (int64_t)sizeof *given;
  if (!is_inside(size, at, bytes) || begin > out + out_size) return -1;
  if (!read_given(table, (Bytes){message + at, message + at + bytes}, given)) return -1;
  if (known.count < 0 && may_follow(table, tokens, given)) return -1;
  Room room = {begin, out + out_size};
  if (!put(&room, one_row, sizeof one_row)) return -1;
  int64_t next = 0;
  for (int64_t i = 0; i < asked_count; i++) {
    if (asked[i] < 0 || asked[i] >= table->columns) return -1;
    const Column *const column = &table->column[asked[i]];
    const Bytes held = given[asked[i]];
    int32_t token = tokens[column->slot];
    double own = 0;
    if (column->how == BINNED) {
      if (next == uniform_count) return -1;
      own = uniform[next++];
    }
    if (held.at && held.at != &NOTHING) {
      if (!put_given(&room, column, held)) return -1;
      continue;
    }
    if (held.at) token = 0;
    const int64_t found = computed_of(&known, asked[i]);
    if (!held.at && found < known.count) {
      if (!put_number(&room, column, bits[found])) return -1;
      continue;
    }
    if (token < 0 || token >= column->size) return -1;
    if (token < column->written_tokens) {
      const int64_t *const from = column->written_begin + token;
      if (!put_column(&room, column, column->written + from[0], from[1] - from[0])) return -1;
      continue;
    }
    if (column->how != BINNED) return -1;
    const int32_t fine = tokens[column->slot + 1];
    if (token >= column->marks_from || fine < 0 || fine >= FINE) return -1;
    if (!(own >= 0 && own < 1)) return -1;
    if (!put_number(&room, column, number_of(column, token, fine, own))) return -1;
  }
  return room.at - begin;
}

/* The same of several draws of one row, a column after another.
 *
 * rows: draws, at least one. tokens: int32 [rows, slots]. uniform: [binned columns asked for, rows].
 * scratch: `scratch_size` bytes to work in: a state for each row, and behind them a column's values.
 * computed_columns, computed_rows, bits: as `computed` and `bits` of `write`, a number for each column
 * and row that has one; those of a column lie together, in the order of their rows. */
int64_t cascade_row_codec_write_draws(const Table *table, int64_t rows, const int32_t *tokens,
                                      const double *uniform, int64_t uniform_count,
                                      const int32_t *asked, int64_t asked_count,
                                      const uint8_t *message, int64_t size, int64_t at,
                                      int64_t bytes, const int32_t *computed_columns,
                                      const int32_t *computed_rows, const uint64_t *bits,
                                      int64_t computed_count, uint8_t *scratch,
                                      int64_t scratch_size, uint8_t *out, int64_t out_size) {
  const Computed known = {computed_columns, computed_rows, bits, computed_count};
  Bytes *const given = (Bytes *)out;
  uint8_t *const begin = out + table->columns * (int64_t)sizeof *given;
  if (!is_inside(size, at, bytes) || begin > out + out_size) return -1;
  if (rows < 1 || scratch_size < rows) return -1;
  if (!read_given(table, (Bytes){message + at, message + at + bytes}, given)) return -1;
  for (int64_t row = 0; known.count < 0 && row < rows; row++)
    if (may_follow(table, tokens + row * table->slots, given)) return -1;
  Room room = {begin, out + out_size};
  uint8_t count[11] = {0x08};
  if (!put(&room, count, 1 + put_varint(count + 1, (uint64_t)rows))) return -1;
  int64_t next = 0;
  for (int64_t i = 0; i < asked_count; i++) {
    if (asked[i] < 0 || asked[i] >= table->columns) return -1;
    const Column *const column = &table->column[asked[i]];
    Bytes held = given[asked[i]];
    const double *own = NULL;
    if (column->how == BINNED) {
      if ((next + 1) * rows > uniform_count) return -1;
      own = uniform + rows * next++;
    }
    int has_null = 0;
    memset(scratch, OBSERVED, (size_t)rows);
    Room values = {scratch + rows, scratch + scratch_size};
    if (!put_draws(&values, table, asked[i], held, rows, tokens, own, &known, scratch, &has_null))
      return -1;
    const Bytes found = {scratch + rows, values.at}, states = {scratch, scratch + rows};
    if (!put_values(&room, column, found, has_null ? states : (Bytes){scratch, scratch})) return -1;
  }
  return room.at - begin;
}
