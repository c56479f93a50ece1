// Words of the page whose contrast to what is behind them is less than 4.5 (WCAG 2.2 AA).
const parse = (said) => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  pen.fillStyle = said;
  pen.fillRect(0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data];
};
const light = (colour) => {
  const [r, g, b] = colour.slice(0, 3).map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const paper = (at) => {
  for (; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour[3] > 250) return colour;
  }
  return parse(getComputedStyle(document.body).backgroundColor);
};
const dim = [];
const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (words.nextNode()) {
  const at = words.currentNode.parentElement;
  if (!words.currentNode.textContent.trim() || !at.checkVisibility() || at.closest("title, script, option")) continue;
  const style = getComputedStyle(at);
  const [one, other] = [light(parse(at instanceof SVGElement ? style.fill : style.color)), light(paper(at))];
  const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (contrast < 4.5) dim.push(`${contrast.toFixed(2)} ${words.currentNode.textContent.trim().slice(0, 60)}`);
}
return dim;
