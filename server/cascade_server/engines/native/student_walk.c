/* The student's walk over a row's slots, on one thread.
 *
 * The same arithmetic as the student's ONNX graph (distill/cascade_distill/export/student_graph.py):
 * slot after slot, a hidden layer reads the state, the slot's token is drawn by the Gumbel-max
 * trick, and its embedding joins the state. ONNX Runtime spends one to two microseconds on each of
 * the graph's five nodes a slot, whatever they compute; here a slot is two products of a vector and
 * a matrix. walk.py says what the arrays are and keeps them alive.
 *
 * One row reads every weight once and waits for them: those that are half-precision numbers, as
 * releases store them, are therefore kept so and widened in registers where the processor can,
 * which gives the same results to the bit.
 *
 * student_slots.h has the arithmetic. It is included here once for each generation of processors,
 * and the right variant is chosen when the library is loaded.
 *
 * Plain C11 and GCC's vector extensions, which Clang has too. No Python headers: it is loaded by
 * ctypes. What it is given is checked in walk.py, but for tokens, which are checked here.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define PER_PROCESSOR 1
#include <cpuid.h>
#include <immintrin.h>
#else
#define PER_PROCESSOR 0
#endif

/* Of `Model` and of how functions are called, as VERSION in library.py. */
#define VERSION 6
int32_t cascade_student_walk_version(void) { return VERSION; }

/* Of which sources this is made; hatch_build.py gives it, see cascade_tables/compiled.py. */
#ifndef SOURCES
#define SOURCES ""
#endif
const char *cascade_student_walk_sources(void) { return SOURCES; }

/* Rows of a batch whose hidden layers and logits are there at once, and rows of a tile: a tile's
 * sums stay in registers while a matrix passes by. */
#define BLOCK 96
#define TILE 6
/* Up to so many rows are computed one by one: that leaves out half of the hidden layer, and reads
 * whole rows of a matrix. */
#define ALONE 3
/* Columns of a row of a matrix are a multiple of this, a line of the cache of floats. */
#define PAD 16
/* Columns that are copied out of a matrix at once: two vectors of any variant. */
#define PANEL 32
/* Bytes of a line of the cache. */
#define LINE 64

/* Columns of a row side by side, row after row; float, or half-precision numbers. */
typedef struct {
  const void *values;
  int64_t half;
} Matrix;

/* A number that is told of its neighbours: first other numbers, then sums or differences of two. */
typedef struct {
  int32_t slot, bins_from, masses; /* its coarse slot, and there the first bin and point mass */
  int32_t numbers, sums;
  int32_t unused;
  const int32_t *neighbour; /* [numbers + 2 sums], their coarse slots */
  const int32_t *begin;     /* [numbers + 2 sums], where their tables begin, by pairs of tokens */
  const float *signs;       /* [2 sums] */
  const float *between;     /* [BINS - 1], edges between bins; of one that has sums */
  const float *inside;      /* [BINS, FINE - 1], and those between places inside of each */
  const float *kernel;      /* [numbers + sums, MIXTURE, STEPS] */
  const float *place;       /* [numbers + sums, PLACES, FINE] */
} Near;

/* The walk's arrays; see walk.py, which declares the same fields in the same order. Those of a slot
 * lie one behind another, weight_in first, so that they can be fetched as one. */
typedef struct {
  int32_t slots, width, head;   /* width and head are multiples of PAD */
  int32_t widest;               /* the largest of padded */
  int64_t noise_width;          /* numbers of a row */
  const int32_t *sizes;         /* [slots] */
  const int32_t *padded;        /* [slots], sizes rounded up to PAD */
  const int32_t *noise_begin;   /* [slots], where a slot's numbers begin in a row */
  const int32_t *offsets;       /* [slots], a slot's first row of the embedding */
  Matrix embedding;             /* [sum of sizes, width] */
  const Matrix *weight_in;      /* of each slot, [width, head] */
  const float *const *bias_in;  /* of each slot, [head] */
  const Matrix *weight_out;     /* of each slot, [head, padded] */
  const float *const *bias_out; /* of each slot, [padded] */
  const int32_t *barred_begin;  /* [slots + 1], where a slot's entries begin */
  const int32_t *barred_slot;   /* of each entry: if this slot is missing, */
  const int32_t *barred_token;  /* this token of the entry's slot */
  const float *barred_value;    /* has this added to its logit */
  const int32_t *near_of;       /* [slots], which number that is told of others, or -1 */
  const Near *near;             /* of each such number */
  const int16_t *near_codes;    /* tables of codes */
  const float *near_values;     /* tables of values */
  const uint8_t *near_steps;    /* [CODES + 1 + 2 CODES + 2], by distance */
  int64_t near_equal;           /* the step of an equal point mass */
} Model;

#define INLINE static inline __attribute__((always_inline))
/* Functions that take vectors are all inlined: how they would be called does not matter. */
#pragma GCC diagnostic ignored "-Wpsabi"

/* Weights that will be asked for and have not been fetched yet. */
typedef struct {
  const char *from, *end;
} Ahead;

/* Bytes will soon be asked for: they come to the cache nearby, and nobody waits for them. Returns
 * where they end. */
INLINE const char *fetch(const char *from, int64_t bytes) {
  for (const char *at = from; at < from + bytes; at += LINE) __builtin_prefetch(at, 0, 2);
  return from + bytes;
}

#include "student_alike.h"
#include "student_near.h"
#include "student_noise.h"

typedef int64_t Walk(const Model *, int64_t, int32_t *, const uint8_t *, const float *, float *);

/* What any processor of the kind that is compiled for can do. */
#define VARIANT(name) name##_plain
#define LANES 4
#define HALF 0
#include "student_slots.h"
#undef VARIANT
#undef LANES
#undef HALF

#if PER_PROCESSOR
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#define VARIANT(name) name##_avx2
#define LANES 8
#define HALF 1
#define WIDEN(from) (vector)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from)))
#include "student_slots.h"
#undef VARIANT
#undef LANES
#undef HALF
#undef WIDEN
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#define VARIANT(name) name##_avx512
#define LANES 16
#define HALF 1
#define WIDEN(from) (vector)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(from)))
#include "student_slots.h"
#undef VARIANT
#undef LANES
#undef HALF
#undef WIDEN
#pragma GCC pop_options
#endif

static Walk *chosen = walk_plain;
static int32_t chosen_half = 0;

/* When the library is loaded: by what the processor can do, not by its name. */
__attribute__((constructor)) static void choose(void) {
#if PER_PROCESSOR
  unsigned eax, ebx, ecx = 0, edx;
  __builtin_cpu_init();
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_F16C)) return;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return;
  chosen = walk_avx2, chosen_half = 1;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    chosen = walk_avx512;
#endif
}

/* Whether matrices may be of half-precision numbers. */
int32_t cascade_student_walk_half(void) { return chosen_half; }

/* A variant of the walk, in memory of its own: every size is a multiple of PAD floats, a line. */
INLINE int64_t with_scratch(Walk *walk, const Model *model, int64_t rows, int32_t *tokens,
                            const uint8_t *observed, const float *noise) {
  const int64_t deepest = model->width > model->head ? model->width : model->head;
  const int64_t block = rows < BLOCK ? rows : BLOCK;
  const int64_t numbers = PANEL * deepest + rows * model->width + model->widest +
                          block * (model->head + model->widest) + (2 * rows + PAD) / PAD * PAD;
  float *scratch = aligned_alloc(LINE, (size_t)numbers * sizeof(float));
  if (!scratch) return -1;
  const int64_t failed = walk(model, rows, tokens, observed, noise, scratch);
  free(scratch);
  return failed;
}

/* Complete rows, where they stand.
 *
 * tokens: int32 [rows, slots]; observed: [rows, slots], not 0 where a token is known; noise:
 * uniform numbers of [0, 1), [rows, noise_width].
 *
 * Returns 0; or 1 + the first row that has a known token beyond its slot's size, or -1 where there
 * is no memory: then nothing was drawn. */
int64_t cascade_student_walk(const Model *model, int64_t rows, int32_t *tokens,
                             const uint8_t *observed, const float *noise) {
  return with_scratch(chosen, model, rows, tokens, observed, noise);
}

/* The same without what only some processors can do; float matrices alone. */
int64_t cascade_student_walk_plain(const Model *model, int64_t rows, int32_t *tokens,
                                   const uint8_t *observed, const float *noise) {
  return with_scratch(walk_plain, model, rows, tokens, observed, noise);
}
