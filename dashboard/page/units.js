// A card for each unit: its role, its slots, what it holds and for how long.

import { element, keep, name, say } from "./dom.js";
import { seconds, shortId, title, tokens } from "./format.js";

const CELLS = 16;
const JOBS = 8;
const MARKS = { well: "", dead: "✕ dead", draining: "⏸ draining" };

export class Units {
  constructor(node) {
    this.node = node;
    this.cards = new Map();
  }

  update(units) {
    keep(this.node, this.cards, units, (unit) => unit.name, (unit) => new Card(unit), (card, unit) => card.update(unit));
  }
}

class Card {
  constructor(unit) {
    this.role = unit.role;
    this.title = element("span", {}, unit.name);
    this.badge = element("span");
    this.mark = element("span", { class: "mark" });
    this.note = element("span", { class: "note" });
    this.slots = element("div", { role: "img" });
    this.list = element("ul", { class: "jobs" });
    this.rows = new Map();
    this.node = element("article", { "data-unit": unit.name },
      element("h3", {}, this.title, this.badge, this.mark, this.note), this.slots, this.list);
  }

  update(unit) {
    const flipped = this.flipped(unit.role);
    const state = stateOf(unit);
    name(this.node, `unit ${unit.role} ${state}${flipped ? " flipped" : ""}`);
    name(this.badge, `badge ${unit.role}`);
    say(this.badge, title(unit.role));
    this.mark.hidden = state === "well";
    say(this.mark, MARKS[state]);
    say(this.note, note(unit, state));
    this.showSlots(unit);
    this.showJobs(unit);
  }

  // For a while after a flip the card stands out.
  flipped(role) {
    if (role !== this.role) {
      this.role = role;
      this.until = performance.now() + 2500;
    }
    return performance.now() < (this.until ?? 0);
  }

  showSlots(unit) {
    const { short, long } = unit.limits;
    const says = `${unit.short} short and ${unit.long} long jobs; ${Math.round(unit.load * 100)} % full`;
    this.slots.setAttribute("aria-label", says);
    this.slots.title = `${says}. Full with ${short} short or ${long} long jobs.`;
    const shape = `${unit.short} ${unit.long} ${short} ${long}`;
    if (shape === this.shape) return;
    this.shape = shape;
    const cells = short === long && short <= CELLS;
    name(this.slots, cells ? "slots" : "slots whole");
    this.slots.replaceChildren(...(cells ? cellsOf(unit, short) : barsOf(unit)));
  }

  showJobs(unit) {
    const shown = unit.jobs.slice(0, JOBS);
    const more = unit.held - shown.length;
    const items = shown.map((job) => ({ key: job.id, job }));
    if (more > 0 && shown.length) items.push({ key: " more", says: `and ${more} more`, kind: "more" });
    if (!shown.length) items.push({ key: " none", says: none(unit), kind: "none" });
    keep(this.list, this.rows, items, (item) => item.key, (item) => (item.job ? new Row(item.job) : new Line(item)),
      (row, item) => row.update(item));
  }
}

class Row {
  constructor(job) {
    this.held = element("span", { class: "held" });
    this.node = element("li", { title: job.id },
      element("span", { class: `badge ${job.class}` }, title(job.class)[0]),
      element("code", {}, shortId(job.id)),
      element("span", { class: "tokens" }, `${tokens(job.tokens)} tok`), this.held);
  }

  update({ job }) {
    say(this.held, seconds(job.held_s));
    const again = job.attempt > 1 ? `, attempt ${job.attempt}` : "";
    this.node.title = `${job.id}: ${job.class}, ${job.tokens} prompt tokens, ${job.why}${again}`;
  }
}

class Line {
  constructor(item) {
    this.node = element("li", { class: item.kind });
    this.update(item);
  }

  update({ says }) {
    say(this.node, says);
  }
}

function cellsOf(unit, limit) {
  const filled = [...Array(unit.long).fill("long"), ...Array(unit.short).fill("short")];
  return Array.from({ length: Math.max(limit, filled.length) }, (_, i) =>
    element("i", filled[i] ? { class: filled[i] } : {}, filled[i] ? title(filled[i])[0] : ""));
}

// With different limits, or many slots, a share of the unit instead of cells.
function barsOf(unit) {
  return ["long", "short"].filter((each) => unit[each]).map((each) => {
    const bar = element("i", { class: `bar ${each}` }, `${unit[each]}${title(each)[0]}`);
    bar.style.width = `${Math.min(100, (100 * unit[each]) / unit.limits[each])}%`;
    return bar;
  });
}

function stateOf(unit) {
  if (!unit.alive) return "dead";
  return unit.draining ? "draining" : "well";
}

function note(unit, state) {
  if (state === "dead") return unit.heartbeat_s === null ? "left" : `silent for ${seconds(unit.heartbeat_s)}`;
  if (unit.idle_s !== null) return `idle ${seconds(unit.idle_s)}`;
  return `${Math.round(unit.load * 100)} % full`;
}

function none(unit) {
  if (!unit.alive) return "holds nothing";
  return unit.draining ? "holds nothing: it can be stopped" : "holds nothing";
}
