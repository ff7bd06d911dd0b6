// Making and changing elements; text goes in as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Writes only what has changed, so that a selection and a screen reader's place survive.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function name(node, classes) {
  if (node.className !== classes) node.className = classes;
}

// Brings a parent's children in line with items: one child for each key, kept while its key is there.
export function keep(parent, known, items, key, make, update) {
  const seen = new Set();
  let before = parent.firstElementChild;
  for (const item of items) {
    const own = key(item);
    seen.add(own);
    if (!known.has(own)) known.set(own, make(item));
    const child = known.get(own);
    update(child, item);
    if (child.node === before) before = before.nextElementSibling;
    else parent.insertBefore(child.node, before);
  }
  for (const [own, child] of known) {
    if (!seen.has(own)) {
      child.node.remove();
      known.delete(own);
    }
  }
}
