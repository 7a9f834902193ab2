// What the scripts of all widgets begin with. Files of a widget are joined to one module: see scripts.py.

const GONE = ["restarting", "autorestarting", "terminating", "dead"];

function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined)); // text stays text
  return node;
}

// Puts the focus on the first of these that is on the page: where what had it goes, the keyboard goes on from there.
function focusFirst(...nodes) {
  nodes.find((node) => node?.isConnected && node.getClientRects().length)?.focus({ preventScroll: true });
}

// Keys typed in a widget are no commands to the notebook: x would cut the cell. Notebook 7 hears of a key before the
// widget does; it and JupyterLab pass over an element with this mark. What is typed with Ctrl or Alt gets there.
const MARK = "data-lm-suppress-shortcuts";
const isOurs = ({ ctrlKey, metaKey, altKey }) => !ctrlKey && !metaKey && !altKey;

function markKey(event) {
  const { target } = event;
  if (!isOurs(event) || !target.closest?.(".sutro-table, .sutro-browser, .sutro-panel")) return;
  target.setAttribute(MARK, "true");
  setTimeout(() => target.removeAttribute(MARK)); // when everybody has heard of the key
}

if (!globalThis.__sutroMagicKeys) { // once for a page
  globalThis.__sutroMagicKeys = true;
  window.addEventListener("keydown", markKey, true);
}

// For front ends that do not know the mark.
function keepKey(event) {
  if (isOurs(event)) event.stopPropagation();
}
