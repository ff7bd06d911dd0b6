// The two panels at the top: what waits, what runs, how long it takes.

import { axis, Chart } from "./charts.js";
import { element, say } from "./dom.js";
import { seconds, title } from "./format.js";

const whole = (value) => `${Math.round(value)}`;
const SHARES = ["p50", "p95", "p99"];

export class ClassPanel {
  constructor(node, name) {
    this.name = name;
    this.policy = null;
    this.facts = {};
    this.cells = {};
    this.depth = new Chart("queue depth", {
      lines: [{ value: (point) => point[name].depth, kind: "" }],
      unit: whole, least: 5, filled: true, rules: () => this.rules(),
    });
    this.ttft = new Chart("TTFT p50 / p95", {
      lines: [
        { value: (point) => point[name].ttft_p50, kind: "" },
        { value: (point) => point[name].ttft_p95, kind: "second" },
      ],
      unit: seconds, least: 0.2,
    });
    this.axes = [axis(), axis()];
    this.depth.node.append(this.axes[0].node);
    this.ttft.node.append(this.axes[1].node);
    const badge = element("span", { class: `badge ${name}`, "aria-hidden": "true" }, title(name)[0]);
    this.units = element("span", { class: "muted" });
    node.append(
      element("h2", {}, badge, element("span", { id: `${name}-title` }, `${title(name)} jobs`), this.units),
      element("dl", { class: "facts" },
        this.fact("depth", "waiting", "first"), this.fact("oldest", "oldest waits"),
        this.fact("flight", "in flight"), this.fact("rate", "ended per s")),
      element("div", { class: "charts" }, this.depth.node, this.ttft.node),
      this.table(),
    );
  }

  fact(key, says, kind = "") {
    this.facts[key] = element("dd", {}, "–");
    return element("div", { class: kind }, element("dt", {}, says), this.facts[key]);
  }

  table() {
    const row = (key, says) => element("tr", {}, element("th", { scope: "row" }, says),
      ...SHARES.map((share) => (this.cells[key + share] = element("td", {}, "–"))));
    this.counted = element("th", {}, "");
    const head = element("tr", {}, this.counted, ...SHARES.map((share) => element("th", { scope: "col" }, share)));
    return element("table", {}, element("thead", {}, head),
      element("tbody", {}, row("wait", "wait in queue"), row("ttft", "TTFT of streams")));
  }

  rules() {
    if (this.name !== "long" || !this.policy) return [];
    const { qhap_scale_up_above: above, qhap_scale_down_below: below } = this.policy;
    return [
      { value: above, says: `above ${above}: one more Long unit` },
      { value: below, says: `below ${below}: one fewer` },
    ];
  }

  update(sight, points, span, flips) {
    const now = sight.classes[this.name];
    this.policy = sight.policy;
    say(this.facts.depth, whole(now.depth));
    say(this.facts.oldest, now.depth ? seconds(now.oldest_s) : "–");
    say(this.facts.flight, whole(now.in_flight));
    say(this.facts.rate, now.ended_per_s < 10 ? now.ended_per_s.toFixed(1) : whole(now.ended_per_s));
    const units = sight.units.filter((unit) => unit.alive && !unit.draining && unit.role === this.name).length;
    say(this.units, `${units} ${title(this.name)} unit${units === 1 ? "" : "s"}`);
    this.depth.update(points, span, flips);
    this.ttft.update(points, span, []);
    for (const each of this.axes) each.update(span);
    for (const share of SHARES) {
      say(this.cells[`wait${share}`], seconds(now.wait_s[share]));
      say(this.cells[`ttft${share}`], seconds(now.ttft_s[share]));
    }
    say(this.counted, `of the last ${Math.round(span.length / 60000)} min`);
  }
}
