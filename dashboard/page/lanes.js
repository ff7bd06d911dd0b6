// One lane a unit: its role over the last minutes as ground and pattern, its load as height.

import { axis } from "./charts.js";
import { drawn, element, keep, say } from "./dom.js";

const WIDE = 300;
const HIGH = 40;

export class Lanes {
  constructor(node) {
    this.axis = axis();
    this.lanes = new Map();
    this.rows = element("div");
    // The pattern tells the roles apart without colour.
    const pattern = drawn("pattern", { id: "hatch", class: "long", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      drawn("rect", { class: "hatch-ground", width: 5, height: 5 }), drawn("rect", { class: "hatch-line", width: 3.2, height: 5 }));
    node.append(drawn("svg", { width: 0, height: 0, "aria-hidden": "true", class: "defs" }, pattern), this.rows, this.axis.node);
  }

  update(units, points, span) {
    this.axis.update(span);
    keep(this.rows, this.lanes, units.slice(0, 64), (unit) => unit.name, (unit) => new Lane(unit.name),
      (lane, unit) => lane.update(unit, points, span));
  }
}

class Lane {
  constructor(unit) {
    this.unit = unit;
    this.svg = drawn("svg", { role: "img", preserveAspectRatio: "none" });
    this.label = element("span", { title: unit }, unit);
    this.node = element("div", { class: "lane" }, this.label, this.svg);
  }

  update(unit, points, span) {
    const wide = this.svg.clientWidth || WIDE;
    this.svg.setAttribute("viewBox", `0 0 ${wide} ${HIGH}`);
    const x = (ms) => wide * (1 - (span.now - ms) / span.length);
    const parts = [];
    let flips = 0;
    for (const run of runsOf(this.unit, points, span)) {
      const left = Math.max(0, x(run.from));
      const width = x(run.upto) - left;
      if (width <= 0) continue;
      flips += parts.length && run.after === "flip" ? 1 : 0;
      if (!run.takes) {
        parts.push(drawn("rect", { class: "absent", x: left, y: 0, width, height: HIGH }));
        continue;
      }
      const role = run.role ? "long" : "short";
      parts.push(drawn("rect", { class: `ground ${role}`, x: left, y: 0, width, height: HIGH }));
      parts.push(drawn("path", { class: `load ${role}${run.role ? " hatch" : ""}`, d: loadPath(run, unit.limits, x) }));
    }
    this.svg.replaceChildren(...parts);
    this.svg.setAttribute("aria-label", `${this.unit}: ${unit.role} now, ${flips} flips in view`);
    say(this.label, this.unit);
  }
}

// Stretches of one role without a gap.
function runsOf(unit, points, span) {
  const runs = [];
  let run = null;
  for (const point of points) {
    const seen = point.gap ? null : point.units[unit];
    if (!seen || (run && point.t - run.upto > span.gap)) run = null;
    if (!seen) continue;
    const [role, short, long, takes] = seen;
    const other = run && (run.role !== role || run.takes !== takes);
    if (!run || other) {
      const from = other ? run.upto : point.t;
      run = { role, takes, from, upto: point.t, loads: [], after: other ? "flip" : "gap" };
      runs.push(run);
    }
    run.upto = point.t;
    run.loads.push([point.t, short, long]);
  }
  return runs;
}

function loadPath(run, limits, x) {
  let path = `M${x(run.from).toFixed(1)} ${HIGH}`;
  let before = run.from;
  for (const [ms, short, long] of run.loads) {
    const load = Math.min(1, short / limits.short + long / limits.long);
    const high = (HIGH - (HIGH - 2) * load).toFixed(1);
    path += `L${x(before).toFixed(1)} ${high}L${x(ms).toFixed(1)} ${high}`;
    before = ms;
  }
  return `${path}V${HIGH}Z`;
}
