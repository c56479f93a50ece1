// Live updates: the server says that something on this page has changed; the page is asked for again and
// its parts that differ are put in the place of the old ones. What a person has begun (an open list, a
// ticked box, a text under way) stays.
const AT_MOST_EVERY = 800; // ms

const served = new WeakMap(); // a part of the page -> as it came from the server
let pending = false;
let running = false;
let last = 0;

export function start() {
  for (const part of document.querySelectorAll("[data-live]")) served.set(part, plain(part));
  const page = document.getElementById("page");
  const topics = page.dataset.topics.split(" ").filter(Boolean);
  const every = Number(page.dataset.every) * 1000;
  if (!topics.length) return;
  const source = new EventSource("/live?" + topics.map((topic) => `on=${encodeURIComponent(topic)}`).join("&"));
  let fresh = true;
  source.addEventListener("beat", () => {
    show(true);
    if (fresh) look(); // what has changed since the page was made
    fresh = false;
  });
  source.addEventListener("changed", () => { show(true); look(); });
  source.addEventListener("lost", () => { show(false, "no daemon"); look(); });
  source.addEventListener("error", () => { show(false, "not connected"); fresh = true; });
  if (every) setInterval(() => { if (document.visibilityState === "visible") look(); }, every);
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}

function show(on, words = "live") {
  const sign = document.getElementById("live");
  sign.dataset.state = on ? "on" : "lost";
  sign.lastElementChild.textContent = words;
  document.getElementById("lost").hidden = on;
}

export function look() {
  pending = running;
  if (running) return;
  running = true;
  setTimeout(refresh, Math.max(0, last + AT_MOST_EVERY - Date.now()));
}

async function refresh() {
  last = Date.now();
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "error" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (answer.status === 503) tell(fresh); // no daemon: what was there is better than nothing
    else swap(fresh);
  } catch {
    // The connection is gone; the source says so and tries again.
  }
  running = false;
  if (pending) look();
}

function tell(fresh) {
  const told = fresh.querySelector("#lost span");
  if (told) document.querySelector("#lost span").textContent = told.textContent;
  return Boolean(told);
}

function swap(fresh) {
  if (!tell(fresh)) return; // not a page of ours
  let before = document.getElementById("lost");
  const there = new Set();
  for (const part of fresh.querySelectorAll("[data-live]")) {
    there.add(part.id);
    const old = document.getElementById(part.id);
    const now = plain(part);
    if (old && (served.get(old) === now || busy(old))) {
      before = old;
      continue;
    }
    const shown = document.adoptNode(part);
    served.set(shown, now);
    if (old) {
      keep(old, shown);
      old.replaceWith(shown);
    } else {
      before.after(shown);
    }
    before = shown;
    document.dispatchEvent(new CustomEvent("cm:shown", { detail: shown }));
  }
  for (const old of document.querySelectorAll("[data-live]")) if (!there.has(old.id)) old.remove();
  document.title = fresh.title;
}

// As the server sent it, without the times that go on by themselves.
function plain(part) {
  const copy = part.cloneNode(true);
  for (const each of copy.querySelectorAll(".ticks")) each.textContent = "";
  return copy.outerHTML;
}

// A person is writing or choosing in it, or reads a log to which lines are added.
function busy(part) {
  const at = document.activeElement;
  return part.contains(at) && at.matches("input:not([type=checkbox]), textarea, select");
}

function keep(old, fresh) {
  for (const open of old.querySelectorAll("details[id]")) {
    const same = fresh.querySelector(`#${CSS.escape(open.id)}`);
    if (same) same.open = open.open;
  }
  for (const box of old.querySelectorAll("input[type=checkbox]:checked")) {
    const same = [...fresh.querySelectorAll("input[type=checkbox]")].find((each) => each.value === box.value);
    if (same) same.checked = true;
  }
  const scrolled = [...old.querySelectorAll(".wide")].map((each) => each.scrollLeft);
  queueMicrotask(() => [...fresh.querySelectorAll(".wide")].forEach((each, i) => { each.scrollLeft = scrolled[i] ?? 0; }));
  const focused = old.contains(document.activeElement) && document.activeElement.getAttribute("href");
  if (focused) queueMicrotask(() => fresh.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus());
}
