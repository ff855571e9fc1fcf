/* A slot's token from its logits and a row's noise, for student_slots.h, which includes this once for
 * each generation of processors.
 */

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

/* What a row's missing slots forbid of a slot's tokens. */
INLINE void bar(const Model *model, int slot, const uint8_t *observed, float *logits) {
  for (int at = model->barred_begin[slot]; at < model->barred_begin[slot + 1]; at++)
    if (!observed[model->barred_slot[at]])
      logits[model->barred_token[at]] += model->barred_value[at];
}

/* More than the Gumbel noise of uniform numbers is: -ln(-ln u) is at most -ln(1 - u), as -ln u is at
 * least 1 - u, and that is at most as many ln 2 as 1 - u is halvings below 1. */
INLINE vector most_noise(vector u) {
  const ints halvings = 127 - ((ints)(1.0f - u) >> 23);
  return __builtin_convertvector(halvings, vector) * 0.69315f + 0.001f;
}

/* Some uniform numbers, with zeros behind the slot's last. */
INLINE vector some_uniform(const float *uniform, int left) {
  if (left >= LANES) return load(uniform);
  float rest[LANES] = {0};
  memcpy(rest, uniform, (size_t)left * sizeof(float));
  return load(rest);
}

/* Whether any of them is true. */
INLINE int is_any(ints truths) {
  typedef int64_t longs __attribute__((vector_size(4 * LANES)));
  const longs two = (longs)truths;
  int64_t any = 0;
#pragma GCC unroll 8
  for (int i = 0; i < LANES / 2; i++) any |= two[i];
  return any != 0;
}

/* Slots of more vectors than this are looked through twice. */
#define FEW_VECTORS 4

/* What the largest of logit + noise is not less than: its own of a vector in which it may be. What
 * each may be at most goes to `most`. */
INLINE float not_less(const float *logits, const float *uniform, int size, float *most) {
  const vector highest_of_none = (vector){0} - INFINITY;
  vector highest = highest_of_none;
  ints at = {0}, from = {0};
  for (int i = 0; i < size; i += LANES, from += LANES) {
    const vector u = some_uniform(uniform + i, size - i);
    const ints said = (ints)(load(logits + i) + most_noise(u)), is_drawn = u > (vector){0};
    const vector bound = (vector)((said & is_drawn) | ((ints)highest_of_none & ~is_drawn));
    store(most + i, bound);
    const ints higher = bound > highest;
    highest = (vector)(((ints)bound & higher) | ((ints)highest & ~higher));
    at = (from & higher) | (at & ~higher);
  }
  int lane = 0;
  for (int i = 1; i < LANES; i++)
    if (highest[i] > highest[lane]) lane = i;
  const int first = at[lane];
  const vector u = some_uniform(uniform + first, size - first);
  const vector value = load(logits + first) - logarithm(-logarithm(u));
  float largest = -INFINITY;
  for (int i = 0; i < LANES; i++)
    if (u[i] > 0 && value[i] > largest) largest = value[i];
  return largest;
}

/* The token of a slot, from its logits and the row's noise: the largest of logit + Gumbel noise,
 * the first of those that are equal. A uniform number of 0 is never drawn, as -ln(-ln 0) is minus
 * infinity; so are the numbers behind the slot's size.
 *
 * Of many tokens most cannot be the largest whatever their noise, which takes two logarithms: they
 * are passed over, and change nothing. most: room for a number a token. */
INLINE int32_t draw(const float *logits, const float *uniform, int size, float *most) {
  const vector zero = {0};
  const ints none = {0}, never = (ints)(zero - INFINITY);
  const int is_long = size > FEW_VECTORS * LANES;
  const vector least = zero + (is_long ? not_less(logits, uniform, size, most) : 0);
  vector best = zero - INFINITY;
  ints choices = none, index = none;
  for (int i = 0; i < LANES; i++) index[i] = i;
  for (int i = 0; i < size; i += LANES, index += LANES) {
    if (is_long && !is_any(load(most + i) >= least)) continue;
    const vector u = some_uniform(uniform + i, size - i);
    const ints gumbel = (ints)-logarithm(-logarithm(u)), is_drawn = u > zero;
    const vector value = load(logits + i) + (vector)((gumbel & is_drawn) | (never & ~is_drawn));
    const ints better = value > best;
    best = (vector)(((ints)value & better) | ((ints)best & ~better));
    choices = (index & better) | (choices & ~better);
  }
  float largest = best[0];
  int32_t choice = choices[0];
  for (int i = 1; i < LANES; i++)
    if (best[i] > largest || (best[i] == largest && choices[i] < choice))
      largest = best[i], choice = choices[i];
  return choice;
}
