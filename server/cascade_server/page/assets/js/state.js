// What is wrong, in the first screen: a sentence, since when, why, what to do; then the figures.

import { el, put, remedy, replace } from "./dom.js";
import { LEVELS, ago, budgetLeft, clock, milliseconds, percent, rate, unbroken, whole } from "./format.js";

const by = (id) => document.getElementById(id);
// Seconds between two sentences that are read aloud.
const PATIENCE = 10;
let announced = "";
let announcedAt = 0;

export function showState(snapshot) {
  const { state, at } = snapshot;
  by("state").dataset.level = state.level;
  put(by("level"), LEVELS[state.level] ?? state.level);
  put(by("since"), state.since ? `since ${clock(state.since, at)}, ${ago(state.since, at)}` : "");
  put(by("sentence"), unbroken(state.sentence));
  document.title = `${state.level === "ok" || state.level === "notice" ? "" : `(${LEVELS[state.level]}) `}Cascade ${snapshot.service ?? ""}`;

  const [first, ...others] = state.findings;
  const grave = state.level === "page" || state.level === "ticket";
  by("cause").hidden = !grave && !state.detail;
  replace(by("cause"), JSON.stringify([state.cause, state.detail, grave]), () =>
    grave ? [el("b", {}, "Likely cause: "), unbroken(state.cause || "none was seen.")] : [state.detail ?? ""]);
  const remedies = grave && first ? first.remedies : [];
  by("remedies").hidden = !remedies.length;
  replace(by("remedies"), JSON.stringify(remedies), () => el("ol", { class: "remedies" }, ...remedies.map(remedy)));
  showFindings(grave ? others : state.findings, at, state.findings_left_out ?? 0);
  announce(state);
}

// A change of what is wrong is read aloud; that a number has changed is not.
function announce(state) {
  const kinds = JSON.stringify([state.level, [...new Set(state.findings.map((each) => each.kind + each.level))].sort()]);
  const now = performance.now() / 1000;
  if (kinds === announced || (announcedAt && now - announcedAt < PATIENCE)) return;
  announced = kinds;
  announcedAt = now;
  put(by("announcement"), `${LEVELS[state.level] ?? state.level}. ${state.sentence} ${state.cause ?? ""}`.trim());
}

const MOST = 8;
const nodes = [];

function showFindings(found, at, leftOut) {
  by("findings").hidden = !found.length;
  const list = by("findings-list");
  const shown = found.slice(0, MOST);
  while (nodes.length > shown.length) nodes.pop().node.remove();
  shown.forEach((each, place) => {
    if (!nodes[place]) {
      const parts = {
        mark: el("span", { class: "mark" }), what: el("p", { class: "what" }), more: el("p", { class: "more" }),
        details: el("details", {}, el("summary", {}, "What to do"), el("ol", { class: "remedies" })),
      };
      nodes[place] = { ...parts, node: el("li", {}, ...Object.values(parts)) };
      list.append(nodes[place].node);
    }
    const { node, mark, what, more, details } = nodes[place];
    node.dataset.level = each.level;
    put(mark, LEVELS[each.level]);
    put(what, unbroken(each.what));
    put(more, [each.cause, each.since ? `Since ${clock(each.since, at)}, ${ago(each.since, at)}.` : ""].filter(Boolean).join(" "));
    more.hidden = !more.textContent;
    details.hidden = !each.remedies.length;
    replace(details.lastChild, JSON.stringify(each.remedies), () => each.remedies.map(remedy));
  });
  put(by("findings-title"), found.length > MOST ? `What else is going on: ${MOST} of ${whole(found.length + leftOut)}` : "What else is going on");
}

export function showFigures(snapshot) {
  const { totals, tables, objectives } = snapshot;
  const real = tables.flatMap((table) => table.classes.filter((each) => each.class === "realtime" && each.latency).map((each) => [table.table, each]));
  const slowest = real.toSorted((a, b) => b[1].latency.p99_ms - a[1].latency.p99_ms)[0];
  const least = objectives.toSorted((a, b) => a.budget_remaining - b.budget_remaining)[0];
  const asked = totals.answered_per_second + totals.failed_per_second;
  const failed = asked ? totals.failed_per_second / asked : null;
  const figures = [
    ["Answered", rate(totals.answered_per_second), "calls/s", `${rate(totals.rows_per_second)} rows/s`],
    ["Failed", failed === null ? "0 %" : percent(failed), "", failed ? `${rate(totals.failed_per_second)} calls/s` : "of the last minute’s calls", failed ? "page" : ""],
    ["p99, real time", slowest ? milliseconds(slowest[1].latency.p99_ms) : "–", slowest ? "ms" : "", slowest ? `${slowest[0]}${real.length > 1 ? ", the slowest table" : ""}` : "no calls in the last minute"],
    ["Least error budget", least ? budgetLeft(least.budget_remaining) : "–", "", least ? `${least.table}: ${least.promise}` : "nothing was counted yet", least && least.budget_remaining < 0 ? "page" : ""],
    ["Inside now", whole(totals.inside), `of ${whole(totals.limit)}`, "calls at once"],
  ];
  replace(by("figures"), JSON.stringify(figures), () => figures.map(([name, value, unit, note, tone]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, el("span", { class: tone ? `tone-${tone}` : undefined }, value), unit ? el("small", {}, ` ${unit}`) : "", el("small", { class: "note" }, note)))));
}
