/* Drawn tokens to `Rows` of the wire, for row_codec.c: the parts that an answer is put together of.
 */

/* Where an answer is written. */
typedef struct {
  uint8_t *at, *end;
} Room;

INLINE int put(Room *room, const uint8_t *bytes, int64_t size) {
  if (size > room->end - room->at) return 0;
  memcpy(room->at, bytes, (size_t)size);
  room->at += size;
  return 1;
}

INLINE int64_t put_varint(uint8_t *to, uint64_t value) {
  int64_t size = 0;
  for (; value >= 0x80; value >>= 7) to[size++] = (uint8_t)(value | 0x80);
  to[size++] = (uint8_t)value;
  return size;
}

/* A `Column` of `Rows`: a name, then what else is in it. */
INLINE int put_column(Room *room, const Column *column, const uint8_t *rest, int64_t size) {
  uint8_t head[11] = {0x12};
  const int64_t head_size = 1 + put_varint(head + 1, (uint64_t)(column->name_bytes + size));
  return put(room, head, head_size) && put(room, column->name, column->name_bytes) &&
         put(room, rest, size);
}

/* A value of a column that the caller gave, as it came. */
INLINE int put_given(Room *room, const Column *column, Bytes held) {
  uint8_t head[11] = {0x12}, field[11] = {(uint8_t)(column->field << 3 | 2)};
  const int64_t size = length(held), field_size = 1 + put_varint(field + 1, (uint64_t)size);
  const int64_t all = column->name_bytes + field_size + size;
  const int64_t head_size = 1 + put_varint(head + 1, (uint64_t)all);
  return put(room, head, head_size) && put(room, column->name, column->name_bytes) &&
         put(room, field, field_size) && put(room, held.at, size);
}

/* A number of a column: the bits of a real, or of a whole number. */
INLINE int put_number(Room *room, const Column *column, uint64_t bits) {
  uint8_t rest[24];
  if (column->field == DOUBLES) {
    rest[0] = 0x12, rest[1] = 10, rest[2] = 0x0a, rest[3] = 8;
    for (int i = 0; i < 8; i++) rest[4 + i] = (uint8_t)(bits >> 8 * i);
    return put_column(room, column, rest, 12);
  }
  const int64_t size = put_varint(rest + 4, bits);
  rest[0] = 0x1a, rest[1] = (uint8_t)(size + 2), rest[2] = 0x0a, rest[3] = (uint8_t)size;
  return put_column(room, column, rest, 4 + size);
}

/* The number of a bin, as `BinnedCodec.decode_value` has it. */
INLINE uint64_t number_of(const Column *column, int32_t coarse, int32_t fine, double uniform) {
  const int64_t pair = (int64_t)coarse * FINE + fine;
  if (column->field == DOUBLES) {
    const double low = ((const double *)column->pair_low)[pair], high = column->pair_high[pair];
    double value = low * (1 - uniform) + high * uniform;
    if (column->scale == column->scale) {
      const double scaled = value * column->scale;
      value = (fabs(scaled) < 4503599627370496.0 ? rint(scaled) : scaled) / column->scale;
    }
    /* As Python's min(max(value, low), high) does it. */
    if (low > value) value = low;
    if (high < value) value = high;
    uint64_t bits;
    memcpy(&bits, &value, 8);
    return bits;
  }
  const uint64_t count = column->pair_count[pair];
  const double above = uniform * (double)count;
  uint64_t steps = count - 1;
  if (above < (double)count && (uint64_t)above < steps) steps = (uint64_t)above;
  return (uint64_t)((const int64_t *)column->pair_low)[pair] + steps * column->step;
}

/* A column that the caller gave as NULL points here. */
static const uint8_t NOTHING = 0;

/* Puts into `given`, by column, where the caller's value is: the field that holds it, `NOTHING` of a
 * NULL, no address where nothing was given. 0: not mine. */
INLINE int read_given(const Table *table, Bytes rows, Bytes *given) {
  const Bytes null = {&NOTHING, &NOTHING};
  uint64_t count = 0;
  Cell cell;
  int is_there;
  int64_t expected = 0;
  for (int64_t which = 0; which < table->columns; which++) given[which] = (Bytes){NULL, NULL};
  while ((is_there = next_cell(&rows, &count, &cell)) > 0) {
    int64_t which = -1;
    if (expected < table->columns && is_same(cell.name, text_of(&table->names, expected)))
      which = expected;
    else
      which = find_text(&table->names, cell.name);
    if (which < 0 || given[which].at) return 0;
    expected = which + 1;
    if (cell.state == ABSENT) continue;
    if (cell.state == NULLED) {
      /* A column without NULL has none written. */
      if (!table->column[which].null_tokens) return 0;
      given[which] = null;
    } else {
      if (cell.field != table->column[which].field) return 0;
      given[which] = cell.held;
    }
  }
  return is_there == 0 && count == 1;
}

/* Whether a drawn number of a row may follow from others: its token is a mark then. The marks of given
 * numbers only say which relations hold of these. */
INLINE int may_follow(const Table *table, const int32_t *tokens, const Bytes *given) {
  for (int64_t which = 0; which < table->columns; which++) {
    const Column *const column = &table->column[which];
    if (given[which].at || column->how != BINNED) continue;
    if (tokens[column->slot] >= column->marks_from) return 1;
  }
  return 0;
}

/* Numbers of drawn columns that follow from others, and stand in place of what tokens say. Those of a
 * column lie together, in the order of their rows. */
typedef struct {
  const int32_t *columns, *rows; /* the place of each one's column, and its row */
  const uint64_t *bits;
  int64_t count; /* -1: nobody has looked what follows from what */
} Computed;

/* The place of the first number of a column; `count` if it has none. */
INLINE int64_t computed_of(const Computed *computed, int32_t column) {
  int64_t at = 0;
  while (at < computed->count && computed->columns[at] != column) at++;
  return computed->count < 0 ? 0 : at;
}

INLINE int is_computed(const Computed *computed, int64_t at, int32_t column, int64_t row) {
  return at < computed->count && computed->columns[at] == column && computed->rows[at] == row;
}

/* The value in a field that holds one, without what says how long it is. */
INLINE int only_value(Bytes held, Bytes *value) {
  return held.at < held.end && *held.at++ == 0x0a && some_bytes(&held, value);
}

/* One draw's value of a column, behind those of other draws. A text has its length before it; of
 * numbers, which are packed, only `put_values` writes how many bytes they all have. */
INLINE int put_value(Room *room, const Column *column, Bytes value) {
  uint8_t head[11] = {0x0a};
  if (column->field == STRINGS &&
      !put(room, head, 1 + put_varint(head + 1, (uint64_t)length(value))))
    return 0;
  return put(room, value.at, length(value));
}

INLINE int put_bits(Room *room, const Column *column, uint64_t bits) {
  uint8_t value[10];
  if (column->field != DOUBLES) return put(room, value, put_varint(value, bits));
  for (int i = 0; i < 8; i++) value[i] = (uint8_t)(bits >> 8 * i);
  return put(room, value, 8);
}

/* A column of several rows: a name, its values, and which of them are NULL, if any is. */
INLINE int put_values(Room *room, const Column *column, Bytes values, Bytes states) {
  const int is_packed = column->field != STRINGS;
  uint8_t head[11] = {0x12}, field[11] = {(uint8_t)(column->field << 3 | 2)};
  uint8_t packed[11] = {0x0a}, stated[11] = {0x32};
  const int64_t size = length(values), states_size = length(states);
  const int64_t packed_size = is_packed ? 1 + put_varint(packed + 1, (uint64_t)size) : 0;
  const int64_t field_size = 1 + put_varint(field + 1, (uint64_t)(packed_size + size));
  const int64_t stated_size = states_size ? 1 + put_varint(stated + 1, (uint64_t)states_size) : 0;
  const int64_t all =
      column->name_bytes + field_size + packed_size + size + stated_size + states_size;
  const int64_t head_size = 1 + put_varint(head + 1, (uint64_t)all);
  return put(room, head, head_size) && put(room, column->name, column->name_bytes) &&
         put(room, field, field_size) && put(room, packed, packed_size) &&
         put(room, values.at, size) && put(room, stated, stated_size) &&
         put(room, states.at, states_size);
}

/* Puts the values of a column of several draws into `values`; 0: not mine. `states` has a byte a draw,
 * all of them OBSERVED: of a NULL it is written over, and `has_null` set. */
INLINE int put_draws(Room *values, const Table *table, int32_t which, Bytes held, int64_t rows,
                     const int32_t *tokens, const double *uniform, const Computed *computed,
                     uint8_t *states, int *has_null) {
  const Column *const column = &table->column[which];
  Bytes value;
  if (held.at && held.at != &NOTHING) {
    if (!only_value(held, &value)) return 0;
    for (int64_t row = 0; row < rows; row++)
      if (!put_value(values, column, value)) return 0;
    return 1;
  }
  int64_t next = held.at ? computed->count : computed_of(computed, which);
  for (int64_t row = 0; row < rows; row++, tokens += table->slots) {
    const int32_t token = held.at ? 0 : tokens[column->slot];
    if (is_computed(computed, next, which, row)) {
      if (!put_bits(values, column, computed->bits[next++])) return 0;
      continue;
    }
    if (token < 0 || token >= column->size) return 0;
    if (token < column->written_tokens) {
      Bytes written = {column->written + column->written_begin[token],
                       column->written + column->written_begin[token + 1]};
      Bytes field;
      written.at++;
      if (!some_bytes(&written, &field) || !only_value(field, &value)) return 0;
      if (!put_value(values, column, value)) return 0;
      if (written.at < written.end) states[row] = NULLED, *has_null = 1;
      continue;
    }
    if (column->how != BINNED) return 0;
    const int32_t fine = tokens[column->slot + 1];
    if (token >= column->marks_from || fine < 0 || fine >= FINE) return 0;
    if (!(uniform[row] >= 0 && uniform[row] < 1)) return 0;
    if (!put_bits(values, column, number_of(column, token, fine, uniform[row]))) return 0;
  }
  return 1;
}
