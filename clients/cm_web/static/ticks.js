// Times that go on: how long something has been running, or how long it is until then.
const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  for (const [size, unit, small, smallUnit] of UNITS) {
    if (whole >= size) {
      const rest = Math.floor((whole % size) / small);
      return `${Math.floor(whole / size)} ${unit}` + (rest ? ` ${rest} ${smallUnit}` : "");
    }
  }
  return `${whole} s`;
}

export function start() {
  setInterval(() => {
    const now = Date.now() / 1000;
    for (const each of document.querySelectorAll(".ticks")) {
      const { since, until } = each.dataset;
      const text = duration(until ? Number(until) - now : now - Number(since));
      if (each.textContent !== text) each.textContent = text;
    }
  }, 1000);
}
