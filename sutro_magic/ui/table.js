// The browser's half of PagedTable. Whatever comes from the kernel is text of strangers: it reaches the page
// through textContent only. DataTables turns pages, orders and counts; cells, headings, filters, ticks and the
// pane of one row are drawn here, because its extensions take labels and titles for HTML.

const BUSY_MS = 150;
const SILENT_MS = 8000;
const ASK_BUNDLE_AGAIN_MS = 25000;
const TYPING_MS = 300;
const NUDGE_MS = 14;
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

const grouping = new Intl.NumberFormat("en-US"); // made once: toLocaleString makes one for each number
const grouped = (n) => grouping.format(Number(n));
const plural = (n, noun) => `${grouped(n)} ${noun}${n === 1 ? "" : "s"}`;

// --- the bundle, once for a page of the browser ------------------------------------------------------------

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

// --- cells --------------------------------------------------------------------------------------------------

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

const MOST_NAMED = 3;
const ONE_LINE = 26;
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

function render({ model, el }) {
  const view = new TableView(model, el);
  view.build();
  return () => view.destroy();
}

class TableView {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    this.pending = new Map();
    this.number = 0;
    this.id = Math.random().toString(36).slice(2);
    this.onMessage = (message, buffers) => this.receive(message, buffers);
    this.onSetup = () => { const view = this.view(); this.teardown(); this.build(view); };
    this.onTicks = () => this.showTicks();
    // JupyterLab's manager knows its kernel, others may not; where it is not known, the next question finds out.
    this.kernel = model.widget_manager?.kernel;
    this.onStatus = (_, status) => { if (GONE.includes(status)) this.die(); };
    this.kernel?.statusChanged?.connect(this.onStatus);
    model.on("msg:custom", this.onMessage);
    model.on("change:_setup", this.onSetup);
    model.on("change:selected_rows", this.onTicks);
  }

  destroy() {
    this.kernel?.statusChanged?.disconnect(this.onStatus);
    this.model.off("msg:custom", this.onMessage);
    this.model.off("change:_setup", this.onSetup);
    this.model.off("change:selected_rows", this.onTicks);
    this.teardown();
    try { this.model.send({ kind: "rest" }); } catch { /* no kernel to be told */ }
    if (shared.DataTable || shared.loading) return;
    // The bundle may have been on its way to this view: under a new name, the others are sent it again.
    shared.page = newName();
    for (const view of shared.waiting) { view.askBundle(); break; }
  }

  teardown() {
    this.gone = true;
    shared.waiting.delete(this);
    clearTimeout(this.busyTimer);
    clearTimeout(this.silentTimer);
    clearTimeout(this.bundleTimer);
    clearTimeout(this.typing);
    this.seen?.disconnect();
    this.dt?.destroy();
    this.dt = null;
    this.pending.clear();
    this.el.replaceChildren();
  }

  // --- questions and answers ---

  ask(kind, content = {}, page = false) {
    const id = `${this.id}-${++this.number}`;
    if (page) for (const [other, asked] of this.pending) if (asked.page) this.pending.delete(other);
    return new Promise((resolve) => {
      this.pending.set(id, { resolve, page });
      if (!this.send({ kind, id, ...content })) return;
      this.watch();
      // Jupyter's server holds the answer back until the browser has acknowledged the packet before it, which
      // browsers put off for 40 ms unless there is something to send.
      setTimeout(() => { if (this.pending.has(id)) this.send({ kind: "nudge" }); }, NUDGE_MS);
    });
  }

  send(message) {
    try {
      this.model.send(message);
      return true;
    } catch { // the line to the kernel is cut
      this.die();
      return false;
    }
  }

  die() {
    this.pending.clear();
    clearTimeout(this.bundleTimer);
    this.watch();
    this.root.classList.add("jupyter-widgets-disconnected");
    // The field of the search goes with all that needs a kernel, but the rows are what was searched for.
    const searched = this.shown?.search;
    if (searched && !this.chips.querySelector(".st-searched")) {
      this.chips.prepend(h("span", { class: "st-chip st-searched" }, `search “${beginning(searched, 40)}”`));
    }
  }

  watch() {
    clearTimeout(this.busyTimer);
    clearTimeout(this.silentTimer);
    const busy = this.pending.size > 0;
    if (!busy) { this.root.classList.remove("st-busy"); this.root.removeAttribute("aria-busy"); this.say(""); return; }
    this.busyTimer = setTimeout(() => {
      this.root.classList.add("st-busy");
      this.root.setAttribute("aria-busy", "true");
      this.say("Working…");
    }, BUSY_MS);
    this.silentTimer = setTimeout(() => {
      this.say("No answer yet: the kernel is busy with another cell, or was restarted. If so, run this cell again.");
    }, SILENT_MS);
  }

  // What somebody has made of the table, by the names of columns: it outlives new columns.
  view() {
    if (!this.dt) return null;
    const { columns } = this.setup;
    return {
      search: this.search.value, seed: this.seed, open: this.open, start: this.dt.page.info().start, length: this.dt.page.len(),
      filters: [...this.filters].map(([i, filter]) => [columns[i].name, filter]),
      order: this.dt.order().filter(([column, dir]) => dir && column >= this.lead).map(([column, dir]) => [columns[column - this.lead].name, dir]),
      hidden: columns.filter((_, i) => !this.dt.column(i + this.lead).visible()).map(({ name }) => name),
    };
  }

  restore(view) {
    const at = (name) => this.setup.columns.findIndex((column) => column.name === name);
    this.search.value = view.search;
    this.seed = view.seed;
    this.filters = new Map(view.filters.map(([name, { asked, text }]) => [at(name), { asked: { ...asked, column: at(name) }, text }]));
    const { total, rows } = this.setup;
    this.shown = { start: 0, order: [], search: "", filters: new Map(), seed: null, answer: { total, found: total, rows } };
    if (view.open !== null) this.afterDraw = () => this.showRow(view.open);
    this.restored = {
      order: view.order.map(([name, dir]) => [at(name) + this.lead, dir]), displayStart: view.start, pageLength: view.length,
      hidden: view.hidden.map((name) => at(name) + this.lead),
    };
  }

  receive(message, buffers) {
    if (message.bundle && buffers?.length === 2) takeBundle(buffers.map((b) => b.buffer ? new Uint8Array(b.buffer, b.byteOffset, b.byteLength) : b));
    const asked = this.pending.get(message.to);
    if (!asked) return;
    this.pending.delete(message.to);
    this.watch();
    if (message.error) this.complain(`${message.error}${message.hint ? " " + message.hint : ""}`);
    else this.complain("");
    asked.resolve(message);
  }

  say(text) { this.status.textContent = text; }

  complain(text) {
    this.problem.textContent = text;
    this.problem.hidden = !text;
  }

  // --- the frame ---

  build(view = null) {
    const state = this.model.get("_setup");
    const setup = (this.setup = { ...state, rows: JSON.parse(state.rows) });
    this.gone = false;
    this.filters = new Map();
    this.seed = null;
    this.shown = null;
    this.open = null;
    this.layout = setup.columns.map((column, i) => layoutClass(column, i, setup.rows));
    this.lead = setup.numbered || setup.ticks ? 1 : 0;
    this.status = h("span", { class: "st-status", role: "status", "aria-live": "polite" });
    this.problem = h("div", { class: "st-problem", role: "alert" });
    this.problem.hidden = true;
    this.panel = h("div", { class: "st-panel" });
    this.panel.hidden = true;
    this.pane = h("div", { class: "st-pane", role: "region", "aria-label": `one ${setup.noun}`, tabindex: "-1" });
    this.pane.hidden = true;
    this.chips = h("div", { class: "st-chips" });
    this.place = h("div", { class: "st-place" });
    this.head = h("thead");
    this.body = h("tbody");
    this.table = h("table", { class: `${setup.classes} st-grid`, style: "width:100%", "aria-label": `${plural(setup.total, setup.noun)}, one page of them` }, this.head, this.body);
    this.place.append(h("div", { class: "st-scroll" }, this.table));
    const caption = h("div", { class: "st-caption" }, ...setup.caption.map((line) => h("div", { dir: "auto" }, line)));
    this.root = h(
      "div",
      {
        class: "sutro-table tex2jax_ignore mathjax_ignore",
        role: "group",
        "aria-label": setup.caption[0] || `table of ${setup.noun}s`,
      },
      h("div", { class: "st-dead", role: "alert" },
        "The kernel behind this table is gone: these are the rows it showed last. Run the cell again."),
      caption, this.tools(), this.problem, this.chips, this.panel, this.place, this.foot(), this.pane,
    );
    // Of the hidden static table only the class is known; it is a name of our own.
    if (/^[\w-]+$/.test(setup.hides)) {
      const hidden = `.${setup.hides}, .jp-OutputArea-child:has(.${setup.hides})`;
      this.root.append(h("style", {}, `${hidden} { display: none !important }`));
    }
    this.drawHead();
    this.drawPlain();
    this.root.addEventListener("keydown", (event) => {
      this.onKey(event);
      // Else x, typed on a row, would cut the cell; what is typed with Ctrl or Alt still reaches the notebook.
      if (!event.ctrlKey && !event.metaKey && !event.altKey) event.stopPropagation();
    });
    this.el.classList.add("sutro-results");
    this.el.replaceChildren(this.root);
    this.showTicks();
    this.restored = null;
    if (view) this.restore(view);
    if (shared.DataTable) this.start();
    else {
      shared.waiting.add(this);
      this.askBundle();
    }
  }

  askBundle() {
    clearTimeout(this.bundleTimer);
    if (!this.send({ kind: "bundle", id: `${this.id}-bundle`, page: shared.page })) return;
    this.bundleTimer = setTimeout(() => { if (!shared.DataTable && !this.gone) this.askBundle(); }, ASK_BUNDLE_AGAIN_MS);
  }

  tools() {
    const { noun, columns } = this.setup;
    this.search = h("input", {
      type: "search", class: "st-search", placeholder: `Search ${noun}s`, "aria-label": `search all ${noun}s`,
      oninput: () => { clearTimeout(this.typing); this.typing = setTimeout(() => this.redraw(), TYPING_MS); },
    });
    const button = (label, title, onclick) => h("button", { type: "button", class: "st-button", title, onclick }, label);
    const summaries = button("Summaries", "what each column holds: nulls, distinct values, ranges", () => {
      const on = this.root.classList.toggle("st-summaries");
      summaries.setAttribute("aria-pressed", on);
      this.drawChips();
      if (on) this.summarize();
    });
    return h(
      "div", { class: "st-tools" }, this.search,
      button("Shuffle", `${noun}s in random order: a fair sample to look at`, () => this.shuffle()),
      columns.length > 1 ? button("Columns", "show and hide columns", () => this.showColumns()) : null,
      summaries,
      this.setup.prompts ? button("Fetch prompts", "add the column of prompts", () => this.showPrompts()) : null,
      this.setup.bind ? button("Bind…", "make a variable of only the rows that are shown or ticked", () => this.showBind()) : null,
      this.status,
    );
  }

  foot() {
    const { noun } = this.setup;
    const go = (label, what, act) => {
      const input = h("input", {
        type: "text", inputmode: "numeric", class: "st-go", "aria-label": what,
        onkeydown: (event) => {
          if (event.key !== "Enter") return;
          const typed = input.value.trim();
          if (!typed) { this.complain(""); return; }
          if (!/^-?(\d+|\d{1,3}(,\d{3})+)$/.test(typed)) { this.complain(`${typed} is no whole number.`); return; }
          const number = Number(typed.replaceAll(",", ""));
          if (!Number.isSafeInteger(number)) { this.complain(`${typed} is too large.`); return; }
          input.value = ""; // it says where to go, not where one is
          act(number);
        },
      });
      return h("label", {}, label, " ", input);
    };
    this.goTo = h(
      "div", { class: "st-goto" },
      go("page", "go to page", (page) => {
        const { pages } = this.dt.page.info();
        if (!pages) this.complain(`No ${noun}s are found, so there is no page.`);
        else if (page < 1 || page > pages) this.complain(`Pages go from 1 to ${grouped(pages)}.`);
        else { this.complain(""); this.dt.page(page - 1).draw("page"); }
      }),
      this.setup.numbered ? go(noun, `go to ${noun}, by its number`, (row) => this.goToRow(row)) : null,
    );
    this.goTo.hidden = true;
    this.footer = h("div", { class: "st-foot" }, h("span", {}, `${plural(this.setup.total, noun)}; the rest comes when the kernel is free`));
    return this.footer;
  }

  drawHead() {
    const cells = this.setup.columns.map((column, i) => {
      const title = h("span", { class: "st-title", dir: "auto" }, column.name || " ");
      const menu = h("button", {
        type: "button", class: "st-menu", title: "sort, filter, hide", "aria-label": `column ${column.name}: sort, filter, hide`,
        onclick: (event) => { event.stopPropagation(); this.showColumn(i); },
        // Else DataTables takes Enter here for a wish to sort.
        onkeypress: (event) => event.stopPropagation(),
      }, "▾");
      const summary = h("div", { class: "st-summary", onclick: (event) => event.stopPropagation() });
      return h("th", { scope: "col", class: this.layout[i], "data-column": i }, h("div", { class: "st-head" }, title, menu), summary);
    });
    if (this.lead) {
      const all = this.setup.ticks
        ? h("input", {
            type: "checkbox", class: "st-tick-all", "aria-label": "tick all rows of this page",
            onclick: (event) => { event.stopPropagation(); this.tickPage(event.target.checked); },
          })
        : null;
      this.tickAll = all;
      cells.unshift(h("th", { scope: "col", class: "st-lead" }, all, this.setup.numbered ? h("span", { title: "place in the job, from 0" }, " row") : ""));
    }
    this.head.replaceChildren(h("tr", {}, ...cells));
  }

  leadNode(row) {
    const box = this.setup.ticks
      ? h("input", { type: "checkbox", class: "st-tick", "data-row": row, "aria-label": `tick row ${row}`,
          onclick: (event) => { event.stopPropagation(); this.tick([row], event.target.checked); } })
      : null;
    if (box) box.checked = this.ticks().has(row);
    return h("span", { class: "st-number" }, box, this.setup.numbered ? ` ${grouped(row)}` : "");
  }

  drawPlain() {
    this.body.replaceChildren(...this.setup.rows.map((row) => h(
      "tr", {},
      this.lead ? h("td", { class: "st-lead" }, this.leadNode(row[0])) : null,
      ...this.setup.columns.map((column, i) => h("td", { class: this.layout[i] }, cellNode(row[i + 1], column.kind, column.counts))),
    )));
    if (!this.setup.rows.length) {
      this.body.append(h("tr", {}, h("td", { colspan: this.setup.columns.length + this.lead, class: "st-none" }, `no ${this.setup.noun}s`)));
    }
  }

  // --- DataTables ---

  start() {
    const { setup } = this;
    const { noun } = setup;
    clearTimeout(this.bundleTimer);
    this.body.replaceChildren();
    const columns = setup.columns.map((column, i) => ({
      data: i + 1, ariaTitle: column.name || "unnamed", orderable: column.sortable, className: this.layout[i], type: "string",
      render: (value, type) => (type === "display" ? cellNode(value, column.kind, column.counts) : ""),
    }));
    if (this.lead) {
      columns.unshift({ data: 0, orderable: false, className: "st-lead", render: (row, type) => (type === "display" ? this.leadNode(row) : "") });
    }
    this.dt = new shared.DataTable(this.table, {
      serverSide: true, processing: false, autoWidth: false, searching: false, deferRender: false,
      ajax: (request, done) => this.page(request, done),
      columns, orderMulti: true, lengthMenu: setup.lengths,
      order: this.restored?.order ?? [], pageLength: this.restored?.pageLength ?? setup.length, displayStart: this.restored?.displayStart ?? 0,
      pagingType: "simple_numbers",
      layout: {
        topStart: null, topEnd: null, top: null,
        bottomStart: ["info", "pageLength"], bottomEnd: ["paging", () => this.goTo],
      },
      language: {
        emptyTable: `no ${noun}s`, zeroRecords: `no ${noun}s found`,
        info: `${noun}s _START_ to _END_ of _TOTAL_`, infoEmpty: `no ${noun}s`, infoFiltered: "found among _MAX_",
        lengthMenu: "_MENU_ on a page", thousands: ",",
        aria: { orderable: ": press to sort, with Shift to sort by it as well", orderableReverse: ": press to turn around" },
      },
      createdRow: (tr, row) => {
        tr.tabIndex = -1;
        tr.dataset.row = row[0];
        tr.addEventListener("click", (event) => {
          const marked = getSelection(); // somebody marks text of this row to copy it
          const marking = marked.type === "Range" && tr.contains(marked.anchorNode);
          if (!marking && !event.target.closest("input,button")) this.showRow(row[0]);
        });
      },
      drawCallback: () => this.drawn(),
    });
    this.goTo.hidden = setup.total === 0;
    this.footer.replaceChildren();
    if (this.restored?.hidden.length) {
      this.dt.columns(this.restored.hidden).visible(false);
      this.drawChips();
    }
    this.dt.on("order", () => { if (this.dt?.order().length) this.seed = null; });
  }

  question(order) {
    return {
      order: order.map(({ column, dir }) => [column - this.lead, dir]),
      search: this.search.value,
      filters: [...this.filters.values()].map(({ asked }) => asked),
      seed: this.seed,
    };
  }

  currentQuestion() {
    return this.question(this.dt.order().filter(([, dir]) => dir).map(([column, dir]) => ({ column, dir })));
  }

  async page(request, done) {
    const asked = {
      start: request.start, search: this.search.value, filters: new Map(this.filters), seed: this.seed,
      order: request.order.filter(({ dir }) => dir).map(({ column, dir }) => [column, dir]),
    };
    if (!this.shown) { // the first page came with the widget
      const { total, rows } = this.setup;
      this.shown = { ...asked, search: "", filters: new Map(), seed: null, answer: { total, found: total, rows } };
      done({ draw: request.draw, recordsTotal: total, recordsFiltered: total, data: rows });
      // What was typed before DataTables was there is asked now.
      if (asked.search || asked.seed !== null) setTimeout(() => this.redraw());
      return;
    }
    const question = this.question(request.order.filter(({ dir }) => dir));
    this.drawChips();
    let answer = await this.ask("page", { start: request.start, length: request.length, question }, true);
    if (answer.superseded || this.gone) return;
    if (answer.error) answer = this.takeBack(asked);
    else {
      const condition = ({ search, filters }) => JSON.stringify([search, [...filters].map(([, { asked }]) => asked)]);
      const searched = condition(asked) !== condition(this.shown);
      // The pane of a row that is no longer among those found would speak of something else.
      if (searched && !answer.rows.some(([row]) => row === this.open)) { this.open = null; this.pane.hidden = true; }
      this.shown = { ...asked, answer };
      this.drawChips();
    }
    done({ draw: request.draw, recordsTotal: answer.total, recordsFiltered: answer.found, data: answer.rows });
    if (answer.found && request.start >= answer.found) this.dt.page("last").draw("page");
  }

  // A question that cannot be answered is taken back: the table goes on with what it showed.
  takeBack(asked) {
    const { search, filters, seed, order, start, answer } = this.shown;
    if (this.search.value === asked.search) this.search.value = search;
    this.filters = new Map(filters);
    this.dt.order(order);
    this.seed = seed;
    this.dt.page(Math.floor(start / this.dt.page.len()));
    this.drawChips();
    return answer;
  }

  redraw() { if (this.dt) { this.complain(""); this.dt.draw(); } }

  drawn() {
    const trs = this.rows();
    const { start } = this.dt?.page.info() ?? { start: 0 };
    if (start !== this.drawnFrom) { // another page is read from its top
      const scrolled = this.table.closest(".dt-layout-cell");
      if (scrolled) scrolled.scrollTop = 0;
      this.drawnFrom = start;
    }
    if (trs.length) trs[0].tabIndex = 0;
    this.showTicks();
    this.showOrder();
    if (this.afterDraw) { const then = this.afterDraw; this.afterDraw = null; then(); }
    this.markOpen();
  }

  // Which of several columns comes first: DataTables shows their arrows alike.
  showOrder() {
    for (const old of this.head.querySelectorAll(".st-order")) old.remove();
    const keys = (this.dt?.order() ?? []).filter(([, dir]) => dir);
    if (keys.length < 2) return;
    keys.forEach(([column], i) => this.dt.column(column).header().querySelector(".st-head")?.append(
      h("span", { class: "st-order", "aria-label": `key ${i + 1} of the order`, title: `key ${i + 1} of the order` }, `${i + 1}`)));
  }

  rows() { return [...this.body.querySelectorAll("tr[data-row]")]; }

  shuffle() {
    this.dt?.order([]);
    this.seed = Math.floor(Math.random() * 1e6);
    this.redraw();
  }

  async goToRow(row) {
    const answer = await this.ask("place", { row, question: this.currentQuestion() });
    if (answer.error) return;
    const page = Math.floor(answer.place / this.dt.page.len());
    this.afterDraw = () => { this.focusRow(row); if (this.open !== null) this.showRow(row); };
    this.dt.page(page).draw("page");
  }

  focusRow(row) {
    const tr = this.body.querySelector(`tr[data-row="${row}"]`);
    if (!tr) return;
    for (const other of this.rows()) other.tabIndex = -1;
    tr.tabIndex = 0;
    tr.focus();
  }

  // --- what is asked, as chips ---

  drawChips() {
    const chip = (text, label, undo) => h("span", { class: "st-chip" }, text,
      h("button", { type: "button", "aria-label": label, title: label, onclick: undo }, "✕"));
    const chips = [...this.filters].map(([i, { text }]) => chip(
      `${this.setup.columns[i].name} ${text}`, "take this filter away",
      () => { this.filters.delete(i); this.redraw(); this.hidePanel(); }));
    if (this.seed !== null) {
      chips.unshift(chip(`shuffled, seed ${this.seed}`, "back to the job's order", () => { this.seed = null; this.redraw(); }));
    }
    const ticked = this.setup.ticks ? this.ticks().size : 0;
    if (ticked) {
      chips.push(chip(`${plural(ticked, "row")} ticked`, "untick all", () => { this.tick([...this.ticks()], false); }));
    }
    const hidden = this.dt ? this.setup.columns.map((_, i) => i).filter((i) => !this.dt.column(i + this.lead).visible()) : [];
    if (hidden.length) {
      chips.push(chip(`${plural(hidden.length, "column")} hidden`, "show all columns", () => { this.hidePanel(); this.showOrHide(hidden, true); }));
    }
    const { answer } = this.shown ?? {};
    if (answer && answer.found < answer.total && this.root.classList.contains("st-summaries")) {
      chips.push(h("span", { class: "st-status" }, `summaries are of all ${plural(answer.total, this.setup.noun)}`));
    }
    this.chips.replaceChildren(...chips);
  }

  // --- the panel above the table ---

  showPanel(name, ...children) {
    if (!this.panel.hidden && this.panel.dataset.name === name) { this.hidePanel(); return false; }
    if (!this.panel.contains(document.activeElement)) this.opener = document.activeElement;
    this.panel.dataset.name = name;
    this.countParts = null;
    this.panel.replaceChildren(...children, h("button", { type: "button", class: "st-close", title: "close (Esc)", "aria-label": "close", onclick: () => this.hidePanel() }, "✕"));
    this.panel.hidden = false;
    this.panel.querySelector("input,select,button")?.focus();
    return true;
  }

  hidePanel() {
    const focused = this.panel.contains(document.activeElement);
    this.panel.hidden = true;
    this.panel.dataset.name = "";
    this.countParts = null;
    if (focused) this.opener?.focus();
  }

  showColumns() {
    if (!this.dt) return;
    const boxes = this.setup.columns.map((_, i) => {
      const box = h("input", { type: "checkbox", onchange: () => this.showOrHide([i], box.checked) });
      box.checked = this.dt.column(i + this.lead).visible();
      return box;
    });
    const all = (label, on) => h("button", { type: "button", class: "st-button", onclick: () => {
      for (const box of boxes) box.checked = on;
      this.showOrHide(boxes.map((_, i) => i), on);
    } }, label);
    const labels = boxes.map((box, i) => h("label", { class: "st-choice", dir: "auto" }, box, " ", this.setup.columns[i].name || " "));
    this.showPanel("columns", h("b", {}, "Columns"), all("Show all", true), all("Hide all", false),
      h("div", { class: "st-list", role: "group", "aria-label": "columns" }, ...labels));
  }

  showOrHide(columns, on) {
    this.dt.columns(columns.map((i) => i + this.lead)).visible(on);
    this.drawChips();
    if (on && this.root.classList.contains("st-summaries")) this.summarize();
  }

  async showColumn(i) {
    if (!this.dt) return;
    const column = this.setup.columns[i];
    const button = (label, act) => h("button", { type: "button", class: "st-button", onclick: act }, label);
    const sorts = column.sortable
      ? ["asc", "desc"].map((dir) => button(dir === "asc" ? "Sort ▲" : "Sort ▼", () => { this.seed = null; this.dt.order([[i + this.lead, dir]]).draw(); }))
      : [];
    const filter = h("div", { class: "st-filter" });
    const shown = this.showPanel(
      `column ${i}`, h("b", { dir: "auto" }, column.name), ...sorts,
      button("Hide", () => { this.showOrHide([i], false); this.hidePanel(); }), filter,
    );
    if (shown) this.drawFilter(filter, i, column);
  }

  async drawFilter(place, i, column) {
    const before = this.filters.get(i)?.asked;
    const set = (asked, text) => {
      if (asked) this.filters.set(i, { asked: { column: i, ...asked }, text }); else this.filters.delete(i);
      this.redraw();
      for (const reset of resets) reset(asked?.kind);
    };
    const resets = []; // a column has one filter: what another kind of it was made of is emptied
    const choose = (choices, name) => {
      const select = h("select", { "aria-label": name }, ...choices.map(([value, label]) => h("option", { value }, label)));
      return select;
    };
    const nulls = [["null", "is null"], ["not null", "is not null"]];
    const has = (wanted) => wanted.some(([value]) => value === before?.kind);
    const apply = (act) => h("button", { type: "button", class: "st-button st-apply", onclick: act }, "Filter");
    const onEnter = (act) => (event) => { if (event.key === "Enter") act(); };
    const parts = [];
    if (column.kind === "text") {
      const choices = [["contains", "contains"], ["equals", "equals"], ["starts", "starts with"], ["empty", "is empty"], ...nulls];
      const how = choose(choices, "condition");
      how.title = "contains finds any case; equals and starts with want the very letters";
      const act = () => {
        const label = choices.find(([value]) => value === how.value)[1];
        const wordless = ["empty", "null", "not null"].includes(how.value);
        if (!text.value && ["contains", "starts"].includes(how.value)) set(null); // all texts do
        else set(wordless ? { kind: how.value } : { kind: how.value, text: text.value }, wordless ? label : `${label} “${beginning(text.value, 40)}”`);
      };
      const text = h("input", { type: "text", "aria-label": "text", onkeydown: onEnter(act) });
      if (before && has(choices)) { how.value = before.kind; text.value = before.text ?? ""; }
      resets.push((kind) => { if (kind !== how.value) text.value = ""; });
      parts.push(how, text, apply(act));
    } else if (column.kind === "number" || column.kind === "time") {
      const hint = column.kind === "time" ? "2026-01-31 12:00" : "";
      const act = () => {
        const [min, max] = [low.value.trim(), high.value.trim()];
        const text = [min && `from ${min}`, max && `to ${max}`].filter(Boolean).join(" ");
        set(text ? { kind: "range", min, max } : null, text);
      };
      const low = h("input", { type: "text", "aria-label": "from", placeholder: hint, onkeydown: onEnter(act) });
      const high = h("input", { type: "text", "aria-label": "to", placeholder: hint, onkeydown: onEnter(act) });
      if (before?.kind === "range") { low.value = before.min; high.value = before.max; }
      resets.push((kind) => { if (kind !== "range") low.value = high.value = ""; });
      parts.push("from ", low, " to ", high, apply(act));
    }
    if (column.kind !== "text") {
      parts.push(...nulls.map(([kind, label]) => h("button", { type: "button", class: "st-button", onclick: () => set({ kind }, label) }, label)));
    }
    parts.push(h("button", { type: "button", class: "st-button", onclick: () => set(null) }, "Clear"));
    place.append(h("div", { class: "st-conditions" }, ...parts));
    if (!["text", "bool", "number"].includes(column.kind)) return;
    const answer = await this.ask("values", { column: i });
    if (!answer.values?.length) return;
    const ticked = new Set(before?.kind === "values" ? before.ticked : []);
    const list = answer.values.map(([value, count], number) => {
      const box = h("input", { type: "checkbox", onchange: () => {
        box.checked ? ticked.add(number) : ticked.delete(number);
        const names = [...ticked].map((at) => answer.values[at][0]).map((name) => (name === null ? "null" : beginning(name, 30) || '""'));
        const text = names.length > MOST_NAMED ? `is one of ${names.length} values` : `is ${names.join(" or ")}`;
        set(ticked.size ? { kind: "values", ticked: [...ticked] } : null, text);
      } });
      box.checked = ticked.has(number);
      return h("label", { class: "st-choice" }, box, " ", cellNode(value, "text"), " ", h("span", { class: "st-more" }, grouped(count)));
    });
    resets.push((kind) => {
      if (kind === "values") return;
      ticked.clear();
      for (const label of list) label.querySelector("input").checked = false;
    });
    place.append(h("div", { class: "st-list", role: "group", "aria-label": "values" }, ...list));
  }

  async showPrompts() {
    const said = h("span", {}, "Looking how large they are…");
    const fetch = h("button", { type: "button", class: "st-button", onclick: async () => {
      fetch.disabled = true;
      said.textContent = "Fetching…";
      const answer = await this.ask("prompts");
      if (answer.error) { fetch.disabled = false; said.textContent = "They could not be fetched."; }
    } }, "Fetch the prompts");
    if (!this.showPanel("prompts", h("b", {}, "Prompts"), said, fetch)) return;
    const answer = await this.ask("prompts_size");
    if (answer.said) said.textContent = answer.said;
  }

  showBind() {
    const { types, type } = this.setup.bind;
    let looking = 0;
    let warned = ""; // the name of which somebody has read what it holds now
    const look = async () => {
      const typed = name.value.trim();
      const { said: now, taken } = typed ? await this.ask("holds", { name: typed }) : {};
      if (name.value.trim() !== typed) return false;
      said.textContent = now ?? "";
      if (!taken || warned === typed) return true;
      warned = typed;
      return false;
    };
    const name = h("input", {
      type: "text", "aria-label": "name of the variable", placeholder: "name", size: 14,
      onkeydown: (event) => { if (event.key === "Enter") bind(); },
      oninput: () => { clearTimeout(looking); looking = setTimeout(look, TYPING_MS); },
    });
    const as = h("select", { "aria-label": "type" }, ...types.map((value) => h("option", { value }, value)));
    as.value = type;
    if (!this.dt) return;
    const [shown, ticked] = ["filtered", "selected"].map((value) => h("option", { value }));
    const part = h("select", { "aria-label": "rows" }, shown, ticked);
    const count = () => {
      shown.textContent = `the ${plural(this.dt.page.info().recordsDisplay, "row")} shown`;
      ticked.textContent = `the ${plural(this.ticks().size, "row")} ticked`;
      ticked.disabled = !this.ticks().size;
      if (ticked.disabled) part.value = "filtered";
    };
    count();
    if (this.ticks().size) part.value = "selected";
    const said = h("span", { role: "status", class: "st-said" });
    const bind = async () => {
      clearTimeout(looking);
      const typed = name.value.trim();
      if (typed && typed !== warned && !(await look())) return; // Enter was faster than the warning
      warned = typed; // bound to this name once, it may be bound to it again
      said.textContent = "";
      const answer = await this.ask("bind", { name: name.value, as: as.value, part: part.value, question: this.currentQuestion() });
      if (answer.said) said.textContent = answer.said;
    };
    if (!this.showPanel("bind", "Bind ", part, " to ", name, " as ", as, h("button", { type: "button", class: "st-button st-apply", title: "with _row, the place of each row in the job", onclick: bind }, "Bind"), said)) return;
    this.countParts = count; // as the table is searched and rows are ticked meanwhile
    name.focus();
  }

  // --- ticks ---

  ticks() { return new Set(this.model.get("selected_rows")); }

  tick(rows, on) {
    const ticks = this.ticks();
    for (const row of rows) on ? ticks.add(row) : ticks.delete(row);
    this.model.set("selected_rows", [...ticks].sort((a, b) => a - b));
    try { this.model.save_changes(); } catch { this.die(); }
    this.showTicks();
  }

  tickPage(on) { this.tick(this.rows().map((tr) => Number(tr.dataset.row)), on); }

  showTicks() {
    if (!this.setup.ticks) return;
    const ticks = this.ticks();
    const boxes = [...this.body.querySelectorAll(".st-tick")];
    for (const box of boxes) {
      box.checked = ticks.has(Number(box.dataset.row));
      box.closest("tr")?.classList.toggle("st-ticked", box.checked);
    }
    this.tickAll.checked = boxes.length > 0 && boxes.every((box) => box.checked);
    this.tickAll.title = "tick all rows of this page";
    this.drawChips();
    this.countParts?.();
  }

  // --- one row ---

  async showRow(row, whole) {
    this.open = row;
    this.markOpen();
    const answer = await this.ask("row", { row, whole });
    if (answer.error || this.open !== row) return;
    const button = (label, title, act) => h("button", { type: "button", class: "st-button", title, onclick: act }, label);
    const fields = answer.values.map((value, i) => {
      const column = this.setup.columns[i];
      const text = value.pretty ?? value.text;
      const shown = text === null || text === "" || column.kind === "number"
        ? h("div", {}, cellNode(text, column.kind, column.counts))
        : h("pre", { dir: "auto", class: value.pretty ? "st-json" : "st-text" }, text);
      const copy = text ? button("Copy", "copy the whole value", async () => {
        let full = value;
        if (value.cut) full = (await this.ask("row", { row, whole: i })).values[i];
        try { await copyText(full.text); copy.textContent = "Copied"; }
        catch { copy.textContent = "Not copied: the browser forbids it"; }
      }) : null;
      const rest = value.cut ? button(`Show all ${grouped(value.length)} characters`, "", () => this.showRow(row, i)) : null;
      const name = column.name === "reasoning_content" ? `${column.name} (how the model got there)` : column.name;
      return h("div", { class: "st-field", "data-field": i }, h("div", { class: "st-name", dir: "auto" }, name, " ", copy), shown, rest);
    });
    const [before, after] = [button("◀ previous", "arrow up", () => this.step(-1)), button("next ▶", "arrow down", () => this.step(1))];
    const [at, { page, pages }] = [this.rows().findIndex((tr) => Number(tr.dataset.row) === row), this.dt.page.info()];
    before.disabled = at === 0 && page === 0;
    after.disabled = at >= 0 && at === this.rows().length - 1 && page === pages - 1;
    this.pane.replaceChildren(
      h("div", { class: "st-bar" }, h("b", {}, this.setup.numbered ? `row ${grouped(row)}` : `one ${this.setup.noun}`),
        before, after,
        button("Close", "Esc", () => this.closeRow())),
      ...fields,
    );
    const opens = this.pane.hidden;
    this.pane.hidden = false;
    this.pane.scrollTop = 0;
    if (opens) this.pane.scrollIntoView({ block: "nearest" }); // below a tall table it would open unseen
  }

  closeRow() {
    const row = this.open;
    this.open = null;
    this.pane.hidden = true;
    this.markOpen();
    if (row !== null) this.focusRow(row);
  }

  markOpen() {
    for (const tr of this.rows()) tr.classList.toggle("st-open", Number(tr.dataset.row) === this.open);
  }

  step(by) {
    const trs = this.rows();
    const from = this.open ?? Number(this.root.querySelector("tr[data-row]:focus")?.dataset.row);
    const at = trs.findIndex((tr) => Number(tr.dataset.row) === from);
    const next = trs[at + by];
    const show = (tr) => { this.focusRow(Number(tr.dataset.row)); if (this.open !== null) this.showRow(Number(tr.dataset.row)); };
    if (next) { show(next); return; }
    const { page, pages } = this.dt.page.info();
    if (page + by < 0 || page + by >= pages) return;
    this.afterDraw = () => { const now = this.rows(); if (now.length) show(by > 0 ? now[0] : now[now.length - 1]); };
    this.dt.page(page + by).draw("page");
  }

  onKey(event) {
    const typing = event.target.closest("input:not([type=checkbox]),select,textarea");
    if (event.key === "Escape") {
      if (!this.panel.hidden) this.hidePanel();
      else if (this.open !== null) this.closeRow();
      else return;
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    const inRows = event.target.closest("tr[data-row]") || event.target.closest(".st-pane");
    if (typing || !inRows || !this.dt) return;
    const tr = event.target.closest("tr[data-row]");
    if (event.key === "ArrowDown") this.step(1);
    else if (event.key === "ArrowUp") this.step(-1);
    else if (event.key === "Enter" && tr && event.target === tr) this.showRow(Number(tr.dataset.row));
    else if (event.key === " " && tr && event.target === tr && this.setup.ticks) this.tick([Number(tr.dataset.row)], !this.ticks().has(Number(tr.dataset.row)));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // --- summaries ---

  summarize() {
    this.seen ??= new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting || target.dataset.asked) continue;
        target.dataset.asked = "yes";
        this.drawSummary(target, Number(target.dataset.column));
      }
    });
    for (const th of this.head.querySelectorAll("th[data-column]")) this.seen.observe(th);
  }

  async drawSummary(th, i) {
    const place = th.querySelector(".st-summary");
    place.replaceChildren(h("div", {}, "…"));
    const { summary } = await this.ask("summary", { column: i });
    if (!summary) { place.replaceChildren(); return; }
    const share = (n) => (summary.rows ? `${((100 * n) / summary.rows).toFixed(n && n < summary.rows / 100 ? 2 : 0)}%` : "");
    const lines = [`${grouped(summary.nulls)} null${summary.nulls ? ` (${share(summary.nulls)})` : ""}${summary.nans ? `, ${grouped(summary.nans)} NaN` : ""}`];
    if (summary.distinct !== null) lines.push(`${summary.estimate ? "about " : ""}${grouped(summary.distinct)} distinct`);
    const nodes = [];
    if (summary.bins.length) {
      const most = Math.max(...summary.bins);
      nodes.push(h("div", { class: "st-bins", role: "img", "aria-label": `histogram from ${summary.lowest} to ${summary.highest}` },
        ...summary.bins.map((n) => h("span", { style: `height:${n ? Math.max(4, (100 * n) / most) : 0}%`, title: plural(n, "row") }))));
    }
    if (summary.lowest !== null) {
      const both = `${summary.lowest} to ${summary.highest}`;
      lines.push(...(both.length > ONE_LINE ? [summary.lowest, `to ${summary.highest}`] : [both]));
    }
    if (summary.mean !== null) lines.push(`mean ${summary.mean}`);
    const commonest = summary.commonest.filter(([, count]) => count > 1).map(([value, count]) => h(
      "div", { class: "st-common", title: plural(count, "row") },
      h("span", { class: "st-share", style: `width:${(100 * count) / summary.rows}%` }), h("span", { class: "st-value" }, cellNode(value, "text")), h("span", { class: "st-more" }, share(count))));
    place.replaceChildren(...nodes, ...lines.map((line) => h("div", {}, line)), ...commonest);
  }
}

export default { render };
