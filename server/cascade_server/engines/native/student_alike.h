/* Rows of which the same is known so far, for student_slots.h: the same slots are missing, and the
 * tokens of the others are the same. What is computed for one of them serves them all, to the bit.
 *
 * Draws of one row begin alike, rows that lack everything too, and they part where they draw other
 * tokens. `alike` [rows] tells them: those of equal numbers are alike. Each is the place of a row,
 * itself of them.
 */

/* Whether two rows are. */
INLINE int is_alike(int slots, const int32_t *one, const int32_t *other, const uint8_t *known_of_one,
                    const uint8_t *known_of_other) {
  for (int slot = 0; slot < slots; slot++)
    if (!known_of_one[slot] != !known_of_other[slot] ||
        (known_of_one[slot] && one[slot] != other[slot]))
      return 0;
  return 1;
}

/* Whether a row is alike to the first of none of some groups. `place` [rows] may hold anything that
 * was ever a place of a group: which, by what alike rows have. */
INLINE int is_of_no_group(int32_t which, const int32_t *place, const int32_t *first, int groups,
                          const int64_t *taken, const int32_t *alike) {
  const int32_t found = place[which];
  return found >= groups || alike[taken[first[found]]] != which;
}

/* Rows that were alike part by the tokens that they have drawn in a slot.
 *
 * group: of each of `count` rows. taken: where these rows are. */
INLINE void part(int slots, int slot, int count, int groups, const int32_t *group,
                 const int64_t *taken, const int32_t *tokens, int32_t *alike) {
  /* Of each group a chain of rows that have drawn other tokens. */
  int32_t begin[BLOCK], after[BLOCK];
  for (int j = 0; j < groups; j++) begin[j] = -1;
  for (int j = 0; j < count; j++) {
    const int32_t token = tokens[taken[j] * slots + slot];
    int32_t at = begin[group[j]];
    while (at >= 0 && tokens[taken[at] * slots + slot] != token) at = after[at];
    if (at < 0) {
      after[j] = begin[group[j]];
      begin[group[j]] = at = j;
    }
    alike[taken[j]] = (int32_t)taken[at];
  }
}
