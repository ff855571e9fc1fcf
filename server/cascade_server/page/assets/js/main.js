// Begins: colours, the stream of snapshots, and who shows what of them.

import { startCharts } from "./charts.js";
import { el, put } from "./dom.js";
import { duration } from "./format.js";
import { listen } from "./live.js";
import { startSections } from "./sections.js";
import { showFigures, showState } from "./state.js";
import { startTheme } from "./theme.js";

const by = (id) => document.getElementById(id);
const filter = by("filter");
const [tables, classes] = [by("chart-table"), by("chart-class")];
let latest = null;
let ordered = -1;

startTheme();
const showSections = startSections(by("sections"), by("parts"));
const showCharts = startCharts(by("charts"), tables, classes, promisedOf);

// Of several thresholds the one with the highest target is the line; of all tables there is one where they agree.
function promisedOf(table, service) {
  const found = new Set();
  for (const each of latest?.tables ?? []) {
    if (table && each.table !== table) continue;
    for (const { class: name, promised_ms: promised } of each.classes) {
      const last = promised.toSorted((a, b) => a.target - b.target).at(-1);
      if (name === service && last) found.add(last.threshold_ms);
    }
  }
  return found.size === 1 ? [...found][0] : null;
}

// Tables that are asked can be chosen; a choice stays, whoever comes.
function offer(names) {
  const known = new Set([...tables.options].map((option) => option.value));
  const wanted = filter.value.trim().toLowerCase();
  for (const name of names.toSorted()) {
    if (!known.has(name) && (known.size < 300 || name.toLowerCase().includes(wanted))) {
      tables.append(el("option", { value: name }, name));
      known.add(name);
    }
  }
}

function show(snapshot) {
  latest = snapshot;
  showState(snapshot);
  if (!snapshot.totals) return; // it could not be made, and says so
  put(by("service"), `${snapshot.service} · ${snapshot.target}`);
  showFigures(snapshot);
  offer(snapshot.tables.map((each) => each.table));
  showCharts(snapshot.steps);
  showSections(snapshot, filter.value.trim().toLowerCase(), snapshot.steps !== ordered);
  ordered = snapshot.steps;
}

filter.addEventListener("input", () => {
  if (latest?.totals) showSections(latest, filter.value.trim().toLowerCase(), true);
});

listen(show, (state, seconds) => {
  const node = by("connection");
  node.dataset.state = state;
  document.body.classList.toggle("stale", state === "lost");
  put(by("connection-words"), state === "live" ? "live" : `no news for ${duration(seconds)}`);
});
