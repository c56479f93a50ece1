// The page's own script: live updates, keys, confirmations, charts. No framework, no build step.
import { start as live } from "./live.js";
import { start as keys } from "./keys.js";
import { start as acts } from "./acts.js";
import { start as charts } from "./charts.js";
import { start as log } from "./log.js";
import { start as ticks } from "./ticks.js";

live();
keys();
acts();
charts();
log();
ticks();

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  document.dispatchEvent(new CustomEvent("cm:shown"));
});
