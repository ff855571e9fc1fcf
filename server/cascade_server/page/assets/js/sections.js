// The parts below the charts: each a heading, a line that says what it is, and a table or why there is none.

import { Table, bar, el, put, replace } from "./dom.js";
import { CLASSES, NONE, ago, budgetLeft, bytes, clock, digits, duration, given, milliseconds, percent, promise, rate, unbroken, whole } from "./format.js";

const budget = (share) => (share === null || share === undefined ? NONE : { text: budgetLeft(share), tone: share < 0 ? "page" : share < 0.25 ? "ticket" : undefined });
// What nobody is told of is not kept where its budget is spent: it was by a few of few calls.
const state = (row) => (row.alert === "ok" && row.budget_remaining < 0 ? { text: "spent", tone: "ticket" } : alert(row.alert));
const alert = (state) => ({ page: { text: "page", tone: "page" }, ticket: { text: "ticket", tone: "ticket" }, ok: { text: "kept", tone: "quiet" } })[state] ?? state;
const some = (number, text) => (number ? { text, tone: "page" } : { text, tone: "quiet" });
const code = (text) => el("code", {}, text);

class Part {
  constructor(id, title, { short, note, columns, keyOf, rows, empty, most, extra, has }) {
    Object.assign(this, { id, title, short: short ?? title, rows, empty, noteOf: note, hasAny: has ?? (() => true), extra });
    this.note = el("p", {});
    this.extraNode = el("div", {});
    this.nothing = el("p", { class: "empty", hidden: true });
    this.table = columns ? new Table(title, columns, keyOf, most) : null;
    this.node = el("section", { id, "aria-labelledby": `${id}-title` },
      el("div", { class: "heading" }, el("h2", { id: `${id}-title` }, title), this.note),
      this.extraNode, this.table?.node ?? "", this.nothing);
  }

  show(snapshot, filter, reorder) {
    const has = this.hasAny(snapshot);
    this.node.hidden = !has;
    if (!has) return;
    put(this.note, this.noteOf?.(snapshot) ?? "");
    if (this.extra) this.extra(snapshot, this.extraNode);
    if (!this.table) return;
    const all = this.rows(snapshot);
    const found = filter ? all.filter((row) => matches(row, filter)) : all;
    this.table.node.hidden = !found.length;
    this.nothing.hidden = found.length > 0;
    if (found.length) this.table.update(found, reorder);
    else replace(this.nothing, filter && all.length ? `none ${filter}` : "empty", () => (filter && all.length ? [`Nothing here has “${filter}” in its name.`] : this.empty(snapshot)));
  }
}

const NAMES = ["table", "column", "name", "id", "target", "code"];
const matches = (row, filter) => NAMES.some((key) => String(row[key] ?? "").toLowerCase().includes(filter));
const leftOut = (number) => (number ? ` ${whole(number)} more are left out.` : "");

const PARTS = [
  new Part("tables", "Tables", {
    note: (s) => `by class of service; ${whole(s.tables_served)} served.${leftOut(s.tables_left_out)}`,
    rows: (s) => s.tables.flatMap((table) => table.classes.map((each) => ({ ...each, table: table.table, tiers: table.tiers, down: table.steps_down }))),
    keyOf: (row) => JSON.stringify([row.table, row.class]),
    columns: [
      { label: "Table", cell: (row) => ({ text: row.table, sub: CLASSES[row.class] + (row.down ? "; AUTO leaves the teacher out" : "") }) },
      { label: "Calls", unit: "/s", number: true, cell: (row) => rate(row.answered_per_second) },
      { label: "Failed", unit: "/s", number: true, cell: (row) => some(row.failed_per_second, rate(row.failed_per_second)) },
      { label: "Rows", unit: "/s", number: true, cell: (row) => rate(row.rows_per_second) },
      { label: "p50", unit: "ms", number: true, cell: (row) => milliseconds(row.latency?.p50_ms) },
      { label: "p99", unit: "ms", number: true, cell: latencyCell },
      { label: "Promised", number: true, wide: true, cell: (row) => row.promised_ms.map((each) => `${promise(each.target)} in ${given(each.threshold_ms)} ms`).join(", ") || NONE },
      { label: "Student, teacher, pool", wide: true, cell: mixCell },
      { label: "Budget left", number: true, cell: (row) => budget(row.budget_remaining) },
      { label: "State", cell: state },
    ],
    empty: () => ["No table was asked yet. From another terminal: ", code("cascade ask TABLE --given COLUMN=VALUE")],
  }),
  new Part("promises", "Promises and error budgets", {
    short: "Promises",
    note: (s) => `of ${given(s.window_days)} days; a burn rate of 1 spends a budget in exactly that time.${s.objectives_without_calls ? ` ${whole(s.objectives_without_calls)} more had no calls.` : ""}${leftOut(s.objectives_left_out)}`,
    rows: (s) => s.objectives,
    keyOf: (row) => row.name,
    columns: [
      { label: "Promise", cell: (row) => ({ text: row.table, sub: unbroken(`${CLASSES[row.class]}: ${row.promise}`) }) },
      { label: "Kept, 5 min", number: true, cell: (row) => (row.recent_events ? { text: percent(row.recent_good_share), tone: row.recent_good_share < row.target ? "page" : undefined } : NONE) },
      { label: "Kept, in all", number: true, cell: (row) => ({ text: percent(row.good_share), title: `${whole(row.events)} events` }) },
      { label: "Burn, 5 min", number: true, cell: (row) => burn(row, "5m") },
      { label: "1 h", number: true, cell: (row) => burn(row, "1h") },
      { label: "6 h", number: true, cell: (row) => burn(row, "6h") },
      { label: "3 days", number: true, cell: (row) => burn(row, "3d") },
      { label: "Budget left", number: true, cell: (row) => budget(row.budget_remaining) },
      { label: "State", cell: (row) => ({ ...state(row), sub: row.alert !== "ok" && row.since ? `since ${clock(row.since)}` : "" }) },
    ],
    empty: () => ["Nothing was promised to anybody who called. ", code("--slo slo.yaml"), " names objectives; without it there are those of docs/sla.md."],
  }),
  new Part("refused", "Not answered, and why", {
    short: "Not answered",
    note: (s) => `since the server began.${leftOut(s.refused_left_out)}`,
    rows: (s) => s.refused,
    keyOf: (row) => JSON.stringify([row.table, row.class, row.code]),
    most: 10,
    columns: [
      { label: "Table", cell: (row) => ({ text: row.table, sub: CLASSES[row.class] }) },
      { label: "Status", cell: (row) => row.code },
      { label: "Why", words: true, cell: (row) => row.why },
      { label: "Whose", cell: (row) => (row.is_ours ? "the server’s" : "the caller’s") },
      { label: "Last minute", unit: "/s", number: true, cell: (row) => (row.per_second && row.is_ours ? { text: rate(row.per_second), tone: "page" } : rate(row.per_second)) },
      { label: "In all", number: true, cell: (row) => whole(row.total) },
    ],
    empty: () => ["Every call was answered."],
  }),
  new Part("releases", "Releases and canaries", {
    short: "Releases",
    note: (s) => releaseNote(s),
    rows: (s) => s.releases,
    keyOf: (row) => JSON.stringify([row.table, row.version]),
    columns: [
      { label: "Release", cell: (row) => ({ text: `${row.table} ${row.version}` }) },
      { label: "State", cell: (row) => ({ refused: { text: "refused", tone: "ticket" }, loading: { text: "loading", tone: "notice" } })[row.state] ?? row.state },
      { label: "Answers", number: true, wide: true, cell: (row) => (row.share ? { text: percent(row.share), bar: [[["ink", row.share]], `${percent(row.share)} of the calls`] } : { text: NONE }) },
      { label: "Part", cell: (row) => (row.canary ? { text: "canary", tone: row.trial?.is_worse ? "ticket" : "notice" } : row.previous ? "the one before" : row.share ? "answers" : NONE) },
      { label: "How it stands", words: true, cell: (row) => ({ text: trialWords(row) || NONE, tone: row.trial?.is_worse ? "ticket" : undefined }) },
      { label: "Made", wide: true, cell: (row) => (row.created ? row.created.slice(0, 16).replace("T", " ") : NONE) },
    ],
    empty: () => ["The server has not said yet what it has loaded."],
  }),
  new Part("jobs", "Jobs", {
    has: (s) => s.jobs !== null && s.jobs !== undefined,
    note: (s) => jobNote(s.jobs),
    rows: (s) => s.jobs.list.map((job) => ({ ...job, now: s.at })),
    keyOf: (row) => row.id,
    most: 10,
    columns: [
      { label: "Job", cell: (row) => ({ text: row.id, sub: `${row.table} ${row.version}` }) },
      { label: "State", cell: (row) => ({ text: row.state.toLowerCase(), tone: { FAILED: "ticket", RUNNING: "notice" }[row.state] }) },
      { label: "Progress", wide: true, cell: (row) => ({ text: percent(row.progress), bar: [[["ink", row.progress]], `${percent(row.progress)} of the rows`] }) },
      { label: "Rows", number: true, wide: true, cell: (row) => `${whole(row.rows_drawn)} of ${whole(row.rows)}` },
      { label: "Files", number: true, cell: (row) => `${whole(row.shards_done)} of ${whole(row.shards)}` },
      { label: "Ends", cell: (row) => jobEnd(row) },
      { label: "Remarks", words: true, cell: (row) => row.waiting || row.reason || NONE },
    ],
    empty: () => ["No jobs are kept. ", code("cascade jobs submit TABLE --rows 1000000"), " makes one."],
  }),
  new Part("stores", "Pool and cache", {
    has: (s) => s.pool !== null || s.cache !== null,
    note: () => "answers that need not be drawn anew.",
    extra: (s, node) => replace(node, JSON.stringify([s.pool, s.cache]), () => storeFacts(s)),
  }),
  new Part("outside", "Values outside of what was learnt", {
    short: "Outside",
    note: (s) => `of answered rows, since the server began.${leftOut(s.outside_left_out)}`,
    rows: (s) => s.outside,
    keyOf: (row) => JSON.stringify([row.table, row.column, row.kind]),
    most: 10,
    columns: [
      { label: "Column", cell: (row) => ({ text: row.column, sub: row.table }) },
      { label: "What it was", wide: true, cell: (row) => OUTSIDE[row.kind] ?? row.kind },
      { label: "Last minute", unit: "/s", number: true, cell: (row) => rate(row.per_second) },
      { label: "In all", number: true, cell: (row) => whole(row.total) },
      { label: "Of rows", number: true, cell: (row) => percent(row.per_row) },
    ],
    empty: () => ["All values were such as were learnt. Where these grow, the world is no longer as it was: docs/outside.md."],
  }),
  new Part("processes", "Processes", {
    note: () => "",
    rows: (s) => [...s.processes.map((each) => ({ ...each, now: s.at })), ...s.servers.map((each) => ({ name: each.target, state: each.up ? "up" : "away", how: each.reason, deaths: each.times_away, now: s.at, rows: each.outstanding_rows }))],
    keyOf: (row) => `${row.name} ${row.state === "leaving" ? row.pid : ""}`,
    columns: [
      { label: "Process", cell: (row) => row.name },
      { label: "State", cell: (row) => ({ text: PROCESS[row.state] ?? row.state, tone: { up: "ok", away: "page", silent: "page", starting: "ticket" }[row.state] ?? "quiet" }) },
      { label: "Number", number: true, cell: (row) => row.pid ?? NONE },
      { label: "Since", cell: (row) => (row.began && row.state !== "resting" ? ago(row.began, row.now) : NONE) },
      { label: "Inside", number: true, cell: (row) => (row.limit ? `${whole(row.inside)} of ${whole(row.limit)}` : NONE) },
      { label: "Calls", number: true, cell: (row) => whole(row.calls) },
      { label: "Died", number: true, cell: (row) => (row.deaths ? { text: whole(row.deaths), sub: row.died ? ago(row.died, row.now) : "" } : NONE) },
      { label: "How", words: true, cell: (row) => row.how || NONE },
    ],
    empty: () => ["The supervisor has not said yet which processes there are."],
  }),
  new Part("engines", "Networks", {
    note: (s) => {
      const idle = s.engines.filter((each) => !each.runs).length;
      return `what waits for them, and how long a run takes.${idle ? ` ${whole(idle)} more had nothing to do.` : ""}`;
    },
    has: (s) => s.engines.some((each) => each.runs || each.waiting),
    rows: (s) => s.engines.filter((each) => each.runs || each.waiting),
    keyOf: (row) => JSON.stringify([row.table, row.version, row.tier]),
    most: 10,
    columns: [
      { label: "Network", cell: (row) => ({ text: `${row.table} ${row.version}`, sub: row.tier }) },
      { label: "Waiting", number: true, cell: (row) => whole(row.waiting) },
      { label: "Runs", number: true, cell: (row) => whole(row.runs) },
      { label: "Rows", number: true, cell: (row) => whole(row.rows) },
      { label: "Mean run", unit: "ms", number: true, cell: (row) => milliseconds(row.mean_run_ms) },
      { label: "Expired", number: true, cell: (row) => whole(row.expired) },
      { label: "Last run", cell: (row) => (row.idle_seconds === null ? NONE : `${duration(row.idle_seconds)} ago`) },
    ],
    empty: () => [],
  }),
];

const OUTSIDE = { below: "below the lowest", above: "above the highest", between: "between those of a column with few", category: "a category that is new", null: "NULL, where there was none", not_a_number: "no number (NaN)" };
const PROCESS = { up: "up", away: "away", silent: "silent", starting: "starting", resting: "resting", leaving: "leaving" };

function latencyCell(row) {
  const p99 = row.latency?.p99_ms;
  const late = row.promised_ms.some((each) => each.target >= 0.99 && p99 > each.threshold_ms);
  return { text: milliseconds(p99), tone: late ? "page" : undefined, title: row.latency ? `p90 ${milliseconds(row.latency.p90_ms)} ms, p99.9 ${milliseconds(row.latency.p999_ms)} ms` : undefined };
}

function mixCell({ class: service, student_share: student, tiers }) {
  if (student === null) return NONE;
  // The pool is known of a table, not of its classes.
  const pool = service !== "offline" && tiers && tiers.teacher + tiers.pool ? (1 - student) * tiers.pool / (tiers.teacher + tiers.pool) : 0;
  const teacher = Math.max(0, 1 - student - pool);
  const words = `${percent(student)} student, ${percent(teacher)} teacher, ${percent(pool)} pool`;
  return { bar: [[["student", student], ["teacher", teacher], ["pool", pool]], words], text: "", title: words, sub: [student, teacher, pool].map((each) => (100 * each).toFixed(0)).join(" · ") + " %" };
}

function burn(row, name) {
  const value = row.burn_rates[name];
  return { text: value ? digits(value, 2) : "0", tone: value > 14.4 ? "page" : value > 1 ? "ticket" : value ? undefined : "quiet" };
}

function releaseNote(s) {
  const taken = s.generation_since ? `, since ${clock(s.generation_since, s.at)}` : "";
  const e = s.release_events;
  const trials = e.canary_started ? ` Canaries: ${whole(e.canary_started)} begun, ${whole(e.canary_promoted)} promoted, ${whole(e.canary_rolled_back)} rolled back.` : "";
  const refused = e.refused ? ` ${whole(e.refused)} reloads refused.` : "";
  return s.generation ? `generation ${s.generation}${taken}.${trials}${refused}${leftOut(s.releases_left_out)}` : "";
}

function trialWords(row) {
  if (row.trial?.is_worse) return `worse than the one that answers: ${percent(row.trial.canary_bad_share)} bad against ${percent(row.trial.stable_bad_share)}`;
  if (row.canary) return [row.trial ? `${whole(row.trial.calls)} calls, no worse` : "", row.reason].filter(Boolean).join("; ");
  return row.reason;
}

function jobNote(jobs) {
  if (jobs.unreadable) return `the ledger cannot be read: ${jobs.unreadable}`;
  const states = Object.entries(jobs.states).filter(([, number]) => number).map(([state, number]) => `${whole(number)} ${state.toLowerCase()}`).join(", ");
  return [states, `${bytes(jobs.bytes)} of ${bytes(jobs.limit_bytes)} on disk`].filter(Boolean).join("; ");
}

function jobEnd(row) {
  if (row.finished) return ago(row.finished, row.now);
  if (row.state !== "RUNNING" || !row.started || row.rows_drawn < 1) return NONE;
  const left = (row.now - row.started) / row.rows_drawn * (row.rows - row.rows_drawn);
  return `in about ${duration(left)}`;
}

function storeFacts({ pool, cache }) {
  const fact = (name, value, note) => el("div", {}, el("dt", {}, name), el("dd", {}, value, " ", note ? el("small", {}, note) : ""));
  const out = [];
  const share = (used, limit) => (limit ? `${percent(used / limit)} of ${bytes(limit)}` : "");
  if (pool) {
    out.push(fact("Pool: rows", whole(pool.rows), `for ${whole(pool.conditions)} conditions`),
      fact("Pool: memory", bytes(pool.bytes), share(pool.bytes, pool.limit_bytes)),
      fact("Pool: hits", percent(pool.hit_share), `of ${whole(pool.hits + pool.misses)} requests it could answer`),
      fact("Pool: dropped", whole(pool.expired_rows + pool.evicted_rows), "rows, for their age or for room"));
  }
  if (cache) {
    out.push(fact("Cache: answers", whole(cache.entries), `${whole(cache.evicted)} dropped for room`),
      fact("Cache: memory", bytes(cache.bytes), share(cache.bytes, cache.limit_bytes)),
      fact("Cache: hits", percent(cache.hit_share), `of ${whole(cache.hits + cache.misses)} requests with a seed`));
  }
  return el("dl", { class: "facts" }, ...out);
}

// What other rooms provide: a table where it has columns and rows, else its values as they are.
function provided(name, first) {
  const keys = (first.columns ?? []).map((column) => column.key);
  return new Part(`part-${name}`, first.title ?? name, {
    has: (s) => s.sections?.[name] !== undefined,
    note: (s) => s.sections[name].note ?? "",
    rows: (s) => (s.sections[name].rows ?? []).map((row, place) => ({ ...row, place })),
    keyOf: (row) => JSON.stringify([row[keys[0]], row.key ?? row.place]),
    columns: (first.columns ?? []).map(({ key, label, unit, number }) => ({
      label: label ?? key, unit, number: number ?? unit !== undefined,
      cell: (row) => (typeof row[key] === "number" ? digits(row[key], 4) : row[key] ?? NONE),
    })),
    empty: (s) => [s.sections[name].empty ?? "Nothing yet."],
  });
}

export function startSections(node, links) {
  const parts = [...PARTS];
  const known = new Set();
  const linkOf = (part) => el("li", {}, el("a", { href: `#${part.id}` }, part.short));
  node.append(...parts.map((part) => part.node));
  const items = new Map(parts.map((part) => [part.id, linkOf(part)]));
  links.append(el("li", {}, el("a", { href: "#hour" }, "Last hour")), ...items.values());
  return (snapshot, filter, reorder) => {
    for (const [name, first] of Object.entries(snapshot.sections ?? {})) {
      if (known.has(name) || !first.columns) continue;
      known.add(name);
      const part = provided(name, first);
      parts.push(part);
      node.append(part.node);
      items.set(part.id, linkOf(part));
      links.append(items.get(part.id));
    }
    for (const part of parts) {
      part.show(snapshot, filter, reorder);
      items.get(part.id).hidden = part.node.hidden;
    }
  };
}
