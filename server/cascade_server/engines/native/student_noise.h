/* The student's noise, and where inside of its bin a number is: NumPy's Philox, made where it is
 * read. noise.py and student_noise.py say which number of a seed's stream is whose, and make the
 * same ones without this.
 *
 * Philox4x64-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011) makes a block
 * of four words of a counter, so that it may begin anywhere at no cost.
 */

typedef unsigned __int128 wide;

/* Blocks of float32 numbers, two a word, and of float64 numbers. */
enum { SINGLES = 8, DOUBLES = 4 };
/* Of the counter's third word, as in noise.py: what numbers are for. */
enum { DRAW, INSIDE };
/* Draws of a row whose numbers lie together column by column, as BLOCKS of student_noise.py. */
static const int64_t TOGETHER[] = {32, 8};

/* Which numbers of a row are a column's; see student_noise.py. */
typedef struct {
  int64_t columns, slots, width;
  const int32_t *first_slot; /* [columns], in the order of the slots */
  const int64_t *ends;       /* [columns + 1], where a column's numbers begin; the last: width */
} NoiseLayout;

/* A block of a stream; the first is 0, which NumPy makes of a counter of 1. */
INLINE void philox(uint64_t seed, wide block, uint64_t use, uint64_t words[4]) {
  const wide counter = block + 1;
  uint64_t c0 = (uint64_t)counter, c1 = (uint64_t)(counter >> 64), c2 = use, c3 = 0;
  uint64_t k0 = seed, k1 = 0;
  for (int round = 0; round < 10; round++) {
    const wide first = (wide)0xD2E7470EE14C6C93u * c0, second = (wide)0xCA5A826395121157u * c2;
    c0 = (uint64_t)(second >> 64) ^ c1 ^ k0;
    c1 = (uint64_t)second;
    c2 = (uint64_t)(first >> 64) ^ c3 ^ k1;
    c3 = (uint64_t)first;
    k0 += 0x9E3779B97F4A7C15u;
    k1 += 0xBB67AE8584CAA73Bu;
  }
  words[0] = c0, words[1] = c1, words[2] = c2, words[3] = c3;
}

/* Some float32 numbers of a stream from one of them on, in [0, 1). */
INLINE void singles(uint64_t seed, wide start, int64_t count, float *out) {
  wide block = start / SINGLES;
  int at = (int)(start % SINGLES);
  for (int64_t made = 0; made < count; block++, at = 0) {
    uint64_t words[4];
    philox(seed, block, DRAW, words);
    float numbers[SINGLES];
    for (int i = 0; i < SINGLES; i++)
      numbers[i] = (float)((uint32_t)(words[i / 2] >> 32 * (i & 1)) >> 8) * 0x1p-24f;
    for (; at < SINGLES && made < count; at++) out[made++] = numbers[at];
  }
}

/* The noise of some draws, one after another: `StudentNoise.fill`, of what rows lack.
 *
 * draws: of each row. begin, count: of the draws of the request. observed: [rows, slots]. out:
 * float32 [count, width]; numbers of known columns stay as they are. */
void cascade_student_noise(const NoiseLayout *layout, uint64_t seed, uint64_t first_row,
                           int64_t draws, int64_t begin, int64_t count, const uint8_t *observed,
                           float *out) {
  const int64_t columns = layout->columns, *const ends = layout->ends;
  for (int64_t at = begin; at < begin + count; at++, out += layout->width) {
    const int64_t row = at / draws, draw = at % draws;
    const uint8_t *const known = observed + row * layout->slots;
    int64_t start = 0, size = draws;
    for (int kind = 0; kind < 2; kind++) {
      size = TOGETHER[kind];
      const int64_t whole = (draws - start) / size * size;
      if (draw < start + whole) {
        start += (draw - start) / size * size;
        break;
      }
      start += whole;
      size = 0;
    }
    const wide base = (((wide)first_row + (wide)row) * (wide)draws + (wide)start) * (wide)layout->width;
    const wide before = (wide)(draw - start);
    for (int64_t column = 0; column < columns; column++) {
      if (known[layout->first_slot[column]]) continue;
      int64_t last = column + 1;
      if (!size) /* Alone, a draw's columns lie side by side. */
        while (last < columns && !known[layout->first_slot[last]]) last++;
      const int64_t numbers = ends[last] - ends[column];
      const wide from = size ? (wide)size * (wide)ends[column] + before * (wide)numbers
                             : before * (wide)layout->width + (wide)ends[column];
      singles(seed, base + from, numbers, out + ends[column]);
      column = last - 1;
    }
  }
}

/* Where inside of its bin each number of one row is: `inside_bins`.
 *
 * row: of the whole answer. width: columns of the schema. columns: places of those that are asked
 * for, `count` of them. out: float64 [count]. */
void cascade_inside_bins(uint64_t seed, uint64_t row, int64_t width, const int64_t *columns,
                         int64_t count, double *out) {
  for (int64_t i = 0; i < count; i++) {
    const wide place = (wide)row * (wide)width + (wide)columns[i];
    uint64_t words[4];
    philox(seed, place / DOUBLES, INSIDE, words);
    out[i] = (double)(words[place % DOUBLES] >> 11) * 0x1p-53;
  }
}
