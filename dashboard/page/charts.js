// Small charts over the last minutes: x is time, the newest at the right; a gap stays a gap.

import { drawn, element, say } from "./dom.js";
import { ceiling } from "./format.js";

const WIDE = 300;
const HIGH = 100;

export class Chart {
  // lines: [{ value: point => number | null, kind }]; the first may be filled.
  constructor(title, { lines, unit, least, filled = false, rules = () => [] }) {
    this.lines = lines;
    this.unit = unit;
    this.least = least;
    this.rules = rules;
    this.svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", role: "img" });
    this.area = drawn("path", { class: "area" });
    this.marks = drawn("g");
    this.paths = lines.map(({ kind }) => drawn("path", { class: `line ${kind}` }));
    if (filled) this.svg.append(this.area);
    this.svg.append(this.marks, ...this.paths);
    this.top = element("span", { class: "top" });
    this.latest = element("b");
    this.labels = element("div", { "aria-hidden": "true" });
    this.title = title;
    this.node = element(
      "figure", {},
      element("figcaption", {}, element("span", {}, title), this.latest),
      element("div", { class: "chart" }, this.svg, this.labels, this.top),
    );
  }

  update(points, span, flips) {
    const values = this.lines.map(({ value }) => points.map((point) => (point.gap ? null : value(point))));
    const most = Math.max(this.least, ...values.flat().filter((value) => value !== null));
    const top = ceiling(most);
    const x = (ms) => (WIDE * (1 - (span.now - ms) / span.length)).toFixed(2);
    const y = (value) => (HIGH * (1 - value / top)).toFixed(2);
    this.paths.forEach((path, i) => path.setAttribute("d", line(points, values[i], x, y, span)));
    this.area.setAttribute("d", areas(points, values[0], x, y, span));
    // A line that would touch the ground or another one only makes a small chart harder to read.
    const rules = this.rules().filter(({ value }) => value <= top * 0.7 && value >= top / 6);
    this.marks.replaceChildren(
      ...flips.map((ms) => drawn("line", { class: "flip", x1: x(ms), x2: x(ms), y1: 0, y2: HIGH })),
      ...rules.map(({ value }) => drawn("line", { class: "rule", x1: 0, x2: WIDE, y1: y(value), y2: y(value) })),
    );
    this.labels.replaceChildren(...rules.map(({ value, says }) => {
      const label = element("span", { class: "rule-label" }, says);
      label.style.top = `${y(value)}%`;
      return label;
    }));
    say(this.top, this.unit(top));
    const now = values.map((each) => each.at(-1) ?? null);
    say(this.latest, now.map((value) => (value === null ? "–" : this.unit(value))).join(" / "));
    this.svg.setAttribute("aria-label", `${this.title}: now ${this.latest.textContent}, at most ${this.unit(most)}`);
  }
}

// Runs of neighbouring points that have a value: looks far apart leave a gap as well.
function* runs(points, values, span) {
  let run = [];
  for (let i = 0; i < points.length; i++) {
    const far = run.length && points[i].t - points[run.at(-1)].t > span.gap;
    if (values[i] === null || far) {
      if (run.length) yield run;
      run = [];
    }
    if (values[i] !== null) run.push(i);
  }
  if (run.length) yield run;
}

function line(points, values, x, y, span) {
  let path = "";
  for (const run of runs(points, values, span)) {
    path += `M${run.map((i) => `${x(points[i].t)} ${y(values[i])}`).join("L")}`;
    if (run.length === 1) path += "h.5";
  }
  return path;
}

function areas(points, values, x, y, span) {
  let path = "";
  for (const run of runs(points, values, span)) {
    const over = run.map((i) => `${x(points[i].t)} ${y(values[i])}`).join("L");
    path += `M${x(points[run[0]].t)} ${HIGH}L${over}V${HIGH}Z`;
  }
  return path;
}

export function axis() {
  const left = element("span");
  return {
    node: element("div", { class: "axis", "aria-hidden": "true" }, left, element("span", {}, "now")),
    update: (span) => say(left, `${Math.round(span.length / 6000) / 10} min ago`),
  };
}
