// The browser's half of PagedTable. Whatever comes from the kernel is text of strangers: it reaches the page
// through textContent only. DataTables turns pages, orders and counts; cells, headings, filters, ticks and the
// pane of one row are drawn here, because its extensions take labels and titles for HTML.

const BUSY_MS = 150;
const SILENT_MS = 8000;
const ASK_BUNDLE_AGAIN_MS = 25000;
const TYPING_MS = 300;
const NUDGE_MS = 14;

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
    this.onSetup = () => {
      const [view, focused] = [this.view(), this.el.contains(document.activeElement)];
      this.teardown();
      this.build(view);
      if (focused) focusFirst(this.search, this.root.querySelector(".st-button"));
    };
    this.onTicks = () => this.showTicks();
    // JupyterLab's manager knows its kernel, others may not; where it is not known, the next query finds out.
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
    try { this.model.send({ kind: "rest" }); } catch { /* no kernel to notify */ }
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

  // --- queries and answers ---

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
      summaries: this.root.classList.contains("st-summaries"),
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
      hidden: view.hidden.map((name) => at(name) + this.lead), summaries: view.summaries,
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
    if (this.restored?.summaries) this.showSummaries(true);
    if (this.restored?.hidden.length) {
      this.dt.columns(this.restored.hidden).visible(false);
      this.drawChips();
    }
    this.dt.on("order", () => { if (this.dt?.order().length) this.seed = null; });
  }

  query(order) {
    return {
      order: order.map(({ column, dir }) => [column - this.lead, dir]),
      search: this.search.value,
      filters: [...this.filters.values()].map(({ asked }) => asked),
      seed: this.seed,
    };
  }

  currentQuestion() {
    return this.query(this.dt.order().filter(([, dir]) => dir).map(([column, dir]) => ({ column, dir })));
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
    const query = this.query(request.order.filter(({ dir }) => dir));
    this.drawChips();
    let answer = await this.ask("page", { start: request.start, length: request.length, query }, true);
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

  // A query that cannot be answered is taken back: the table goes on with what it showed.
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
    const answer = await this.ask("place", { row, query: this.currentQuestion() });
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
    const focused = this.chips.contains(document.activeElement);
    this.chips.replaceChildren(...chips);
    if (focused) focusFirst(this.chips.querySelector("button"), this.search, this.root.querySelector(".st-button"));
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
}

Object.assign(TableView.prototype, frameMethods, panelMethods, rowMethods, summaryMethods);

export default { render };
