// The last hour as lines. Each chart says in words what it shows, and has its numbers as a table.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { el, put } from "./dom.js";
import { NONE, clock, digits, rate } from "./format.js";
import { onTheme } from "./theme.js";

const HEIGHT = 168;
const MINUTES = 60;
// Seconds that are shown at least: of a young server the rest is empty.
const SHORTEST = 600;
const DASHES = { solid: [], dashed: [5, 4], dotted: [1, 3] };

// Each line: name, the variable of its colour, its dash, and the values of a past.
const CHARTS = [
  {
    name: "Latency", unit: "ms", format: (value) => digits(value, 3),
    lines: [
      { name: "p99", tone: "--ink", dash: "solid", of: (past) => past.p99.map((v) => (v === null ? null : 1000 * v)) },
      { name: "p50", tone: "--quiet", dash: "solid", of: (past) => past.p50.map((v) => (v === null ? null : 1000 * v)) },
      { name: "promised", tone: "--ticket", dash: "dashed", of: (past, promised) => past.at.map(() => promised) },
    ],
    summary(data, at) {
      const [p99] = data;
      let worst = -1;
      p99.forEach((value, place) => { if (value !== null && (worst < 0 || value > p99[worst])) worst = place; });
      if (worst < 0) return "Nothing was answered in this hour.";
      const now = p99.at(-1);
      return `p99 ${now === null ? "has nothing to show just now" : `is ${digits(now)} ms`}; the highest was ${digits(p99[worst])} ms at ${clock(at[worst])}.`;
    },
  },
  {
    name: "Calls", unit: "a second", format: rate,
    lines: [
      { name: "answered", tone: "--ink", dash: "solid", of: (past) => past.answered },
      { name: "failed", tone: "--page", dash: "solid", of: (past) => past.failed },
      { name: "callers’ own faults", tone: "--quiet", dash: "dotted", of: (past) => past.faults },
    ],
    summary(data) {
      const [answered, failed] = data;
      const bad = failed.reduce((sum, value) => sum + value, 0);
      const all = bad + answered.reduce((sum, value) => sum + value, 0);
      const words = bad ? `${digits(100 * bad / all)} % of this hour’s calls failed` : "none of this hour’s calls failed";
      return `${rate(answered.at(-1))} calls/s answered; ${words}.`;
    },
  },
  {
    name: "Who answered", unit: "calls a second", format: rate,
    lines: [
      { name: "student", tone: "--student", dash: "solid", of: (past) => past.student },
      { name: "teacher and pool", tone: "--teacher", dash: "solid", of: (past) => past.teacher },
    ],
    summary(data) {
      const [student, teacher] = data.map((line) => line.at(-1) ?? 0);
      return student + teacher
        ? `${digits(100 * teacher / (student + teacher), 3)} % have the teacher’s fidelity.`
        : "Nobody is answered just now.";
    },
  },
];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

class Chart {
  constructor(kind) {
    this.kind = kind;
    const id = `chart-${kind.name.toLowerCase().replaceAll(" ", "-")}`;
    this.summary = el("p", { class: "summary", id: `${id}-summary` });
    this.plot = el("div", { class: "plot", "aria-hidden": "true" });
    this.legend = el("ul", { class: "legend", "aria-hidden": "true" });
    this.scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${kind.name} by minute` });
    this.details = el("details", {}, el("summary", {}, "As a table", el("span", { class: "unseen" }, ` of ${kind.name.toLowerCase()} by minute`)), this.scroll);
    this.details.addEventListener("toggle", () => this.fill());
    this.node = el("figure", { class: "chart", "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-summary` },
      el("h3", { id: `${id}-title` }, kind.name, " ", el("small", {}, kind.unit)), this.summary, this.plot, this.legend, this.details);
    new ResizeObserver(() => {
      this.chart?.setSize({ width: this.plot.clientWidth, height: HEIGHT });
    }).observe(this.plot);
    onTheme(() => { this.chart?.destroy(); this.chart = null; this.draw(); });
  }

  update(past, promised) {
    this.at = past.at;
    this.data = this.kind.lines.map((line) => line.of(past, promised));
    put(this.summary, past.at.length ? this.kind.summary(this.data, this.at) : "");
    this.draw();
    this.fill();
  }

  draw() {
    if (!this.data) return;
    if (this.at.length < 2) {
      this.chart?.destroy();
      this.chart = null;
      this.plot.replaceChildren(el("p", { class: "nothing" }, "The past begins with this server’s page; the first point comes after ten seconds."));
      this.legend.replaceChildren();
      return;
    }
    const shown = this.kind.lines.map((line, place) => ({ ...line, has: this.data[place].some((value) => value > 0) }));
    const key = JSON.stringify(shown.map((line) => line.has));
    if (this.chart && this.key === key) {
      this.chart.setData([this.at, ...this.data]);
      return;
    }
    this.key = key;
    this.chart?.destroy();
    this.plot.replaceChildren();
    const axis = { stroke: colour("--quiet"), font: "12px system-ui, sans-serif", grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    this.chart = new uPlot({
      width: this.plot.clientWidth, height: HEIGHT, legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: true, range: (_, from, until) => [Math.min(from, until - SHORTEST), until] }, y: { range: (_, low, high) => [0, high > 0 ? 1.1 * high : 1] } },
      axes: [
        { ...axis, grid: { show: false }, size: 28, space: 70, values: (_, moments, __, ___, step) => moments.map((each) => clock(each).slice(0, step < 60 ? 8 : 5)) },
        { ...axis, size: 46, gap: 6, values: (_, numbers) => numbers.map((each) => each.toLocaleString("en")) },
      ],
      series: [{}, ...shown.map((line) => ({
        label: line.name, show: line.has, stroke: colour(line.tone), width: line.tone === "--ink" ? 1.6 : 1.3, dash: DASHES[line.dash], points: { show: false }, spanGaps: false,
      }))],
    }, [this.at, ...this.data], this.plot);
    this.legend.replaceChildren(...shown.filter((line) => line.has).map((line) => {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const stroke = document.createElementNS("http://www.w3.org/2000/svg", "line");
      for (const [name, value] of Object.entries({ x1: 0, x2: 20, y1: 4, y2: 4, stroke: colour(line.tone), "stroke-width": 2, "stroke-dasharray": DASHES[line.dash].join(" ") })) stroke.setAttribute(name, value);
      svg.setAttribute("viewBox", "0 0 20 8");
      svg.append(stroke);
      return el("li", {}, svg, line.name);
    }));
  }

  // A row a minute, the newest first; made only while it is open.
  fill() {
    if (!this.details.open || !this.data) return;
    const head = el("tr", {}, el("th", { scope: "col" }, "until"), ...this.kind.lines.map((line) => el("th", { scope: "col", class: "number" }, line.name)));
    const rows = [];
    for (let end = this.at.length; end > 0 && rows.length < MINUTES; end -= 6) {
      const from = Math.max(0, end - 6);
      const cells = this.data.map((line) => {
        const values = line.slice(from, end).filter((value) => value !== null && value !== undefined);
        if (!values.length) return NONE;
        // Of latencies the worst, of rates the mean.
        const value = this.kind.unit === "ms" ? Math.max(...values) : values.reduce((a, b) => a + b, 0) / values.length;
        return this.kind.format(value);
      });
      rows.push(el("tr", {}, el("th", { scope: "row" }, clock(this.at[end - 1])), ...cells.map((text) => el("td", { class: "number" }, text))));
    }
    this.scroll.replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
  }
}

export function startCharts(node, tables, classes, promisedOf) {
  const charts = CHARTS.map((kind) => new Chart(kind));
  node.append(...charts.map((chart) => chart.node));
  let seen = -1;
  let asking = 0;
  const ask = async () => {
    asking += 1;
    const mine = asking;
    const query = new URLSearchParams({ table: tables.value, class: classes.value });
    try {
      const answer = await fetch(`past.json?${query}`, { signal: AbortSignal.timeout(10000) });
      if (!answer.ok) return;
      const past = await answer.json();
      if (mine === asking) charts.forEach((chart) => chart.update(past, promisedOf(tables.value, classes.value)));
    } catch { /* with the next step */ }
  };
  tables.addEventListener("change", ask);
  classes.addEventListener("change", ask);
  // Whatever is counted has a point every ten seconds.
  return (steps) => {
    if (steps === seen) return;
    seen = steps;
    ask();
  };
}
