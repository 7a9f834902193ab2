// The panel above a table: columns to show, sort and filter, prompts to fetch, a variable to bind.

const MAX_NAMED = 3;

const panelMethods = {
  showPanel(name, ...children) {
    if (!this.panel.hidden && this.panel.dataset.name === name) { this.hidePanel(); return false; }
    if (!this.panel.contains(document.activeElement)) this.opener = document.activeElement;
    this.panel.dataset.name = name;
    this.countParts = null;
    this.panel.replaceChildren(...children, h("button", { type: "button", class: "st-close", title: "close (Esc)", "aria-label": "close", onclick: () => this.hidePanel() }, "✕"));
    this.panel.hidden = false;
    this.panel.querySelector("input,select,button")?.focus();
    return true;
  },

  hidePanel() {
    const focused = this.panel.contains(document.activeElement);
    this.panel.hidden = true;
    this.panel.dataset.name = "";
    this.countParts = null;
    if (focused) focusFirst(this.opener, this.root.querySelector(".st-button"));
  },

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
  },

  showOrHide(columns, on) {
    this.dt.columns(columns.map((i) => i + this.lead)).visible(on);
    this.drawChips();
    if (on && this.root.classList.contains("st-summaries")) this.summarize();
  },

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
  },

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
        else set(wordless ? { kind: how.value } : { kind: how.value, text: text.value }, wordless ? label : `${label} ${quoted(text.value, 40)}`);
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
    const inList = (value) => (column.kind === "text" && value && (value !== value.trim() || value === "null") ? quoted(value, LONG) : value);
    const list = answer.values.map(([value, count], number) => {
      const box = h("input", { type: "checkbox", onchange: () => {
        box.checked ? ticked.add(number) : ticked.delete(number);
        const names = [...ticked].map((at) => answer.values[at][0]).map((name) => (name === null ? "∅" : column.kind === "text" ? quoted(name, 30) : name));
        const text = names.length > MAX_NAMED ? `is one of ${names.length} values` : `is ${names.join(" or ")}`;
        set(ticked.size ? { kind: "values", ticked: [...ticked] } : null, text);
      } });
      box.checked = ticked.has(number);
      return h("label", { class: "st-choice" }, box, " ", cellNode(inList(value), "text"), " ", h("span", { class: "st-more" }, grouped(count)));
    });
    resets.push((kind) => {
      if (kind === "values") return;
      ticked.clear();
      for (const label of list) label.querySelector("input").checked = false;
    });
    place.append(h("div", { class: "st-list", role: "group", "aria-label": "values" }, ...list));
  },

  async showPrompts() {
    const said = h("span", {}, "Checking how large they are…");
    const fetch = h("button", { type: "button", class: "st-button", onclick: async () => {
      this.search.focus({ preventScroll: true }); // what is disabled has no focus
      fetch.disabled = true;
      said.textContent = "Fetching…";
      const answer = await this.ask("prompts");
      if (answer.error) { fetch.disabled = false; said.textContent = "They could not be fetched."; }
    } }, "Fetch the prompts");
    if (!this.showPanel("prompts", h("b", {}, "Prompts"), said, fetch)) return;
    const answer = await this.ask("prompts_size");
    said.textContent = answer.said ?? "Their size is not known now.";
  },

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
      const answer = await this.ask("bind", { name: name.value, as: as.value, part: part.value, query: this.currentQuestion() });
      if (answer.said) said.textContent = answer.said;
    };
    if (!this.showPanel("bind", "Bind ", part, " to ", name, " as ", as, h("button", { type: "button", class: "st-button st-apply", title: "with _row, the place of each row in the job", onclick: bind }, "Bind"), said)) return;
    this.countParts = count; // as the table is searched and rows are ticked meanwhile
    name.focus();
  },
};
