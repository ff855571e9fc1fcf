// Elements and tables. Texts of other people are put in as texts, never as markup.

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") node.className = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((each) => each !== null && each !== undefined && each !== ""));
  return node;
}

// Only where it changes: what is read aloud or selected is left alone.
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function replace(node, key, make) {
  if (node._key === key) return;
  node._key = key;
  node.replaceChildren(...[make()].flat().filter(Boolean));
}

// Commands are shown as such; all else is a sentence.
export function remedy(text) {
  const command = text.match(/^(cascade|kill|py-spy|kubectl) [^:]+$/);
  if (command) return el("li", {}, el("code", {}, text));
  const [, before, rest] = text.match(/^(cascade [a-z ]+[a-z])(: .*)$/s) ?? [];
  return before ? el("li", {}, el("code", {}, before), rest) : el("li", {}, text);
}

// A bar of shares; what it shows is also said in words beside it or in its label.
export function bar(parts, label) {
  const node = el("span", { class: "bar-of", role: "img", "aria-label": label });
  for (const [tone, share] of parts) {
    if (!(share > 0)) continue;
    const part = el("i", { class: `fill-${tone}` });
    part.style.width = `${Math.min(100, 100 * share)}%`;
    node.append(part);
  }
  return node;
}

// A table that is brought up to date in place. Columns: {label, unit, number, words, cell(row)};
// a cell is a text, or {text, tone, sub, title, bar: [parts, label]}. The first one is the row's header.
export class Table {
  constructor(caption, columns, keyOf, most = 20) {
    this.columns = columns;
    this.keyOf = keyOf;
    this.most = most;
    this.all = false;
    this.order = [];
    this.rows = new Map();
    const heads = columns.map(({ label, unit, number, words }) =>
      el("th", { scope: "col", role: "columnheader", class: number ? "number" : words ? "words" : undefined },
        label, unit ? el("small", {}, ` ${unit}`) : ""));
    this.body = el("tbody", { role: "rowgroup" });
    this.table = el("table", { class: "cards", role: "table" },
      el("caption", { class: "unseen" }, caption),
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)), this.body);
    this.button = el("button", { type: "button", class: "more", hidden: true });
    this.button.addEventListener("click", () => {
      this.all = !this.all;
      this.update(this.last, true);
    });
    this.node = el("div", {}, this.table, this.button);
  }

  // Rows keep their places between two orderings, so that nothing jumps under who reads.
  update(found, reorder) {
    this.last = found;
    const byKey = new Map(found.map((row) => [this.keyOf(row), row]));
    const known = this.order.filter((key) => byKey.has(key));
    this.order = reorder || known.length !== byKey.size ? [...byKey.keys()] : known;
    const shown = this.all ? this.order : this.order.slice(0, this.most);
    const wanted = new Set(shown);
    for (const [key, row] of this.rows) {
      if (!wanted.has(key)) {
        row.node.remove();
        this.rows.delete(key);
      }
    }
    shown.forEach((key, place) => {
      const row = this.rows.get(key) ?? this.make();
      this.rows.set(key, row);
      this.fill(row, byKey.get(key));
      if (this.body.children[place] !== row.node) {
        this.body.insertBefore(row.node, this.body.children[place] ?? null);
      }
    });
    const more = this.order.length - this.most;
    this.button.hidden = more <= 0;
    if (more > 0) {
      put(this.button, this.all ? `Show the first ${this.most}` : `Show ${more.toLocaleString("en")} more`);
      this.button.setAttribute("aria-expanded", String(this.all));
    }
  }

  make() {
    const cells = this.columns.map(({ label, unit, number, words, wide }, place) =>
      el(place ? "td" : "th", {
        role: place ? "cell" : "rowheader", scope: place ? undefined : "row",
        class: [words ? "words" : number ? "number" : "", wide ? "wide" : ""].join(" ").trim() || undefined,
        "data-label": place ? [label, unit].filter(Boolean).join(" ") : undefined,
      }));
    return { node: el("tr", { role: "row" }, ...cells), cells, said: [] };
  }

  fill(row, found) {
    this.columns.forEach(({ cell }, place) => {
      const value = cell(found);
      const said = JSON.stringify(value);
      if (row.said[place] === said) return;
      row.said[place] = said;
      const { text, tone, sub, title, bar: parts } =
        typeof value === "object" && value !== null ? value : { text: value };
      const node = row.cells[place];
      const content = [];
      if (parts) content.push(bar(...parts), " ");
      if (text !== undefined && text !== null && text !== "") {
        content.push(tone ? el("span", { class: `tone-${tone}` }, String(text)) : String(text));
      }
      if (sub) content.push(el("span", { class: "sub" }, sub));
      // One child, so that on a phone it stands beside its label as a whole.
      node.replaceChildren(el("span", { class: "value" }, ...content));
      node.toggleAttribute("data-empty", content.length === 0 || text === "–");
      if (title) node.title = title;
      else node.removeAttribute("title");
    });
  }
}
