// Asks for the pool once a second and shows it. What could not be read is shown as such, never as zero.

import { ClassPanel } from "./classes.js";
import { name, say } from "./dom.js";
import { counts, Feed } from "./feed.js";
import { clock, seconds, title } from "./format.js";
import { Lanes } from "./lanes.js";
import { Units } from "./units.js";

const PATIENCE_MS = 5000;

const at = (id) => document.getElementById(id);
const panels = ["short", "long"].map((each) => new ClassPanel(at(each), each));
const units = new Units(at("units"));
const lanes = new Lanes(at("lanes"));
const feed = new Feed(at("feed"));

let boot = "";
let number = 0;
let points = [];
let heard = 0;

async function look() {
  const answer = await fetch(`/live.json?boot=${boot}&after=${number}`, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(`the dashboard answers ${answer.status}`);
  const { now, points: more } = await answer.json();
  points = (now.boot === boot ? points : []).concat(more);
  ({ boot, number } = now);
  heard = Date.now();
  show(now);
}

function show(now) {
  const span = { length: now.history_s * 1000, gap: Math.max(3000, now.look_s * 3500), now: points.at(-1)?.t ?? 0 };
  points = points.filter((point) => span.now - point.t <= span.length);
  showState(now);
  at("rq").hidden = !now.rq;
  say(at("pool"), `pool ${now.pool}`);
  const sight = now.sight;
  if (!sight) return;
  say(at("models"), sight.models.join(", "));
  say(at("leader"), sight.leader
    ? `scaler ${sight.leader.split(":").slice(0, 2).join(":")}${sight.cooldown_s ? ", cooling down" : ""}` : "no scaler leads");
  at("leader").title = sight.leader ? `${sight.leader}; no flip for ${seconds(sight.cooldown_s)}` : "";
  const flips = now.told.filter((event) => event.kind === "flipped" && span.now - event.at_ms < span.length);
  for (const panel of panels) panel.update(sight, points, span, flips.map((event) => event.at_ms));
  units.update(sight.units);
  lanes.update(sight.units, points, span);
  feed.update(now.told);
  say(at("units-count"), countOf(sight.units));
  const back = `last ${Math.round(now.history_s / 60)} min`;
  say(at("lanes-span"), back);
  say(at("feed-counts"), `${back}: ${counts(sight.counts, sight.skipped)}`);
}

function countOf(all) {
  const takes = all.filter((unit) => unit.alive && !unit.draining);
  const parts = ["short", "long"].map((role) => `${takes.filter((unit) => unit.role === role).length} ${title(role)}`);
  const dead = all.filter((unit) => !unit.alive).length;
  const draining = all.filter((unit) => unit.alive && unit.draining).length;
  if (draining) parts.push(`${draining} draining`);
  if (dead) parts.push(`${dead} dead`);
  return all.length ? parts.join(" · ") : "none has registered yet";
}

function showState({ redis, sight, clock_ms }) {
  if (redis.up && !sight) {
    complain("", "looking");
    return;
  }
  if (redis.up) {
    const waits = ["short", "long"].map((each) => sight.classes[each].depth).join(" / ");
    document.title = `${waits} waiting · AdaSplit`;
    complain("", `live ${clock(clock_ms)}`);
    return;
  }
  document.title = "Redis away · AdaSplit";
  const since = seconds((clock_ms - redis.down_since_ms) / 1000);
  const shown = redis.seen_ms ? `What you see is from ${clock(redis.seen_ms)}.` : "Nothing has been seen yet.";
  complain(`Redis has been away for ${since} (${redis.error}). ${shown}`, "Redis away");
}

function complain(says, state) {
  at("banner").hidden = !says;
  say(at("banner"), says);
  document.body.classList.toggle("stale", Boolean(says));
  name(at("state"), says ? "state away" : "state live");
  say(at("state"), state);
}

async function watch() {
  for (;;) {
    if (!document.hidden) {
      try {
        await look();
      } catch (error) {
        document.title = "no answer · AdaSplit";
        const from = heard ? ` What you see is from ${clock(heard)}.` : "";
        complain(`No answer from the dashboard: ${error.message}.${from}`, "no answer");
      }
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

watch();
