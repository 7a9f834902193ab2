// What a column holds, in its heading: asked for when the heading comes into sight.

const ONE_LINE = 26;

const summaryMethods = {
  showSummaries(on) {
    this.root.classList.toggle("st-summaries", on);
    this.summaries.setAttribute("aria-pressed", on);
    this.drawChips();
    if (on) this.summarize();
  },

  summarize() {
    this.seen ??= new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting || target.dataset.asked) continue;
        target.dataset.asked = "yes";
        this.drawSummary(target, Number(target.dataset.column));
      }
    });
    for (const th of this.head.querySelectorAll("th[data-column]")) this.seen.observe(th);
  },

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
  },
};
