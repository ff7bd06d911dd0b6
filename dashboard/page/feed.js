// What happened, newest first: flips, steals and mishaps.

import { element, keep, say } from "./dom.js";
import { clock, shortId, title } from "./format.js";

const SHOWN = 60;

const STEALS = {
  stolen: "the unit was idle",
  borrowed: "the Long unit had no long job",
  starved: "it had waited too long",
};

export class Feed {
  constructor(node) {
    this.node = node;
    this.rows = new Map();
  }

  update(told) {
    const items = told.slice(-SHOWN).reverse();
    const none = items.length ? [] : [{ id: "none" }];
    keep(this.node, this.rows, [...items, ...none], (event) => event.id, (event) => ({ node: made(event) }), () => {});
  }
}

function made(event) {
  if (event.id === "none") return element("li", { class: "none" }, "Nothing yet: no flip, no steal, no mishap.");
  const [mark, kind, says] = TELLING[event.kind](event);
  return element("li", { class: kind, title: event.job ?? "" },
    element("time", { datetime: new Date(event.at_ms).toISOString() }, clock(event.at_ms)),
    element("b", { "aria-hidden": "true" }, mark), element("span", {}, says));
}

const because = (event) => (event.reason ? `: ${event.reason}` : "");
const job = (event) => `${event.class ?? ""} ${shortId(event.job ?? "")}`;

const TELLING = {
  flipped: (event) => ["⇄", event.to, `${event.unit} became ${title(event.to)}${because(event)}`],
  stolen: (event) => ["↷", event.class, `${event.unit} took ${job(event)}: ${STEALS[event.why] ?? event.why}`],
  requeued: (event) => ["↺", "mishap", `${event.unit} gave ${job(event)} back${because(event)}`],
  reclaimed: (event) => ["↺", "mishap", `${job(event)} taken back from ${event.unit}${because(event)}`],
  dead: (event) => ["✕", "mishap", `${job(event)} dead-lettered after ${event.unit}${because(event)}`],
  expired: (event) => ["⌛", "mishap", `${job(event)} missed its deadline`],
};

export function counts(counts, skipped) {
  const parts = [[counts.flips, "flip"], [counts.steals, "steal"], [counts.mishaps, "mishap"]];
  const said = parts.map(([count, what]) => `${count} ${what}${count === 1 ? "" : "s"}`).join(" · ");
  return skipped ? `${said} (too much happened to read all)` : said;
}
