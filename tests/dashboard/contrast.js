// WCAG's contrast of every text on the page with the nearest ground that is not transparent; answers
// those below 4.5, its AA for normal text.
const parts = (color) => color.match(/[\d.]+/g).map(Number);
const linear = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
function ground(node) {
  for (; node; node = node.parentElement) {
    const color = parts(getComputedStyle(node).backgroundColor);
    if ((color[3] ?? 1) > 0.9) return color;
  }
  return [255, 255, 255];
}
function contrast(node) {
  const both = [light(parts(getComputedStyle(node).color)), light(ground(node))];
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}
const speaks = (node) => [...node.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
return [...document.querySelectorAll("body *")]
  .filter((node) => node.offsetParent && speaks(node))
  .map((node) => [`${node.className} ${node.innerText}`, contrast(node)])
  .filter(([, each]) => each < 4.5);
