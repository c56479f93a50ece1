// Keys: / search, g c, g f, g s and g e go, u up, j k lines, Enter open, x choose, t theme, ? all of them.
const PLACES = { c: "/", f: "/facilities", s: "/schedules", e: "/events" };

let prefix = "";
let at = null; // address of the line that is chosen: lines are drawn anew

export function start() {
  document.addEventListener("keydown", pressed);
  document.getElementById("help").addEventListener("click", help);
  document.addEventListener("cm:shown", () => { if (at) mark(lines().find((line) => address(line) === at), false); });
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, textarea, select");
  if (event.key === "Escape" && typing) { event.target.blur(); return; }
  if ((typing && event.target.type !== "checkbox") || document.querySelector("dialog[open]")) return;
  if (act(event.key)) event.preventDefault();
}

function act(key) {
  if (prefix === "g") {
    prefix = "";
    if (PLACES[key]) { location.assign(PLACES[key]); return true; }
    return false;
  }
  switch (key) {
    case "g": prefix = "g"; setTimeout(() => { prefix = ""; }, 1500); return true;
    case "/": document.getElementById("search").select(); return true;
    case "?": help(); return true;
    case "t": document.getElementById("theme").click(); return true;
    case "j": step(1); return true;
    case "k": step(-1); return true;
    case "u": { const up = [...document.querySelectorAll(".crumbs a")].pop(); if (up) location.assign(up.href); return Boolean(up); }
    case "x": { const box = current()?.querySelector("input[type=checkbox]"); box?.click(); return Boolean(box); }
    case "Enter": {
      const line = current();
      if (!line || document.activeElement.matches("a, button, summary")) return false;
      location.assign(line.querySelector("a.open").href);
      return true;
    }
  }
  return false;
}

const lines = () => [...document.querySelectorAll("#page [data-row]")].filter((line) => line.offsetParent);
const address = (line) => line.querySelector("a.open").getAttribute("href");
const current = () => document.querySelector("[data-row].at");

function step(by) {
  const all = lines();
  if (!all.length) return;
  const here = all.indexOf(current());
  mark(all[here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, here + by))], true);
}

function mark(line, scroll) {
  current()?.classList.remove("at");
  if (!line) return;
  line.classList.add("at");
  at = address(line);
  if (scroll) line.scrollIntoView({ block: "nearest" });
}

function help() { document.getElementById("keys").showModal(); }
