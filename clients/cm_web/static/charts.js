// Charts of the page, drawn by uPlot from the numbers that the page brought with it.
const HEIGHT = 150;

export function start() {
  draw(document);
  document.addEventListener("cm:shown", (event) => draw(event.detail ?? document));
  new ResizeObserver(() => { for (const each of document.querySelectorAll(".plot")) each.plot?.setSize({ width: each.clientWidth, height: HEIGHT }); }).observe(document.getElementById("page"));
}

function draw(within) {
  for (const chart of within.querySelectorAll("[data-chart]")) {
    const place = chart.querySelector(".plot");
    place.plot?.destroy();
    place.plot = plot(place, JSON.parse(chart.dataset.chart));
  }
}

function plot(place, told) {
  const soft = colour(place, "--soft");
  const grid = { stroke: colour(place, "--line"), width: 1 };
  const axis = { stroke: soft, grid, ticks: { ...grid, size: 4 }, font: "11px system-ui, sans-serif" };
  return new uPlot({
    width: place.clientWidth || 280,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, points: { size: 6 } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: { y: { range: (_, low, high) => [0, told.unit === "percent" ? Math.min(1, Math.max(high * 1.2, 0.1)) : Math.max(high * 1.08, 1)] } },
    axes: [
      { ...axis, size: 26, space: 58, values: (_, ticks, __, ___, apart) => ticks.map((tick) => moment(tick, apart)) },
      { ...axis, size: 52, space: 28, values: (_, ticks) => ticks.map((tick) => words(tick, told.unit)) },
    ],
    series: [{}, ...told.curves.map((curve) => ({
      label: curve.name,
      stroke: colour(place, `--${curve.kind}-fill`),
      fill: curve.points ? undefined : faint(colour(place, `--${curve.kind}-fill`)),
      width: 1.6,
      dash: curve.dash,
      spanGaps: !curve.points, // no line over times in which nothing ended
      points: { show: Boolean(curve.points), size: 5, filter: (plot, series) => curve.points && marked(plot.data[series]) },
    }))],
  }, [told.times, ...told.curves.map((curve) => curve.values)], place);
}

// Where something is, in a curve that is nothing most of the time, or stands alone.
const marked = (values) => [...values.keys()].filter((at) => values[at] > 0
  || (values[at] === 0 && values[at - 1] == null && values[at + 1] == null));

function colour(place, name) {
  const probe = place.ownerDocument.createElement("i");
  probe.style.color = `var(${name})`;
  place.append(probe);
  const told = getComputedStyle(probe).color;
  probe.remove();
  return told;
}

// UTC, as fine as the marks are apart.
function moment(tick, apart) {
  const told = new Date(tick * 1000).toISOString();
  if (apart >= 86400) return told.slice(5, 10);
  return apart >= 60 ? told.slice(11, 16) : told.slice(11, 19);
}

const faint = (rgb) => rgb.replace(/^rgb\((.*)\)$/, "rgba($1, 0.14)");

function words(value, unit) {
  if (unit === "percent") return `${Math.round(value * 100)} %`;
  let at = value;
  for (const prefix of unit === "bytes" ? ["B", "kB", "MB", "GB", "TB"] : ["", "k", "M", "G"]) {
    if (Math.abs(at) < 1000) return `${Number(at.toPrecision(3))}${unit === "bytes" ? " " : ""}${prefix}`;
    at /= 1000;
  }
  return unit === "bytes" ? `${Number(at.toPrecision(3))} PB` : String(value);
}
