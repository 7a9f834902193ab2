// What the job browser shows: lists, facts, work that goes on. Each is a Panel of the kernel, which says in its
// state what there is to be seen; whatever comes from there is text of strangers and reaches the page through
// textContent only.

const button = (label, title, onclick, more = {}) =>
  h("button", { type: "button", class: "sb-button", title, onclick, ...more }, label);

const badge = (text) => h("span", { class: "sb-badge", "data-status": /^[A-Z]+$/.test(text) ? text : "UNKNOWN" }, text);

function bar(share, text) {
  const known = typeof share === "number";
  return h("div", {
    class: `sb-bar${known ? "" : " sb-bar-unknown"}`, role: "progressbar", "aria-label": text,
    "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": known ? Math.round(100 * share) : undefined,
  }, h("div", { class: "sb-bar-done", style: known ? `width:${(100 * share).toFixed(1)}%` : undefined }));
}

// --- a list of which one can be chosen ----------------------------------------------------------------------

function cell(value, kind) {
  if (kind === "badge") return badge(value);
  if (kind === "name") {
    const [name, id] = value;
    return h("span", { class: "sb-name" }, h("span", { class: "sb-title", dir: "auto" }, name ?? id), name === null ? null : h("span", { class: "sb-id" }, id));
  }
  if (kind === "date" && value) {
    const [day, clock] = value.split(" ");
    return h("span", { title: value }, day, h("span", { class: "sb-clock" }, ` ${clock}`)); // where there is room
  }
  return document.createTextNode(value ?? "–");
}

function drawList(state, root, tell) {
  const { columns, rows, chosen } = state;
  const focused = root.querySelector("tbody")?.contains(document.activeElement);
  const choose = (key) => tell({ kind: "choose", key });
  const move = (tr, by) => {
    const next = by < 0 ? tr.previousElementSibling : tr.nextElementSibling;
    if (next?.dataset.key !== undefined) { next.focus(); choose(Number(next.dataset.key)); }
  };
  const onkeydown = (event) => {
    const tr = event.currentTarget;
    if (event.key === "ArrowDown") move(tr, 1);
    else if (event.key === "ArrowUp") move(tr, -1);
    else if (event.key === "Enter" || event.key === " ") choose(Number(tr.dataset.key));
    else if (event.key === "PageDown" && state.foot?.older) tell({ kind: "page", by: 1 });
    else if (event.key === "PageUp" && state.foot?.newer) tell({ kind: "page", by: -1 });
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const klass = ({ kind, least }) => `sb-${kind}-cell${least ? ` sb-from-${least}` : ""}`;
  const head = h("tr", {}, ...columns.map((column) => h("th", { scope: "col", class: klass(column), title: column.title }, column.name, column.kind === "date" ? h("span", { class: "sb-clock" }, " (UTC)") : null)));
  const body = rows.map((row, place) => h(
    "tr",
    {
      "data-key": place, role: "row", "aria-selected": place === chosen ? "true" : "false", onkeydown,
      tabindex: place === (chosen ?? 0) ? "0" : "-1", class: place === chosen ? "sb-chosen" : "",
      onclick: (event) => { event.currentTarget.focus(); choose(place); },
    },
    ...columns.map((column, i) => h("td", { class: klass(column), role: "gridcell" }, cell(row[i], column.kind))),
  ));
  if (!rows.length) body.push(h("tr", {}, h("td", { colspan: columns.length, class: "sb-empty" }, state.empty)));
  const { foot } = state;
  root.replaceChildren(
    h("div", { class: "sb-scroll" }, h("table", { class: "sb-list", role: "grid", "aria-label": state.label }, h("thead", {}, head), h("tbody", {}, ...body))),
    foot
      ? h("div", { class: "sb-foot" }, h("span", { role: "status" }, foot.text),
          foot.newer || foot.older
            ? h("span", { class: "sb-pager" },
                button("◀ newer", "newer jobs (Page Up)", () => tell({ kind: "page", by: -1 }), { disabled: !foot.newer }),
                button("older ▶", "older jobs (Page Down)", () => tell({ kind: "page", by: 1 }), { disabled: !foot.older }))
            : null)
      : "",
  );
  if (focused) root.querySelector(`tbody tr[tabindex="0"]`)?.focus({ preventScroll: true });
}

// --- what is known of one thing -----------------------------------------------------------------------------

function drawFacts(state, root, tell) {
  const open = new Set([...root.querySelectorAll("details[open]")].map((node) => node.dataset.name));
  const pairs = (state.pairs ?? []).map(([name, text, kind]) => {
    if (kind === "long") {
      const details = h("details", { class: "sb-long", "data-name": name }, h("summary", {}, name), h("pre", { dir: "auto" }, text));
      details.open = open.has(name);
      return details;
    }
    return h("div", { class: "sb-fact" }, h("dt", {}, name), h("dd", { dir: "auto" }, text));
  });
  const notes = (state.notes ?? []).map(({ tone, text, hint, action, label }) => h(
    "div", { class: `sb-note sb-${tone}`, role: tone === "error" ? "alert" : "status" },
    h("div", { dir: "auto" }, text), hint ? h("div", { class: "sb-hint", dir: "auto" }, `→ ${hint}`) : null,
    action ? button(label, "", () => tell({ kind: "act", action })) : null,
  ));
  root.replaceChildren(
    ...(state.title ? [h("div", { class: "sb-head" }, h("b", { dir: "auto" }, state.title), state.badge ? badge(state.badge) : null)] : []),
    ...notes,
    ...(state.bar ? [h("div", { class: "sb-progress" }, bar(state.bar.share, state.bar.text), h("span", {}, state.bar.text))] : []),
    ...(pairs.length ? [h("dl", { class: "sb-facts" }, ...pairs)] : []),
  );
}

// --- work that goes on --------------------------------------------------------------------------------------

function drawTasks(state, root, tell) {
  const focused = document.activeElement?.dataset?.focus;
  root.replaceChildren(...(state.tasks ?? []).map((task) => h(
    "div", { class: `sb-task sb-task-${task.state}`, role: "group", "aria-label": task.title },
    h("div", { class: "sb-task-title", dir: "auto" }, task.title),
    task.state === "running" ? bar(task.share, task.title) : null,
    h("div", { class: "sb-task-text", role: task.state === "failed" ? "alert" : "status", dir: "auto" }, task.text,
      task.hint ? h("div", { class: "sb-hint" }, `→ ${task.hint}`) : null),
    h("div", { class: "sb-task-actions" }, ...task.actions.map(([action, label, title]) =>
      button(label, title, () => tell({ kind: "act", id: task.id, action }), { "data-focus": `${task.id} ${action}`, "aria-label": `${title}: ${task.title}` }))),
  )));
  if (focused) root.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

const VIEWS = { list: drawList, facts: drawFacts, tasks: drawTasks };

function render({ model, el }) {
  const root = h("div", { class: "sutro-panel tex2jax_ignore mathjax_ignore" });
  root.addEventListener("keydown", keepKey);
  const dead = h("div", { class: "sb-note sb-warn sb-dead", role: "alert" }, "The kernel behind this is gone. Run the cell again.");
  dead.hidden = true;
  const die = () => { dead.hidden = !model.get("_watched"); root.setAttribute("inert", ""); };
  const tell = (message) => { try { model.send(message); } catch { die(); } };
  const draw = () => VIEWS[model.get("_view")](model.get("_state"), root, tell);
  draw();
  el.classList.add("sutro-panel-place");
  el.append(dead, root);
  model.on("change:_state", draw);
  const kernel = model.widget_manager?.kernel; // known in JupyterLab
  const onStatus = (_, status) => { if (GONE.includes(status)) die(); };
  kernel?.statusChanged?.connect(onStatus);
  // Of the static output only its class is known; it is a name of our own.
  const hides = model.get("_hides");
  if (/^[\w-]+$/.test(hides)) {
    el.append(h("style", {}, `.${hides}, .jp-OutputArea-child:has(.${hides}) { display: none !important }`));
  }
  let leave = null;
  if (model.get("_watched")) { // the kernel wants to know whether anybody looks
    const id = Math.random().toString(36).slice(2);
    const say = (kind, on) => tell({ kind, id, on });
    const observer = new IntersectionObserver((entries) => say("seen", entries.at(-1).isIntersecting));
    observer.observe(root);
    say("view", true);
    leave = () => { observer.disconnect(); say("seen", false); say("view", false); };
  }
  return () => {
    leave?.();
    kernel?.statusChanged?.disconnect(onStatus);
    model.off("change:_state", draw);
  };
}

export default { render };
