// Numbers and times as people read them.

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.0995) return `${Math.round(value * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 119.5) return `${Math.round(value)} s`;
  if (value < 5400) return `${Math.round(value / 60)} min`;
  return `${Math.round(value / 3600)} h`;
}

export function tokens(value) {
  return value < 1000 ? `${value}` : `${(value / 1000).toFixed(value < 9950 ? 1 : 0)}k`;
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString([], { hour12: false });
}

export function title(role) {
  return role === "long" ? "Long" : "Short";
}

export function shortId(job) {
  return job.replace(/^job-/, "").slice(0, 12);
}

// The next number from above that is easy to read: 1, 2, 5, 10, 20, …
export function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 5, 10].find((each) => each * power >= value * 0.9999);
  return step * power;
}
