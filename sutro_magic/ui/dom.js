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

// Else keys typed in a widget are commands to the notebook: x would cut the cell. What is typed with Ctrl or Alt gets there.
function keepKeys(event) {
  if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
}
