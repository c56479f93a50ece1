// The log of a job: its end at first, then what is added to it.
const MOST = 400000; // characters that are kept on the page

let stop = null;
let length = 0;

export function start() {
  begin(document.getElementById("log"));
  document.addEventListener("cm:shown", (event) => { if (event.detail?.id === "log") begin(event.detail); });
}

function begin(place) {
  stop?.abort();
  if (!place) return;
  const follow = document.getElementById("follow");
  follow.addEventListener("change", () => { if (follow.checked) read(place); else stop?.abort(); });
  read(place);
}

async function read(place) {
  const lines = document.getElementById("lines");
  lines.textContent = "";
  length = 0;
  stop = new AbortController();
  try {
    const answer = await fetch(`${place.dataset.log}&offset=-${place.dataset.tail}&follow=1`, { signal: stop.signal });
    if (!answer.ok) {
      lines.textContent = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("#problem p")?.textContent ?? answer.statusText;
      return;
    }
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) add(lines, piece.value);
  } catch (error) {
    if (error.name !== "AbortError") add(lines, "\n[The connection was lost.]\n");
  }
}

function add(lines, text) {
  const end = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 20;
  lines.append(text);
  length += text.length;
  while (length > MOST && lines.firstChild !== lines.lastChild) {
    length -= lines.firstChild.length;
    lines.firstChild.remove();
  }
  if (end) lines.scrollTop = lines.scrollHeight;
}
