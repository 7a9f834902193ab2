// What stands around the rows of a table: caption, tools, headings, pager; and its rows until DataTables is there.

const frameMethods = {
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
    const caption = h("div", { class: "st-caption", title: setup.details || null }, ...setup.caption.map((line) => h("div", { dir: "auto" }, line)));
    this.root = h(
      "div",
      {
        class: "sutro-table tex2jax_ignore mathjax_ignore",
        role: "group",
        "aria-label": setup.caption[0] || `table of ${setup.noun}s`,
        "aria-description": setup.details || null,
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
      keepKey(event);
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
  },

  askBundle() {
    clearTimeout(this.bundleTimer);
    if (!this.send({ kind: "bundle", id: `${this.id}-bundle`, page: shared.page })) return;
    this.bundleTimer = setTimeout(() => { if (!shared.DataTable && !this.gone) this.askBundle(); }, ASK_BUNDLE_AGAIN_MS);
  },

  tools() {
    const { noun, columns } = this.setup;
    this.search = h("input", {
      type: "search", class: "st-search", placeholder: `Search ${noun}s`, "aria-label": `search all ${noun}s`,
      oninput: () => { clearTimeout(this.typing); this.typing = setTimeout(() => this.redraw(), TYPING_MS); },
    });
    this.search.hidden = !this.setup.searchable;
    const button = (label, title, onclick) => h("button", { type: "button", class: "st-button", title, onclick }, label);
    this.summaries = button("Summaries", "what each column holds: nulls, distinct values, ranges", () => this.showSummaries(!this.root.classList.contains("st-summaries")));
    return h(
      "div", { class: "st-tools" }, this.search,
      button("Shuffle", `${noun}s in random order: a fair sample to look at`, () => this.shuffle()),
      columns.length > 1 ? button("Columns", "show and hide columns", () => this.showColumns()) : null,
      this.summaries,
      this.setup.prompts ? button("Fetch prompts", "add the column of prompts", () => this.showPrompts()) : null,
      this.setup.bind ? button("Bind…", "make a variable of only the rows that are shown or ticked", () => this.showBind()) : null,
      this.status,
    );
  },

  foot() {
    const { noun } = this.setup;
    const go = (label, what, act) => {
      const input = h("input", {
        type: "text", inputmode: "numeric", class: "st-go", "aria-label": what,
        onkeydown: (event) => {
          if (event.key !== "Enter") return;
          const typed = input.value.trim();
          if (!typed) { this.complain(""); return; }
          if (!/^-?(\d+|\d{1,3}(,\d{3})+)$/.test(typed)) { this.complain(`${typed} is not a whole number.`); return; }
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
  },

  drawHead() {
    const cells = this.setup.columns.map((column, i) => {
      const title = h("span", { class: "st-title", dir: "auto" }, column.name || " ");
      const menu = h("button", {
        type: "button", class: "st-menu", title: "sort, filter, hide", "aria-label": `column ${column.name}: sort, filter, hide`,
        onclick: (event) => { event.stopPropagation(); this.showColumn(i); },
        // Otherwise DataTables sorts on Enter here.
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
  },

  leadNode(row) {
    const box = this.setup.ticks
      ? h("input", { type: "checkbox", class: "st-tick", "data-row": row, "aria-label": `tick row ${row}`,
          onclick: (event) => { event.stopPropagation(); this.tick([row], event.target.checked); } })
      : null;
    if (box) box.checked = this.ticks().has(row);
    return h("span", { class: "st-number" }, box, this.setup.numbered ? ` ${grouped(row)}` : "");
  },

  drawPlain() {
    this.body.replaceChildren(...this.setup.rows.map((row) => h(
      "tr", {},
      this.lead ? h("td", { class: "st-lead" }, this.leadNode(row[0])) : null,
      ...this.setup.columns.map((column, i) => h("td", { class: this.layout[i] }, cellNode(row[i + 1], column.kind, column.counts))),
    )));
    if (!this.setup.rows.length) {
      this.body.append(h("tr", {}, h("td", { colspan: this.setup.columns.length + this.lead, class: "st-none" }, `no ${this.setup.noun}s`)));
    }
  },
};
