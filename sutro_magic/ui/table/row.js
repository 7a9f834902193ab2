// One row in full, in a pane below the table, and the keys that go from row to row.

const rowMethods = {
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
  },

  closeRow() {
    const row = this.open;
    this.open = null;
    this.pane.hidden = true;
    this.markOpen();
    if (row !== null) this.focusRow(row);
  },

  markOpen() {
    for (const tr of this.rows()) tr.classList.toggle("st-open", Number(tr.dataset.row) === this.open);
  },

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
  },

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
  },
};
