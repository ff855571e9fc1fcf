/* What a number's logits get of where its neighbours lie on its grid, for student_slots.h.
 *
 * The same arithmetic as distill/cascade_distill/export/student_nearness_graph.py. The gates, which
 * the slot's hidden layer says, are columns of its last product behind the logits. Scalar code: for
 * a number of six neighbours it is a few hundred additions beside the slot's ten thousands.
 */

/* Of cascade_tables' binned_codec.py, and of the exporter; walk_nearness.py checks the shapes. */
#define FINE 16
#define BINS 64
#define CODES (BINS * FINE)
#define MIXTURE 4
#define STEPS 64
#define PLACES 50
/* Where a code is, seen from a bin: behind as many places before the bin, and one for all others. */
#define PLACES_BEFORE (FINE + 1)
/* How far point masses are from each other and from bins, and what is not known. */
#define MASS_APART 4096
#define UNKNOWN (-1000000)

/* Whether a neighbour's tokens are there: drawn, or given and so checked. */
INLINE int is_known(const Near *near, const uint8_t *observed, int slot) {
  return slot < near->slot || (observed[slot] && observed[slot + 1]);
}

/* Of a number its code; see `neighbour_code`. */
INLINE int32_t stored_code(const Model *model, const Near *near, const int32_t *row,
                           const uint8_t *observed, int at) {
  const int slot = near->neighbour[at];
  if (!is_known(near, observed, slot)) return -1;
  return model->near_codes[near->begin[at] + row[slot] * model->sizes[slot + 1] + row[slot + 1]];
}

/* Of a sum its code; -1 where a part is not known. */
INLINE int32_t code_of_sum(const Model *model, const Near *near, const int32_t *row,
                           const uint8_t *observed, int at) {
  float value[2];
  for (int part = 0; part < 2; part++) {
    const int slot = near->neighbour[near->numbers + 2 * at + part];
    if (!is_known(near, observed, slot)) return -1;
    const int pair = row[slot] * model->sizes[slot + 1] + row[slot + 1];
    value[part] = near->signs[2 * at + part] *
                  model->near_values[near->begin[near->numbers + 2 * at + part] + pair];
  }
  const float sum = value[0] + value[1];
  if (sum != sum) return -1;
  /* Counted rather than searched for: no step waits for the one before it. */
  int bin = 0, place = 0;
  for (int edge = 0; edge < BINS - 1; edge++) bin += near->between[edge] <= sum;
  const float *inside = near->inside + bin * (FINE - 1);
  for (int edge = 0; edge < FINE - 1; edge++) place += inside[edge] <= sum;
  return FINE * bin + place;
}

/* Of a neighbour: a code, or CODES and more of a point mass, or -1 where it is not known. */
INLINE int32_t neighbour_code(const Model *model, const Near *near, const int32_t *row,
                              const uint8_t *observed, int at) {
  return at < near->numbers ? stored_code(model, near, row, observed, at)
                            : code_of_sum(model, near, row, observed, at - near->numbers);
}

INLINE void near_bins(const Model *model, const Near *near, const int32_t *row,
                      const uint8_t *observed, float *logits) {
  const float *gates = logits + model->sizes[near->slot];
  for (int at = 0; at < near->numbers + near->sums; at++) {
    const int32_t code = neighbour_code(model, near, row, observed, at);
    if (code < 0) continue;
    float mixed[STEPS];
    const float *kernel = near->kernel + at * MIXTURE * STEPS, *gate = gates + at * MIXTURE;
    for (int step = 0; step < STEPS; step++)
      mixed[step] = gate[0] * kernel[step] + gate[1] * kernel[STEPS + step] +
                    gate[2] * kernel[2 * STEPS + step] + gate[3] * kernel[3 * STEPS + step];
    if (code >= CODES) {
      logits[near->masses + code - CODES] += mixed[model->near_equal];
      continue;
    }
    /* near_steps begins with the distance -CODES - 1. */
    const uint8_t *step = model->near_steps + CODES + 1 + FINE / 2 - code;
    float *bins = logits + near->bins_from;
    for (int bin = 0; bin < BINS; bin++) bins[bin] += mixed[step[FINE * bin]];
  }
}

INLINE void near_places(const Model *model, const Near *near, const int32_t *row,
                        const uint8_t *observed, float *logits) {
  const float *gates = logits + model->sizes[near->slot + 1];
  const int bin = row[near->slot] - near->bins_from;
  for (int at = 0; at < near->numbers + near->sums; at++) {
    const int32_t stored = neighbour_code(model, near, row, observed, at);
    const int32_t code = stored < 0        ? UNKNOWN
                         : stored >= CODES ? (stored - CODES + 1) * MASS_APART
                                           : stored;
    int place = code - FINE * bin + PLACES_BEFORE;
    place = place < 0 ? 0 : place >= PLACES ? PLACES - 1 : place;
    const float *told = near->place + (at * PLACES + place) * FINE;
    for (int i = 0; i < FINE; i++) logits[i] += gates[at] * told[i];
  }
}

/* A slot's logits get what its neighbours say, if it is a number's that has some. */
INLINE void be_near(const Model *model, int slot, const int32_t *row, const uint8_t *observed,
                    float *logits) {
  const int at = model->near_of[slot];
  if (at < 0) return;
  const Near *near = model->near + at;
  if (slot == near->slot)
    near_bins(model, near, row, observed, logits);
  else
    near_places(model, near, row, observed, logits);
}
