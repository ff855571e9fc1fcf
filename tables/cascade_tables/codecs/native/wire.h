/* Messages of synthesis.proto as bytes, as far as the way of one row needs them.
 *
 * Whatever comes from a caller is read by these functions, and none of them reads beyond the bytes
 * that it is given. They know what clients write; what else is a valid message, such as a field
 * that comes twice, numbers that are not packed or a field of a later version, they leave to
 * protobuf: they return 0, "not mine".
 */

#define INLINE static inline __attribute__((always_inline))

typedef struct {
  const uint8_t *at, *end;
} Bytes;

/* What a cell of a row is; OBSERVED, NULLED and ABSENT as in `Column.states`. */
enum { OBSERVED, NULLED, ABSENT, UNSTATED };
/* Fields of `Column` that hold values. */
enum { DOUBLES = 2, INTEGERS = 3, STRINGS = 4, BOOLEANS = 5 };

/* A column of one row. */
typedef struct {
  Bytes name;
  Bytes held; /* what is in the field of its values */
  Bytes text; /* the value, of STRINGS */
  int32_t field, state;
  union {
    double real;
    int64_t whole; /* of BOOLEANS 0 or 1 */
    uint64_t bits;
  } value;
} Cell;

INLINE int64_t length(Bytes bytes) { return bytes.end - bytes.at; }

INLINE int is_same(Bytes some, Bytes other) {
  return length(some) == length(other) && !memcmp(some.at, other.at, (size_t)length(some));
}

INLINE int varint(Bytes *from, uint64_t *value) {
  uint64_t sum = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (from->at == from->end) return 0;
    const uint8_t byte = *from->at++;
    if (shift == 63 && byte > 1) return 0;
    sum |= (uint64_t)(byte & 0x7f) << shift;
    if (!(byte & 0x80)) {
      *value = sum;
      return 1;
    }
  }
  return 0;
}

/* The bytes of a field that says how many there are. */
INLINE int some_bytes(Bytes *from, Bytes *found) {
  uint64_t size;
  if (!varint(from, &size) || size > (uint64_t)length(*from)) return 0;
  found->at = from->at;
  found->end = from->at += size;
  return 1;
}

/* Whether bytes are UTF-8 as protobuf and Python have it: no surrogates, nothing longer than it has
 * to be, nothing above U+10FFFF. */
static int is_text(Bytes text) {
  const uint8_t *at = text.at, *const end = text.end;
  while (at < end) {
    const uint8_t first = *at++;
    if (first < 0x80) continue;
    int more = 1;
    uint8_t least = 0x80, most = 0xbf;
    if (first < 0xc2 || first > 0xf4) return 0;
    if (first >= 0xe0) more = 2;
    if (first >= 0xf0) more = 3;
    if (first == 0xe0) least = 0xa0;
    if (first == 0xed) most = 0x9f;
    if (first == 0xf0) least = 0x90;
    if (first == 0xf4) most = 0x8f;
    if (end - at < more) return 0;
    for (; more > 0; more--, at++, least = 0x80, most = 0xbf)
      if (*at < least || *at > most) return 0;
  }
  return 1;
}

/* The one value in a field of values. */
INLINE int one_value(Cell *cell) {
  Bytes held = cell->held, packed;
  if (held.at == held.end || *held.at++ != 0x0a) return 0;
  if (!some_bytes(&held, &packed) || held.at != held.end) return 0;
  switch (cell->field) {
    case DOUBLES:
      if (length(packed) != 8) return 0;
      memcpy(&cell->value.bits, packed.at, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
      cell->value.bits = __builtin_bswap64(cell->value.bits);
#endif
      return 1;
    case STRINGS:
      cell->text = packed;
      return 1;
    default:
      if (!varint(&packed, &cell->value.bits) || packed.at != packed.end) return 0;
      return cell->field == INTEGERS || cell->value.bits <= 1;
  }
}

/* A `Column` of one row. */
INLINE int read_cell(Bytes column, Cell *cell) {
  memset(cell, 0, sizeof *cell);
  cell->state = UNSTATED;
  while (column.at < column.end) {
    const uint8_t tag = *column.at++;
    Bytes found;
    if (!some_bytes(&column, &found)) return 0;
    switch (tag) {
      case 0x0a:
        if (cell->name.at) return 0;
        cell->name = found;
        break;
      case 0x12:
      case 0x1a:
      case 0x22:
      case 0x2a:
        if (cell->field) return 0;
        cell->field = tag >> 3;
        cell->held = found;
        if (!one_value(cell)) return 0;
        break;
      case 0x32:
        if (cell->state != UNSTATED || length(found) != 1 || *found.at > ABSENT) return 0;
        cell->state = *found.at;
        break;
      default:
        return 0;
    }
  }
  if (cell->state == UNSTATED) cell->state = OBSERVED;
  return cell->name.at && (cell->field || cell->state != OBSERVED);
}

/* The next `Column` of `Rows`, whose count is passed over and noted: 1 there is one, 0 there is
 * none, −1 not mine. */
INLINE int next_cell(Bytes *rows, uint64_t *count, Cell *cell) {
  while (rows->at < rows->end) {
    const uint8_t tag = *rows->at++;
    if (tag == 0x08) {
      if (*count || !varint(rows, count) || *count != 1) return -1;
    } else if (tag == 0x12) {
      Bytes column;
      return some_bytes(rows, &column) && read_cell(column, cell) ? 1 : -1;
    } else {
      return -1;
    }
  }
  return 0;
}

/* What is known of a `SynthesizeRequest` for one row once its bytes have been passed over. Where
 * bytes are, from the message's first on. Fields in the order of scanning.py. */
typedef struct {
  int64_t table, table_bytes, version, rows, rows_bytes, draws, has_draws;
  int64_t columns, columns_bytes;
  uint64_t seed;
  int64_t has_seed, fidelity, log_likelihood;
  uint64_t timeout;
  int64_t explain, strict;
  uint64_t first_row;
  int64_t offline;
} Request;

/* Passes over a message; 1 it is what protobuf would read too, in full, 0 not mine. */
static int scan(const uint8_t *message, int64_t size, Request *out) {
  Bytes left = {message, message + size}, found;
  uint64_t number;
  uint32_t seen = 0;
  memset(out, 0, sizeof *out);
  while (left.at < left.end) {
    const uint8_t *const from = left.at;
    const uint8_t tag = *left.at++;
    const int field = tag >> 3;
    if (field == 5 && (seen >> 5 & 1) && from != message + out->columns + out->columns_bytes)
      return 0; /* Names of columns come together. */
    if (field != 5 && (seen >> field & 1)) return 0;
    seen |= (uint32_t)1 << field;
    if ((tag & 7) == 2) {
      if (!some_bytes(&left, &found)) return 0;
      if (field == 1) {
        if (!is_text(found)) return 0;
        out->table = found.at - message;
        out->table_bytes = length(found);
      } else if (field == 3) {
        out->rows = found.at - message;
        out->rows_bytes = length(found);
        uint64_t count = 0;
        Cell cell;
        int is_there;
        while ((is_there = next_cell(&found, &count, &cell)) > 0)
          if (!is_text(cell.name) || (cell.field == STRINGS && !is_text(cell.text))) return 0;
        if (is_there < 0 || count != 1) return 0;
      } else if (field == 5) {
        if (!is_text(found)) return 0;
        if (!out->columns_bytes) out->columns = from - message;
        out->columns_bytes = left.at - message - out->columns;
      } else {
        return 0;
      }
      continue;
    }
    if ((tag & 7) != 0 || !varint(&left, &number)) return 0;
    switch (field) {
      case 2: out->version = (int64_t)number; break;
      case 4:
        if (number > UINT32_MAX) return 0;
        out->draws = (int64_t)number;
        out->has_draws = 1;
        break;
      case 6:
        out->seed = number;
        out->has_seed = 1;
        break;
      case 7:
        if (number > 2) return 0;
        out->fidelity = (int64_t)number;
        break;
      case 9: out->timeout = number; break;
      case 12: out->first_row = number; break;
      case 8:
      case 10:
      case 11:
      case 13:
        if (number > 1) return 0;
        if (field == 8) out->log_likelihood = (int64_t)number;
        if (field == 10) out->explain = (int64_t)number;
        if (field == 11) out->strict = (int64_t)number;
        if (field == 13) out->offline = (int64_t)number;
        break;
      default: return 0;
    }
  }
  return seen >> 3 & 1;
}
