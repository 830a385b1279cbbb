// The page as a whole: what is shown for an address, keys, and news from a run at work.

const LISTS = { samples: SAMPLES, instructions: INSTRUCTIONS, pairs: PAIRS, drops: DROPS, prompts: PROMPTS };
const PAGES = {
  synthesis: ["overview", "samples", "instructions", "pairs", "drops"],
  evaluation: ["overview", "prompts"],
  training: ["overview"],
};
const TITLES = { overview: "Overview", samples: "Samples", instructions: "Instructions", pairs: "Pairs", drops: "Drops", prompts: "Prompts", review: "Review" };
const EVERY = 2000; // milliseconds between two questions to the server

// #/RUN/PAGE?PARAMETERS, or #/compare/A-B
function placeOf(hash) {
  const [path, search] = hash.replace(/^#\/?/, "").split("?");
  const [first, page] = path.split("/");
  const params = new URLSearchParams(search ?? "");
  if (first === "compare") return { page: "compare", sides: (page ?? "0-1").split("-").map(Number), params };
  return { run: Number(first) || 0, page: page || "overview", params };
}

const app = {
  source: null,
  reasons: null,
  runs: [],
  version: 0,
  place: placeOf(""),
  shown: null, // what has keys of its own: a list, or the review

  async start() {
    this.reasons = await unpacked("reasons");
    const data = await unpacked("data");
    this.source = data ? new FileSource(data) : new ServerSource();
    await this.renew();
    window.addEventListener("hashchange", () => this.show().catch((error) => this.fail(error)));
    document.addEventListener("keydown", (event) => this.key(event));
    await this.show();
    if (this.source.served) setInterval(() => this.follow().catch((error) => this.fail(error)), EVERY);
  },

  async renew() {
    const { version, runs } = await this.source.runs();
    const changed = version !== this.version;
    if (changed) {
      this.earlier = this.runs.map((run) => run.report);
      Object.assign(this, { version, runs });
    }
    return changed;
  },

  // News from the server: pictures are drawn anew, lists keep what is read in them and say that there is more.
  async follow() {
    const before = this.runs.length;
    if (document.hidden || !(await this.renew())) return;
    if (!before) return this.show();
    document.querySelector(".error.global")?.remove();
    if (this.place.page === "overview") {
      const [x, y] = [window.scrollX, window.scrollY];
      await this.show();
      window.scrollTo(x, y);
    } else if (this.shown instanceof List && this.shown.total !== this.runs[this.place.run]?.totals[this.place.page]) {
      this.offerNews();
    }
  },

  offerNews() {
    if (document.querySelector(".news")) return;
    const button = element("button", { type: "button", class: "news", onclick: () => this.show().catch((error) => this.fail(error)) }, "The run has gone on: show what is new");
    document.querySelector(".counter")?.after(button);
  },

  go(hash) {
    location.hash = hash;
  },

  // The address of this place with some parameters changed; empty ones are left out.
  address(changes) {
    const params = new URLSearchParams(this.place.params);
    for (const [name, value] of Object.entries(changes)) {
      if (value === "" || value === null || value === undefined) params.delete(name);
      else params.set(name, value);
    }
    const search = params.toString();
    return `#/${this.place.run}/${this.place.page}${search ? `?${search}` : ""}`;
  },

  // The back button leads out of a record to its list, not through each record and letter.
  put(address, same) {
    history[same ? "replaceState" : "pushState"](null, "", address);
    this.place = placeOf(location.hash);
  },

  change(changes) {
    this.put(this.address({ ...changes, id: "" }), "q" in changes && this.place.params.has("q"));
    this.show().catch((error) => this.fail(error));
  },

  async show() {
    this.place = placeOf(location.hash);
    const { page, run } = this.place;
    const main = document.getElementById("main");
    if (!this.runs.length) return replace(main, element("p", { class: "page dim" }, "The files are being read…"));
    const shown = page === "compare" ? this.place.sides : [run];
    if (shown.some((n) => !this.runs[n])) return replace(main, element("p", { class: "error" }, "There is no such run."));
    this.header();
    document.title = `${page === "compare" ? "A and B" : `${own(TITLES, page) ?? TITLES.overview} · ${this.runs[run].name}`} · AutoIF`;
    const asked = location.hash;
    if (page === "compare") {
      this.shown = null;
      const made = await comparisonPage(this, ...this.place.sides);
      if (location.hash === asked) replace(main, made);
    } else if (own(LISTS, page)) {
      const list = new List(this, run, LISTS[page]);
      const cursor = document.activeElement?.name === "q" ? document.activeElement.selectionStart : null;
      this.shown = list;
      main.replaceChildren(list.node);
      if (cursor !== null) {
        list.form.elements.q.focus();
        list.form.elements.q.setSelectionRange(cursor, cursor);
      }
      await list.start();
    } else if (page === "review" && this.source.served) {
      this.shown = new Review(this, run);
      main.replaceChildren(this.shown.node);
      await this.shown.start();
    } else {
      this.shown = null;
      const kind = this.runs[run].kind;
      const made = await { synthesis: overview, evaluation: scoresPage, training: trainingPage }[kind](this, run);
      if (location.hash === asked) replace(main, made);
    }
  },

  header() {
    const { run, page } = this.place;
    const kind = this.runs[run ?? 0].kind;
    const pages = [...PAGES[kind], ...(kind === "synthesis" && this.source.served ? ["review"] : [])];
    const current = (yes) => (yes ? { "aria-current": "page" } : {});
    const totals = this.runs[run ?? 0].totals;
    replace(
      document.getElementById("top"),
      element("a", { href: "#/0/overview", class: "brand" }, "AutoIF"),
      this.runs.length > 1 &&
        element(
          "nav",
          { class: "runs", "aria-label": "runs" },
          this.runs.map((one, n) => element("a", { href: `#/${n}/overview`, ...current(n === run) }, one.name)),
          element("a", { href: "#/compare/0-1", ...current(page === "compare") }, "A and B"),
        ),
      page !== "compare" &&
        element(
          "nav",
          { class: "pages", "aria-label": "pages" },
          pages.map((name) => element("a", { href: `#/${run}/${name}`, ...current(name === page) }, TITLES[name], totals[name] !== undefined && element("span", { class: "dim" }, ` ${count(totals[name])}`))),
        ),
      element("button", { type: "button", class: "plain help", "aria-label": "keys", onclick: () => this.help() }, "?"),
    );
  },

  help() {
    const dialog = document.getElementById("help");
    const keys = [
      ["j, k", "the next one, the one before"],
      ["/", "search"],
      ["?", "this table"],
      ["Esc", "out of the search, out of this"],
    ];
    replace(
      dialog,
      element("h2", { id: "help-title" }, "Keys"),
      element("dl", { class: "keys" }, keys.map(([key, what]) => element("div", {}, element("dt", {}, element("kbd", {}, key)), element("dd", {}, what)))),
      element("p", {}, "The address in the browser is a link to what is shown, filters included."),
      element("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "Close"),
    );
    dialog.showModal();
  },

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.getElementById("help").open) return;
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key === "Escape" && typing) {
      event.preventDefault(); // a search field would be emptied
      return event.target.blur();
    }
    if (typing) return;
    const done = (promise) => {
      event.preventDefault();
      promise?.catch((error) => this.fail(error));
    };
    if (event.key === "?") done(this.help());
    else if (event.key === "j" && this.shown) done(this.shown.step(1));
    else if (event.key === "k" && this.shown) done(this.shown.step(-1));
    else if (event.key === "/" && this.shown?.search) done(this.shown.search());
    else if (this.shown?.key?.(event)) event.preventDefault();
  },

  fail(error) {
    document.querySelector(".error.global")?.remove();
    document.getElementById("main").prepend(element("p", { class: "error global", role: "alert" }, error.message));
  },
};

app.start().catch((error) => app.fail(error));
