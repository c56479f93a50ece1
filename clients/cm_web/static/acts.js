// Actions: the page that asks for confirmation is shown in a dialog. Without this file it is a page of its own.
export function start() {
  const dialog = document.getElementById("act");
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-act]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    open(dialog, link.href);
  });
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (!button?.matches("[data-many]")) return;
    event.preventDefault();
    open(dialog, `${button.formAction}?${new URLSearchParams(new FormData(event.target))}`);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target.closest("[data-close]")) { event.preventDefault(); dialog.close(); }
  });
  dialog.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method === "dialog") return;
    event.preventDefault();
    send(dialog, form);
  });
  dialog.addEventListener("close", () => dialog.replaceChildren());
}

async function open(dialog, address) {
  const answer = await fetch(address).catch(() => null);
  if (!answer) return location.assign(address);
  fill(dialog, await answer.text());
  if (!dialog.open) dialog.showModal();
  (dialog.querySelector("[autofocus]") ?? dialog.querySelector("button"))?.focus();
}

function fill(dialog, text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  dialog.replaceChildren(...page.querySelector("#page").querySelectorAll(":scope > .ask, :scope > section"));
}

async function send(dialog, form) {
  const button = form.querySelector("button.main");
  button.disabled = true; // what is sent twice is done once all the same: the form has a request id
  const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) }).catch(() => null);
  button.disabled = false;
  if (!answer) return;
  if (answer.redirected) dialog.close();
  else fill(dialog, await answer.text());
}
