/* The student's walk over a row's slots, for a few rows on one thread.
 *
 * The same arithmetic as the student's ONNX graph (distill/cascade_distill/export/student_graph.py):
 * slot after slot, a hidden layer reads the state, the slot's token is drawn by the Gumbel-max
 * trick, and its embedding joins the state. ONNX Runtime spends one to two microseconds on each of
 * the graph's five nodes a slot, whatever they compute; here a slot is two products of a vector and
 * a matrix that lies in the cache. walk.py says what the arrays are and keeps them alive.
 *
 * Plain C11 and GCC's vector extensions, which Clang has too. No Python headers: it is loaded by
 * ctypes. What it is given is checked in walk.py, but for tokens, which are checked here.
 */

#include <math.h>
#include <stdint.h>
#include <string.h>

/* Numbers of one vector: as wide as AVX2's registers. Elsewhere the compiler cuts it in parts. */
#define LANES 8
/* Every row of a matrix is padded to a multiple of this, two vectors. */
#define PAD (2 * LANES)
/* Rows that are drawn side by side where there are so many. */
#define TOGETHER 4

typedef float vector __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
/* Read and written where it stands, aligned or not. */
typedef float unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* One variant for each generation of processors, chosen when the library is loaded, where the C
 * library can choose: musl cannot. By what processors can do, not by their names, which are one
 * maker's: GCC before 12 has no x86-64-v3, which is AVX2 with FMA. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
#if __GNUC__ >= 12
#define PER_PROCESSOR \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PER_PROCESSOR __attribute__((target_clones("avx2", "default")))
#endif
#else
#define PER_PROCESSOR
#endif
#define INLINE static inline __attribute__((always_inline))
/* Functions that take vectors are all inlined: how they would be called does not matter. */
#pragma GCC diagnostic ignored "-Wpsabi"

/* Of `Model` and of how functions are called, as VERSION in library.py. */
#define VERSION 1
int32_t cascade_student_walk_version(void) { return VERSION; }

/* The walk's arrays; see walk.py, which declares the same fields in the same order. */
typedef struct {
  int32_t slots, width, head;   /* width and head are multiples of PAD */
  int32_t widest;               /* the largest of padded */
  int64_t noise_width;          /* numbers of a row */
  const int32_t *sizes;         /* [slots] */
  const int32_t *padded;        /* [slots], sizes rounded up to PAD */
  const int32_t *noise_begin;   /* [slots], where a slot's numbers begin in a row */
  const int32_t *offsets;       /* [slots], a slot's first row of the embedding */
  const float *embedding;       /* [sum of sizes, width] */
  const float *const *weight_in;   /* of each slot, [width, head] */
  const float *const *bias_in;     /* of each slot, [head] */
  const float *const *weight_out;  /* of each slot, [head, padded] */
  const float *const *bias_out;    /* of each slot, [padded] */
  const int32_t *barred_begin;  /* [slots + 1], where a slot's entries begin */
  const int32_t *barred_slot;   /* of each entry: if this slot is missing, */
  const int32_t *barred_token;  /* this token of the entry's slot */
  const float *barred_value;    /* has this added to its logit */
} Model;

INLINE vector load(const float *from) { return *(const unaligned *)from; }
INLINE void store(float *to, vector value) { *(unaligned *)to = value; }

/* ln of positive numbers: the exponent, and a polynomial of the mantissa in [1/sqrt 2, sqrt 2), as
 * in Cephes' logf (Moshier). Near 1 it is as exact as elsewhere, which ln(-ln u) needs. */
INLINE vector logarithm(vector x) {
  ints bits = (ints)x;
  ints exponent = (bits >> 23) - 126;
  vector mantissa = (vector)((bits & 0x007fffff) | 0x3f000000);
  ints small = mantissa < 0.707106781186547524f;
  exponent += small; /* true is -1 */
  vector m = mantissa - 1.0f + (vector)((ints)mantissa & small);
  vector z = m * m;
  vector y = 7.0376836292e-2f * m - 1.1514610310e-1f;
  y = y * m + 1.1676998740e-1f;
  y = y * m - 1.2420140846e-1f;
  y = y * m + 1.4249322787e-1f;
  y = y * m - 1.6668057665e-1f;
  y = y * m + 2.0000714765e-1f;
  y = y * m - 2.4999993993e-1f;
  y = y * m + 3.3333331174e-1f;
  y = y * m * z;
  vector e = __builtin_convertvector(exponent, vector);
  y += e * -2.12194440e-4f;
  y -= 0.5f * z;
  return m + y + e * 0.693359375f;
}

/* out += the sum of x[i] * matrix[i], rows of `columns` numbers, `columns` a multiple of PAD, for
 * one vector x. Rows of which x is 0, half of a hidden layer's, are not read. */
INLINE void product(
    const float *x, int rows, const float *matrix, int columns, float *out) {
  int column = 0;
  for (; column + 8 * LANES <= columns; column += 8 * LANES) {
    vector sum[8];
    for (int i = 0; i < 8; i++) sum[i] = load(out + column + i * LANES);
    for (int row = 0; row < rows; row++) {
      const float by = x[row];
      if (by == 0.0f) continue;
      const float *m = matrix + (int64_t)row * columns + column;
      for (int i = 0; i < 8; i++) sum[i] += by * load(m + i * LANES);
    }
    for (int i = 0; i < 8; i++) store(out + column + i * LANES, sum[i]);
  }
  for (; column < columns; column += 2 * LANES) {
    vector sum[2];
    for (int i = 0; i < 2; i++) sum[i] = load(out + column + i * LANES);
    for (int row = 0; row < rows; row++) {
      const float by = x[row];
      if (by == 0.0f) continue;
      const float *m = matrix + (int64_t)row * columns + column;
      for (int i = 0; i < 2; i++) sum[i] += by * load(m + i * LANES);
    }
    for (int i = 0; i < 2; i++) store(out + column + i * LANES, sum[i]);
  }
}

/* The same for TOGETHER vectors at once, so that the matrix is read once for all of them. */
INLINE void products(const float *const *x, int rows, const float *matrix, int columns,
                     float *const *out) {
  for (int column = 0; column < columns; column += 2 * LANES) {
    vector sum[TOGETHER][2];
    for (int j = 0; j < TOGETHER; j++)
      for (int i = 0; i < 2; i++) sum[j][i] = load(out[j] + column + i * LANES);
    for (int row = 0; row < rows; row++) {
      const float *m = matrix + (int64_t)row * columns + column;
      const vector m0 = load(m), m1 = load(m + LANES);
      for (int j = 0; j < TOGETHER; j++) {
        const float by = x[j][row];
        sum[j][0] += by * m0;
        sum[j][1] += by * m1;
      }
    }
    for (int j = 0; j < TOGETHER; j++)
      for (int i = 0; i < 2; i++) store(out[j] + column + i * LANES, sum[j][i]);
  }
}

INLINE void add(float *to, const float *what, int count) {
  for (int i = 0; i < count; i += LANES) store(to + i, load(to + i) + load(what + i));
}

INLINE const float *embedding(const Model *model, int slot, int32_t token) {
  return model->embedding + ((int64_t)model->offsets[slot] + token) * model->width;
}

INLINE void only_positive(float *x, int count) {
  const vector zero = {0};
  for (int i = 0; i < count; i += LANES) {
    const vector at = load(x + i);
    store(x + i, (vector)((ints)at & (at > zero)));
  }
}

/* The token of a slot, from its logits and the row's noise: the largest of logit + Gumbel noise.
 * A uniform number of 0 is never drawn, as -ln(-ln 0) is minus infinity. */
INLINE int32_t draw(float *logits, const float *uniform, int size) {
  const vector zero = {0};
  const ints never = (ints)(zero - INFINITY);
  for (int i = 0; i < size; i += LANES) {
    float rest[LANES] = {0};
    memcpy(rest, uniform + i, (size_t)(size - i < LANES ? size - i : LANES) * sizeof(float));
    const vector u = load(rest);
    const ints gumbel = (ints)-logarithm(-logarithm(u)), is_drawn = u > zero;
    store(logits + i, load(logits + i) + (vector)((gumbel & is_drawn) | (never & ~is_drawn)));
  }
  float best = -INFINITY;
  int32_t choice = 0;
  for (int i = 0; i < size; i++)
    if (logits[i] > best) best = logits[i], choice = i;
  return choice;
}

/* Complete rows.
 *
 * tokens, drawn: int32 [rows, slots]; observed: [rows, slots], not 0 where a token is known;
 * noise: uniform numbers of [0, 1), [rows, noise_width]; scratch: float [rows * width + TOGETHER *
 * (head + widest)], of which nothing is read.
 *
 * Returns 0, or 1 + the first row that has a known token beyond its slot's size; then nothing was
 * drawn. */
PER_PROCESSOR
int64_t cascade_student_walk(const Model *model, int64_t rows, const int32_t *tokens,
                             const uint8_t *observed, const float *noise, int32_t *drawn,
                             float *scratch) {
  const int slots = model->slots, width = model->width, head = model->head;
  const int widest = model->widest;
  float *hidden[TOGETHER], *logits[TOGETHER];
  for (int j = 0; j < TOGETHER; j++) {
    hidden[j] = scratch + rows * width + j * (head + widest);
    logits[j] = hidden[j] + head;
  }
  memcpy(drawn, tokens, (size_t)(rows * slots) * sizeof(int32_t));
  memset(scratch, 0, (size_t)(rows * width) * sizeof(float));
  for (int64_t row = 0; row < rows; row++) {
    for (int slot = 0; slot < slots; slot++) {
      if (!observed[row * slots + slot]) continue;
      const int32_t token = tokens[row * slots + slot];
      if (token < 0 || token >= model->sizes[slot]) return row + 1;
      add(scratch + row * width, embedding(model, slot, token), width);
    }
  }
  for (int slot = 0; slot < slots; slot++) {
    const float *bias_in = model->bias_in[slot], *weight_in = model->weight_in[slot];
    const float *bias_out = model->bias_out[slot], *weight_out = model->weight_out[slot];
    const int size = model->sizes[slot], padded = model->padded[slot];
    int64_t next = 0;
    while (next < rows) {
      int64_t taken[TOGETHER];
      const float *states[TOGETHER];
      int count = 0;
      for (; next < rows && count < TOGETHER; next++) {
        if (observed[next * slots + slot]) continue;
        states[count] = scratch + next * width;
        taken[count++] = next;
      }
      for (int j = 0; j < count; j++) {
        memcpy(hidden[j], bias_in, (size_t)head * sizeof(float));
        memcpy(logits[j], bias_out, (size_t)padded * sizeof(float));
      }
      if (count == TOGETHER) {
        products(states, width, weight_in, head, hidden);
        for (int j = 0; j < count; j++) only_positive(hidden[j], head);
        products((const float *const *)hidden, head, weight_out, padded, logits);
      } else {
        for (int j = 0; j < count; j++) {
          product(states[j], width, weight_in, head, hidden[j]);
          only_positive(hidden[j], head);
          product(hidden[j], head, weight_out, padded, logits[j]);
        }
      }
      for (int j = 0; j < count; j++) {
        const int64_t row = taken[j];
        for (int at = model->barred_begin[slot]; at < model->barred_begin[slot + 1]; at++)
          if (!observed[row * slots + model->barred_slot[at]])
            logits[j][model->barred_token[at]] += model->barred_value[at];
        const float *uniform = noise + row * model->noise_width + model->noise_begin[slot];
        const int32_t token = draw(logits[j], uniform, size);
        drawn[row * slots + slot] = token;
        if (slot + 1 < slots) add(scratch + row * width, embedding(model, slot, token), width);
      }
    }
  }
  return 0;
}
