// An evaluation: its scores with their intervals, and each prompt. A training: its series.

const PROMPTS = {
  name: "prompts",
  one: "prompt",
  title: "Prompts",
  filters: [
    ["verdict", "Verdict"],
    ["types", "Type"],
  ],
  bounds: [["followed", "Share followed", 0.1]],
  sorts: [
    ["followed", "least followed first"],
    ["words desc", "longest answer first"],
    ["words", "shortest answer first"],
  ],
  item: (row) => [
    element("span", { class: "line" }, fate(row.verdict), tag(`key ${row.id}`)),
    element("span", { class: "line strong" }, short(row.query, 160) || "(the prompt is not in the directory)"),
    element("span", { class: "line" }, short(row.response, 140)),
  ],
  detail: (record) => {
    const { verdict: given, prompt, responses } = record.row;
    const types = given.instructions ?? [];
    const modes = ["strict", "loose"].filter((mode) => Array.isArray(given[mode]));
    return [
      element("h2", {}, fate(record.verdict), " ", tag(`key ${record.id}`)),
      types.length > 0 &&
        table(
          ["constraint", ...modes],
          types.map((type, n) =>
            element("tr", {}, element("th", { scope: "row" }, String(type)), modes.map((mode) => element("td", {}, verdict(given[mode][n] ? "TRUE" : "FALSE")))),
          ),
          { label: "verdict of each constraint" },
        ),
      prompt && conversation([{ role: "user", content: prompt }]),
      responses.map((response) => conversation([{ role: "assistant", content: response ?? "" }])),
      element("details", { class: "call" }, element("summary", {}, "The row of verdicts.jsonl"), element("pre", { class: "code", tabindex: "0" }, JSON.stringify(given, null, 1))),
    ];
  },
};

function scoresPage(app, run) {
  const summary = app.runs[run];
  const groups = summary.metrics.filter((metric) => metric.by_group);
  return element(
    "div",
    { class: "page" },
    element("div", { class: "head-line" }, element("h1", {}, summary.name), element("p", {}, `benchmark ${summary.benchmark || "unknown"}`)),
    warned(summary),
    element("section", {}, element("h2", {}, "Scores, with 95% intervals"), table(["metric", "score", "", "interval", "n"], summary.metrics.map(scoreRow), { label: "scores", numeric: ["score", "interval", "n"] })),
    summary.notes.length > 0 && element("ul", {}, summary.notes.map((note) => element("li", {}, note))),
    groups.map((metric) =>
      element(
        "section",
        {},
        element("h2", {}, `${metric.name} by type`),
        table(
          ["type", "score", ""],
          Object.entries(metric.by_group)
            .sort((a, b) => a[1] - b[1])
            .map(([name, value]) =>
              element(
                "tr",
                {},
                element("th", { scope: "row" }, element("a", { href: `#/${run}/prompts?${new URLSearchParams({ "eq.types": name })}` }, name)),
                element("td", { class: "number" }, value === null ? "-" : value.toFixed(1)),
                element("td", { class: "wide" }, value !== null && shareBar(value, 100, `${value}`, "size")),
              ),
            ),
          { label: `${metric.name} by type` },
        ),
      ),
    ),
  );
}

function warned(summary) {
  return (
    summary.missing.length > 0 &&
    element("details", { class: "card warning", open: true }, element("summary", {}, "Not all of the directory could be shown"), element("ul", {}, summary.missing.map((line) => element("li", {}, line))))
  );
}

function scoreRow(metric) {
  const cell = (value) => (value === null || value === undefined ? "-" : value.toFixed(1));
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, metric.name),
    element("td", { class: "number" }, element("b", {}, cell(metric.value))),
    element("td", { class: "wide" }, typeof metric.value === "number" && intervalBar(metric)),
    element("td", { class: "number" }, `${cell(metric.low)} to ${cell(metric.high)}`),
    element("td", { class: "number" }, metric.n ?? "-"),
  );
}

function intervalBar({ value, low, high }) {
  const [width, height] = [200, 16];
  const scale = Math.max(100, value);
  const X = (v) => (v / scale) * width;
  return drawing(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, class: "interval", role: "img", "aria-label": `${value}, 95% interval ${low} to ${high}` },
    drawing("rect", { x: 0, y: 4, width, height: 8, class: "ground" }),
    drawing("rect", { x: 0, y: 4, width: X(value), height: 8, class: "kept" }),
    typeof low === "number" && typeof high === "number" && drawing("line", { x1: X(low), x2: X(high), y1: 8, y2: 8, class: "whisker" }),
  );
}

// Of what a training wrote, the names in the order in which a reader wants them.
const FIRST = ["loss", "reward", "kl", "pass_rate", "rewards/margins", "rewards/accuracies", "completions/mean_length"];

function trainingPage(app, run) {
  const summary = app.runs[run];
  return element(
    "div",
    { class: "page" },
    element("div", { class: "head-line" }, element("h1", {}, summary.name), element("p", {}, "training")),
    warned(summary),
    Object.entries(summary.series).map(([x, series]) =>
      element(
        "section",
        {},
        element("h2", {}, `By ${x}`),
        element("p", { class: "dim" }, x === "round" && "A number beside a point is what it rests on, where the row says so. Points of different numbers are not joined."),
        element("div", { class: "plots" }, inReadingOrder(series).map((one) => lineChart(one.name, [one]))),
      ),
    ),
    Object.keys(summary.series).length === 0 && element("p", { class: "dim" }, "Nothing has been measured yet."),
    summary.config && element("details", {}, element("summary", {}, "The whole configuration"), element("pre", { class: "code", tabindex: "0" }, summary.config)),
  );
}

function inReadingOrder(series) {
  const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  return [...series].sort((a, b) => rank(a.name) - rank(b.name));
}
