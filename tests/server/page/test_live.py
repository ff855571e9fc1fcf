"""The stream of snapshots in a page that is open for days: Node, with a browser's parts played."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
from cascade_server.page.assets import FOLDER

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH")

# Time passes by `tick`; timers are called in it. `streams` are those that were ever opened.
BROWSER = """
let now = 0, timers = new Map(), number = 0;
const streams = [], watching = [];
const timer = (call, wait, every) => {
  number += 1;
  timers.set(number, { call, at: now + wait, every });
  return number;
};
globalThis.setTimeout = (call, wait) => timer(call, wait);
globalThis.setInterval = (call, every) => timer(call, every, every);
globalThis.clearTimeout = globalThis.clearInterval = (key) => timers.delete(key);
globalThis.fetch = async () => ({ ok: false });
globalThis.EventSource = class {
  static CLOSED = 2;
  constructor() { this.readyState = 1; streams.push(this); }
  close() { this.readyState = 2; this.closed = true; }
  refuse() { this.readyState = 2; this.onerror(); }
};
globalThis.document = {
  visibilityState: "visible",
  addEventListener: (_, call) => watching.push(call),
  removeEventListener: (_, call) => watching.splice(watching.indexOf(call), 1),
};
function tick(seconds) {
  const until = now + 1000 * seconds;
  for (;;) {
    const [next] = [...timers].sort((one, other) => one[1].at - other[1].at);
    if (!next || next[1].at > until) break;
    const [key, each] = next;
    now = each.at;
    if (each.every) each.at += each.every; else timers.delete(key);
    each.call();
  }
  now = until;
}
function look(state) { document.visibilityState = state; [...watching].forEach((call) => call()); }
const open = () => streams.filter((each) => !each.closed && each.readyState !== 2);
"""


def played(script: str) -> Any:
    """What a script prints, as JSON, after the page has begun to listen."""
    source = (FOLDER / "js/live.js").read_text().replace("export function", "function")
    program = f"{BROWSER}\n{source}\nlisten(() => {{}}, () => {{}});\n{script}"
    done = subprocess.run(
        ["node", "--input-type=module", "-e", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_streams_that_were_refused_all_night_are_one_in_the_morning() -> None:
    found = played(
        """
        for (let hour = 0; hour < 360; hour += 1) { streams.at(-1).refuse(); tick(10); }
        const refused = streams.length;
        look("hidden"); look("visible");
        console.log(JSON.stringify([refused, streams.length - refused, open().length]));
        """
    )
    assert found == [361, 1, 1]


def test_while_nobody_looks_nothing_is_asked() -> None:
    found = played(
        """
        streams.at(-1).refuse();
        look("hidden");
        tick(60);
        const hidden = [streams.length, open().length];
        look("visible");
        console.log(JSON.stringify([hidden, open().length]));
        """
    )
    assert found == [[1, 0], 1]
