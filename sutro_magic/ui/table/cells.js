// Cells of a table, and how a column of them is laid out.

const grouping = new Intl.NumberFormat("en-US"); // made once: toLocaleString makes one for each number
const grouped = (n) => grouping.format(Number(n));
const plural = (n, noun) => `${grouped(n)} ${noun}${n === 1 ? "" : "s"}`;

function cellNode(value, kind, counts = false) {
  if (value === null) return h("span", { class: "st-null", "aria-label": "null", title: "null" }, "∅");
  const [text, length] = Array.isArray(value) ? value : [value, null];
  if (text === "" && kind === "text") {
    return h("span", { class: "st-null", "aria-label": "empty text", title: "empty text" }, '""');
  }
  const odd = kind !== "text" && ["NaN", "inf", "-inf"].includes(text);
  const plain = kind !== "text" && kind !== "nested"; // a node less for each number
  if (plain && !odd && length === null) return document.createTextNode(counts ? grouped(text) : text);
  const node = h("span", { class: odd ? "st-null" : "st-cell", dir: kind === "text" ? "auto" : undefined }, text);
  if (length !== null) {
    const left = typeof length === "number" ? `… (+${grouped(length - text.length)})` : `… (${length})`;
    node.append(h("span", { class: "st-more" }, left));
  }
  return node;
}

const beginning = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);
const quoted = (text, most) => `“${beginning(text, most)}”`; // the text "null" is no null, and spaces are seen

const SHORT = 32;
const LONG = 80;

// How a column is laid out: numbers to the right, short texts on one line, long texts with room.
function layoutClass(column, i, rows) {
  if (column.kind === "number" || column.kind === "duration") return "st-right";
  const lengths = rows.map((row) => (Array.isArray(row[i + 1]) ? LONG + 1 : (row[i + 1] ?? "").length));
  const most = Math.max(0, ...lengths);
  if (most > LONG) return "st-long";
  return most <= SHORT && rows.length ? "st-short" : "st-medium";
}

async function copyText(text) {
  if (navigator.clipboard) { await navigator.clipboard.writeText(text); return; }
  const field = h("textarea", { "aria-hidden": "true", style: "position:fixed;opacity:0" }); // a page without https has no clipboard
  const focused = document.activeElement;
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus({ preventScroll: true });
  if (!done) throw new Error("not copied");
}
