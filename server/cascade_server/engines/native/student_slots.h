/* The arithmetic of student_walk.c, for one generation of processors.
 *
 * Included with LANES, the numbers of a vector, HALF, whether WIDEN(from) is there, which makes a
 * vector of LANES half-precision numbers, and VARIANT(name), a name of this variant's own.
 *
 * Whichever way a product is computed, its sums are made in one order, so that a row's results do
 * not depend on its batch, and are the same whether a matrix is float or half.
 */

#define vector VARIANT(vector)
#define ints VARIANT(ints)
#define unaligned VARIANT(unaligned)
#define load VARIANT(load)
#define store VARIANT(store)
#define widened VARIANT(widened)
#define logarithm VARIANT(logarithm)
#define sums VARIANT(sums)
#define product VARIANT(product)
#define tile VARIANT(tile)
#define tiles VARIANT(tiles)
#define products VARIANT(products)
#define fetch_embedding VARIANT(fetch_embedding)
#define start VARIANT(start)
#define next_weights VARIANT(next_weights)
#define embed VARIANT(embed)
#define only_positive VARIANT(only_positive)
#define keep_positive VARIANT(keep_positive)
#define logits_of_one VARIANT(logits_of_one)
#define logits_of_some VARIANT(logits_of_some)
#define bar VARIANT(bar)
#define most_noise VARIANT(most_noise)
#define some_uniform VARIANT(some_uniform)
#define is_any VARIANT(is_any)
#define not_less VARIANT(not_less)
#define draw VARIANT(draw)

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
/* Read and written where it stands, aligned or not. */
typedef float unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vector load(const float *from) { return *(const unaligned *)from; }
INLINE void store(float *to, vector value) { *(unaligned *)to = value; }

/* Numbers of a matrix, `at` numbers behind its first. */
INLINE vector widened(const void *values, int64_t at, const int half) {
#if HALF
  if (half) return WIDEN((const uint16_t *)values + at);
#endif
  (void)half;
  return load((const float *)values + at);
}

/* out += the sum of x[i] * a matrix's row i, of `vectors` vectors of its columns. With `which`, x
 * are those that are not 0, and their rows are named there.
 *
 * Meanwhile the weights of the row's next slot are fetched, two lines a row: about as many as a slot
 * has. Else they would be waited for, as not all are in the cache nearby. */
INLINE void sums(const float *x, const int32_t *which, int count, const void *values,
                 int64_t at, int columns, const int half, const int vectors, float *out,
                 Ahead *ahead) {
  vector sum[8];
  const char *soon = ahead->from, *const end = ahead->end;
#pragma GCC unroll 8
  for (int i = 0; i < vectors; i++) sum[i] = load(out + i * LANES);
  for (int t = 0; t < count; t++) {
    const int64_t row = at + (int64_t)(which ? which[t] : t) * columns;
    const float by = x[t];
    if (soon < end) soon = fetch(soon, 2 * LINE);
#pragma GCC unroll 8
    for (int i = 0; i < vectors; i++) sum[i] += by * widened(values, row + i * LANES, half);
  }
#pragma GCC unroll 8
  for (int i = 0; i < vectors; i++) store(out + i * LANES, sum[i]);
  ahead->from = soon;
}

/* The same of all its columns: eight vectors at a time, and the rest. */
INLINE void product(const float *x, const int32_t *which, int count, const void *values,
                    int columns, const int half, float *out, Ahead *ahead) {
  int at = 0;
  for (; at + 8 * LANES <= columns; at += 8 * LANES)
    sums(x, which, count, values, at, columns, half, 8, out + at, ahead);
  switch ((columns - at) / LANES) {
#define REST(vectors) \
  case vectors: sums(x, which, count, values, at, columns, half, vectors, out + at, ahead); break;
#if LANES == 16
    REST(1) REST(3) REST(5) REST(7)
#endif
#if LANES >= 8
    REST(2) REST(6)
#endif
    REST(4)
#undef REST
  }
}

/* The same of `count` rows at once, of `vectors` vectors of columns. */
INLINE void tile(const float *const *x, const int count, int rows, const void *values,
                 int64_t columns, const int half, const int vectors, float *const *out, int at) {
  vector sum[TILE][2];
#pragma GCC unroll 8
  for (int j = 0; j < count; j++)
#pragma GCC unroll 2
    for (int i = 0; i < vectors; i++) sum[j][i] = load(out[j] + at + i * LANES);
  for (int row = 0; row < rows; row++) {
    vector weight[2];
#pragma GCC unroll 2
    for (int i = 0; i < vectors; i++)
      weight[i] = widened(values, row * columns + i * LANES, half);
#pragma GCC unroll 8
    for (int j = 0; j < count; j++) {
      const float by = x[j][row];
#pragma GCC unroll 2
      for (int i = 0; i < vectors; i++) sum[j][i] += by * weight[i];
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < count; j++)
#pragma GCC unroll 2
    for (int i = 0; i < vectors; i++) store(out[j] + at + i * LANES, sum[j][i]);
}

/* The same of any number of rows. */
INLINE void tiles(const float *const *x, int count, int rows, const void *values, int64_t columns,
                  const int half, const int vectors, float *const *out, int at) {
  for (; count >= TILE; count -= TILE, x += TILE, out += TILE)
    tile(x, TILE, rows, values, columns, half, vectors, out, at);
  switch (count) {
#define REST(count) \
  case count: tile(x, count, rows, values, columns, half, vectors, out, at); break;
    REST(1) REST(2) REST(3) REST(4) REST(5)
#undef REST
  }
}

/* The same of all columns; of the next slot's weights as much is fetched as is read. Where there
 * are several tiles of rows, a panel of columns is first copied, widened, to where it stays in the
 * first cache. */
INLINE void products(const float *const *x, int count, int rows, const Matrix *matrix, int columns,
                     float *panel, float *const *out, Ahead *ahead) {
  const int half = matrix->half != 0;
  for (int at = 0; at < columns; at += 2 * LANES) {
    const int vectors = columns - at >= 2 * LANES ? 2 : 1;
    if (ahead->from < ahead->end)
      ahead->from = fetch(ahead->from, (int64_t)rows * vectors * LANES * (half ? 2 : 4));
    const void *values = half ? (const void *)((const uint16_t *)matrix->values + at)
                              : (const void *)((const float *)matrix->values + at);
#if LANES == 16
#define SOME(values, columns, half)                           \
  if (vectors == 1)                                           \
    tiles(x, count, rows, values, columns, half, 1, out, at); \
  else                                                        \
    tiles(x, count, rows, values, columns, half, 2, out, at);
#else
#define SOME(values, columns, half) tiles(x, count, rows, values, columns, half, 2, out, at);
#endif
    if (count > TILE) {
      for (int row = 0; row < rows; row++)
        for (int i = 0; i < vectors; i++) {
          const int64_t from = (int64_t)row * columns + i * LANES;
          store(panel + (row * vectors + i) * LANES,
                half ? widened(values, from, 1) : widened(values, from, 0));
        }
      SOME(panel, vectors * LANES, 0)
    } else if (half) {
      SOME(values, columns, 1)
    } else {
      SOME(values, columns, 0)
    }
#undef SOME
  }
}

/* A token's embedding will soon be asked for. */
INLINE void fetch_embedding(const Model *model, int slot, int32_t token) {
  const int64_t bytes = model->width * (int64_t)(model->embedding.half ? 2 : 4);
  const char *from = (const char *)model->embedding.values;
  from += ((int64_t)model->offsets[slot] + token) * bytes;
  fetch(from, bytes);
}

/* A token joins a state. */
INLINE void embed(const Model *model, int slot, int32_t token, float *state) {
  const int64_t at = ((int64_t)model->offsets[slot] + token) * model->width;
  const void *values = model->embedding.values;
  if (model->embedding.half)
    for (int i = 0; i < model->width; i += LANES)
      store(state + i, load(state + i) + widened(values, at + i, 1));
  else
    for (int i = 0; i < model->width; i += LANES)
      store(state + i, load(state + i) + widened(values, at + i, 0));
}

INLINE void only_positive(float *x, int count) {
  const vector zero = {0};
  for (int i = 0; i < count; i += LANES) {
    const vector at = load(x + i);
    store(x + i, (vector)((ints)at & (at > zero)));
  }
}

/* The positive numbers move to the front, `which` says where they were; how many they are. About
 * half of a hidden layer is positive. */
INLINE int keep_positive(float *x, int count, int32_t *which) {
  int kept = 0;
  for (int i = 0; i < count; i++) {
    const float at = x[i];
    x[kept] = at;
    which[kept] = i;
    kept += at > 0.0f;
  }
  return kept;
}

/* A slot's logits from the states of rows: hidden is [head] of each, logits [padded] of each. */
INLINE void logits_of_one(const Model *model, int slot, const float *state, float *panel,
                          float *hidden, float *logits, Ahead ahead) {
  const int width = model->width, head = model->head, padded = model->padded[slot];
  const Matrix in = model->weight_in[slot], out = model->weight_out[slot];
  int32_t *which = (int32_t *)panel;
  memcpy(hidden, model->bias_in[slot], (size_t)head * sizeof(float));
  memcpy(logits, model->bias_out[slot], (size_t)padded * sizeof(float));
  if (in.half)
    product(state, 0, width, in.values, head, 1, hidden, &ahead);
  else
    product(state, 0, width, in.values, head, 0, hidden, &ahead);
  const int kept = keep_positive(hidden, head, which);
  if (out.half)
    product(hidden, which, kept, out.values, padded, 1, logits, &ahead);
  else
    product(hidden, which, kept, out.values, padded, 0, logits, &ahead);
}

INLINE void logits_of_some(const Model *model, int slot, const float *const *states, int count,
                           float *panel, float *const *hidden, float *const *logits,
                           Ahead ahead) {
  const int width = model->width, head = model->head, padded = model->padded[slot];
  for (int j = 0; j < count; j++) {
    memcpy(hidden[j], model->bias_in[slot], (size_t)head * sizeof(float));
    memcpy(logits[j], model->bias_out[slot], (size_t)padded * sizeof(float));
  }
  products(states, count, width, &model->weight_in[slot], head, panel, hidden, &ahead);
  for (int j = 0; j < count; j++) only_positive(hidden[j], head);
  products((const float *const *)hidden, count, head, &model->weight_out[slot], padded, panel,
           logits, &ahead);
}

#include "student_draw.h"

/* The states of rows: the sum of what is known. 0, or 1 + the first row that has a token which is
 * none of its slot's. A row that is alike to the one before it takes its state; whether one is. */
INLINE int64_t start(const Model *model, int64_t rows, const int32_t *tokens,
                     const uint8_t *observed, float *states, int32_t *alike, int *are_some_alike) {
  const int slots = model->slots, width = model->width;
  for (int64_t row = 0; row < rows; row++, tokens += slots, observed += slots, states += width) {
    alike[row] = (int32_t)row;
    if (row && is_alike(slots, tokens - slots, tokens, observed - slots, observed)) {
      alike[row] = alike[row - 1];
      *are_some_alike = 1;
      memcpy(states, states - width, (size_t)width * sizeof(float));
      continue;
    }
    memset(states, 0, (size_t)width * sizeof(float));
    for (int slot = 0; slot < slots; slot++) {
      if (!observed[slot]) continue;
      if (tokens[slot] < 0 || tokens[slot] >= model->sizes[slot]) return row + 1;
      fetch_embedding(model, slot, tokens[slot]);
    }
    for (int slot = 0; slot < slots; slot++)
      if (observed[slot]) embed(model, slot, tokens[slot], states);
  }
  return 0;
}

/* The weights of the next slot that a row misses, which lie one behind another. */
INLINE Ahead next_weights(const Model *model, int slot, const uint8_t *observed) {
  int next = slot + 1;
  while (next < model->slots && observed[next]) next++;
  if (next == model->slots) return (Ahead){0, 0};
  const Matrix in = model->weight_in[next], out = model->weight_out[next];
  const int64_t numbers = model->head * (int64_t)model->padded[next];
  return (Ahead){in.values, (const char *)out.values + numbers * (out.half ? 2 : 4)};
}

static int64_t VARIANT(walk)(const Model *model, int64_t rows, int32_t *tokens,
                             const uint8_t *observed, const float *noise, float *scratch) {
  const int slots = model->slots, width = model->width, head = model->head;
  const int64_t deepest = width > head ? width : head;
  float *panel = scratch, *state_of_all = panel + PANEL * deepest;
  float *most = state_of_all + rows * width, *block = most + model->widest;
  const int64_t of_one = head + model->widest, room = rows < BLOCK ? rows : BLOCK;
  int32_t *alike = (int32_t *)(block + room * of_one), *place = alike + rows;
  int are_some_alike = 0;
  const int64_t failed =
      start(model, rows, tokens, observed, state_of_all, alike, &are_some_alike);
  if (failed) return failed;
  memset(place, 0, (size_t)rows * sizeof *place);
  for (int slot = 0; slot < slots; slot++) {
    int64_t next = 0;
    while (next < rows) {
      int64_t taken[BLOCK];
      int32_t group[BLOCK], first[BLOCK];
      const float *states[BLOCK];
      float *hidden[BLOCK], *logits[BLOCK];
      int count = 0, groups = 0;
      for (; next < rows && count < BLOCK; next++) {
        if (observed[next * slots + slot]) continue;
        const int is_new = is_of_no_group(alike[next], place, first, groups, taken, alike);
        if (is_new) {
          place[alike[next]] = groups;
          first[groups] = count;
          states[groups] = state_of_all + next * width;
          hidden[groups] = block + groups * of_one;
          logits[groups] = hidden[groups] + head;
          groups++;
        }
        group[count] = place[alike[next]];
        taken[count++] = next;
      }
      if (count == 0) break;
      const Ahead ahead = next_weights(model, slot, observed + taken[0] * slots);
      if (groups <= ALONE)
        for (int j = 0; j < groups; j++)
          logits_of_one(model, slot, states[j], panel, hidden[j], logits[j], ahead);
      else
        logits_of_some(model, slot, states, groups, panel, hidden, logits, ahead);
      for (int j = 0; j < groups; j++) {
        const int64_t row = taken[first[j]];
        be_near(model, slot, tokens + row * slots, observed + row * slots, logits[j]);
        bar(model, slot, observed + row * slots, logits[j]);
      }
      for (int j = 0; j < count; j++) {
        const int64_t row = taken[j];
        const float *uniform = noise + row * model->noise_width + model->noise_begin[slot];
        const int32_t token = draw(logits[group[j]], uniform, model->sizes[slot], most);
        tokens[row * slots + slot] = token;
        if (slot + 1 < slots) embed(model, slot, token, state_of_all + row * width);
      }
      if (are_some_alike) part(slots, slot, count, groups, group, taken, tokens, alike);
    }
  }
  return 0;
}

#undef vector
#undef ints
#undef unaligned
#undef load
#undef store
#undef widened
#undef logarithm
#undef sums
#undef product
#undef tile
#undef tiles
#undef products
#undef fetch_embedding
#undef start
#undef next_weights
#undef embed
#undef only_positive
#undef keep_positive
#undef logits_of_one
#undef logits_of_some
#undef bar
#undef draw
#undef most_noise
#undef some_uniform
#undef is_any
#undef not_less
