// A list beside what is chosen in it: the page of samples, pairs, drops, instructions, prompts.
// The place in the address is the whole state: #/RUN/PAGE?q=...&eq.fate=kept&id=...

const PAGE = 50;

class List {
  // of: {name, title, filters, sorts, item(row), detail(record, run), note(row)}.
  constructor(app, run, of) {
    Object.assign(this, { app, run, of, rows: [], total: 0, busy: null });
    this.items = element("ol", { class: "items", "aria-label": of.title });
    this.counter = element("p", { class: "counter", role: "status" });
    this.more = element("button", { type: "button", onclick: () => this.load() }, "Show more");
    this.detail = element("article", { class: "detail-pane", "aria-label": "the chosen record", tabindex: "-1" });
    this.form = this.filters();
    this.node = element(
      "div",
      { class: "list-page" },
      element("section", { class: "list-pane", "aria-label": of.title }, this.form, this.counter, this.items, this.more),
      this.detail,
    );
  }

  get query() {
    return queryOf(this.app.place.params);
  }

  filters() {
    const { facets } = this.app.runs[this.run];
    const params = this.app.place.params;
    const sought = () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.app.change({ q: search.value }), 250);
    };
    const search = element("input", {
      type: "search",
      name: "q",
      value: params.get("q") ?? "",
      placeholder: "Search texts ( / )",
      "aria-label": "Search texts",
      oninput: (event) => event.isComposing || sought(),
      oncompositionend: () => sought(), // Chinese is typed in letters first
    });
    const choices = this.of.filters.map(([column, label, name]) => {
      const values = Object.entries(facets[this.of.name]?.[column] ?? {}).filter(([value]) => value);
      if (values.length < 2 && !params.has(`eq.${column}`)) return null;
      const chosen = params.get(`eq.${column}`) ?? "";
      if (chosen && !values.some(([value]) => value === chosen)) values.push([chosen, 0]);
      return element(
        "select",
        { "aria-label": label, onchange: (event) => this.app.change({ [`eq.${column}`]: event.target.value }) },
        element("option", { value: "" }, `${label}: all`),
        values.slice(0, 500).map(([value, n]) =>
          element(
            "option",
            { value, selected: value === chosen },
            `${short(name ? name(this.app, this.run, value) : value || "none", 60)} (${count(n)})`,
          ),
        ),
      );
    });
    const least = (this.of.bounds ?? []).map(([column, label, step]) =>
      element(
        "label",
        { class: "bound" },
        `${label} `,
        ["min", "max"].map((side, n) => [
          n ? " to " : "",
          element("input", {
            type: "number",
            step,
            value: params.get(`${side}.${column}`) ?? "",
            "aria-label": `${label}, ${side === "min" ? "at least" : "at most"}`,
            onchange: (event) => this.app.change({ [`${side}.${column}`]: event.target.value }),
          }),
        ]),
      ),
    );
    const current = `${params.get("sort") ?? ""}${params.get("desc") === "1" ? " desc" : ""}`;
    const sort = element(
      "select",
      {
        "aria-label": "Sort",
        onchange: (event) => {
          const [column, desc] = event.target.value.split(" ");
          this.app.change({ sort: column, desc: desc ? "1" : "" });
        },
      },
      [["", "in order"], ...this.of.sorts].map(([value, label]) =>
        element("option", { value, selected: value === current }, `Sort: ${label}`),
      ),
    );
    return element(
      "form",
      { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() },
      search,
      element(
        "details",
        { class: "more-filters", open: matchMedia("(min-width: 900px)").matches || [...params.keys()].some((name) => name !== "id") },
        element("summary", {}, "Filter and sort"),
        element("div", { class: "choices" }, choices, least, sort, this.cleared(params)),
      ),
    );
  }

  cleared(params) {
    const set = [...params.keys()].filter((name) => name !== "id");
    if (!set.length) return null;
    return element("a", { href: `#/${this.run}/${this.of.name}`, class: "clear" }, "Clear");
  }

  async start() {
    this.rows = [];
    this.items.replaceChildren();
    await this.load();
    await this.choose(this.app.place.params.get("id"), false);
  }

  async load() {
    const asked = location.hash.replace(/[?&]id=[^&]*/, "");
    const { total, rows } = await this.app.source.rows(this.run, this.of.name, {
      ...this.query,
      offset: this.rows.length,
      limit: PAGE,
    });
    if (location.hash.replace(/[?&]id=[^&]*/, "") !== asked) return; // another question was asked since
    this.total = total;
    this.rows.push(...rows);
    this.items.append(...rows.map((row) => this.item(row)));
    this.more.hidden = this.rows.length >= total;
    const whole = this.app.runs[this.run].totals[this.of.name];
    const held = this.app.source.served ? whole : this.app.source.data.runs[this.run].tables[this.of.name].length;
    replace(
      this.counter,
      total === 0 ? "Nothing fits. " : `${count(total)} of ${plural(whole, this.of.one, this.of.name)}`,
      held < whole && element("span", { class: "dim" }, `; this file holds ${count(held)} of them`),
    );
    const head = this.of.head?.(this.app, this.run, this.app.place.params);
    if (head && !this.headed) this.form.after((this.headed = head));
  }

  item(row) {
    const link = element(
      "a",
      {
        href: this.app.address({ id: row.id }),
        onclick: (event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey) return;
          event.preventDefault();
          this.choose(row.id, true);
        },
      },
      this.of.item(row, this.app, this.run),
    );
    return element("li", { "data-id": row.id }, link);
  }

  // Shows a record; `moved`: because somebody chose it.
  async choose(id, moved) {
    const chosen = id ?? (matchMedia("(min-width: 900px)").matches ? this.rows[0]?.id : null);
    this.node.classList.toggle("has-detail", Boolean(id));
    this.chosen = chosen;
    for (const item of this.items.children) {
      const own = item.dataset.id === chosen;
      item.classList.toggle("chosen", own);
      const link = item.firstElementChild;
      if (own) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
      if (own && moved) item.scrollIntoView({ block: "nearest" });
    }
    if (moved) this.app.put(this.app.address({ id: chosen }), this.app.place.params.has("id"));
    if (chosen === null || chosen === undefined) return replace(this.detail, element("p", { class: "dim" }, "Choose one in the list."));
    let shown;
    try {
      const record = await this.app.source.record(this.run, this.of.name, chosen);
      shown = await this.of.detail(record, this.app, this.run);
    } catch (error) {
      shown = element("p", { class: "error" }, error.message);
    }
    if (this.chosen !== chosen) return;
    const back = element("a", { class: "back", href: this.app.address({ id: "" }) }, "← back to the list");
    replace(this.detail, back, shown);
    this.detail.scrollTop = 0;
    if (moved && !matchMedia("(min-width: 900px)").matches) window.scrollTo(0, 0);
  }

  async step(by) {
    const at = this.rows.findIndex((row) => row.id === this.chosen);
    let next = at + by;
    if (next < 0) return;
    if (next >= this.rows.length && this.rows.length < this.total) await this.load();
    next = Math.min(next, this.rows.length - 1);
    if (this.rows[next]) await this.choose(this.rows[next].id, true);
  }

  search() {
    this.form.elements.q.focus();
    this.form.elements.q.select();
  }
}

function queryOf(params) {
  const query = { eq: {}, min: {}, max: {} };
  for (const [name, value] of params) {
    const [kind, column] = name.split(".");
    if (column !== undefined && query[kind]) query[kind][column] = kind === "eq" ? value : Number(value);
    else if (name === "desc") query.desc = value === "1";
    else if (name === "q" || name === "sort") query[name] = value;
  }
  return query;
}

function instructionName(app, run, ids) {
  const names = app.runs[run].instructions ?? {};
  return ids
    .split(",")
    .map((id) => own(names, id) ?? id)
    .join(" + ");
}
