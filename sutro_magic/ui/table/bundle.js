// DataTables from the bundle of itables, once for a page of the browser: the kernel sends it when a table asks.

const newName = () => crypto.randomUUID?.() ?? String(Math.random());
const shared = (globalThis.__sutroMagicTables ??= { page: newName(), waiting: new Set() });

async function unpack(buffer) {
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

async function takeBundle(buffers) {
  if (shared.DataTable || shared.loading) return;
  shared.loading = true;
  const [script, style] = await Promise.all(buffers.map(unpack));
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const { default: DataTable } = await import(/* webpackIgnore: true */ url);
  URL.revokeObjectURL(url);
  DataTable.ext.errMode = "none";
  document.head.append(h("style", { "data-from": "itables" }, style));
  shared.DataTable = DataTable;
  for (const view of shared.waiting) view.start();
  shared.waiting.clear();
}
