// A run at one look: what it is, what it made, where candidates were lost, which instructions are bad.

const GROUPS = [
  ["What was read", ["queries", "benchmarks"]],
  ["Instructions, and functions that decide them", ["instructions", "functions", "programs", "cases", "crossval", "backtranslate", "verifiers"]],
  ["Responses, and samples", ["compositions", "prompts", "responses", "judge", "samples", "data"]],
];

async function overview(app, run) {
  const summary = app.runs[run];
  const report = summary.report;
  const instructions = await worstInstructions(app, run);
  return element(
    "div",
    { class: "page" },
    headOf(summary),
    summary.missing.length > 0 &&
      element("details", { class: "card warning", open: true }, element("summary", {}, "Not all of the directory could be shown"), element("ul", {}, summary.missing.map((line) => element("li", {}, line)))),
    report.state === "running" && liveOf(app, run, report),
    element("section", { class: "tiles" }, tilesOf(summary)),
    element("section", {}, element("h2", {}, "Where candidates were lost"), funnelOf(run, report)),
    element("section", {}, element("h2", {}, "Which instructions are good, and which are not"), instructionsOf(run, instructions, summary.totals.instructions)),
    element(
      "section",
      {},
      element("h2", {}, "What the samples look like"),
      element("p", { class: "legend" }, element("span", { class: "key kept" }), " kept ", element("span", { class: "key lost" }), " not kept"),
      element(
        "div",
        { class: "plots" },
        histogram("judge's score, of 10", summary.plots.score, (from) => String(Math.min(from, 10))),
        histogram("words in a response", summary.plots.words, (from) => String(from)),
        histogram("pass rate of an instruction", summary.plots.pass_rate, (from) => percent(from)),
        valuesOf(run, summary, "family", "checked responses by family"),
        valuesOf(run, summary, "level", "checked responses by number of constraints"),
      ),
    ),
    reviewedOf(summary),
    tokensOf(summary),
    recipeOf(summary),
  );
}

// Those without a verifier first, then those whose responses pass least often: asked for apart, for a
// large run has more of either than one answer holds.
const SHOWN = 40;
async function worstInstructions(app, run) {
  const of = (fate, sort) => app.source.rows(run, "instructions", { eq: { fate }, min: {}, max: {}, sort, limit: SHOWN });
  const fates = Object.keys(app.runs[run].facets.instructions.fate);
  const bad = await Promise.all(fates.filter((fate) => fate !== "verified").map((fate) => of(fate, "")));
  const good = await of("verified", "pass_rate");
  return [...bad, good].flatMap(({ rows }) => rows).slice(0, SHOWN);
}

function headOf(summary) {
  const { report, recipe } = summary;
  return element(
    "div",
    { class: "head-line" },
    element("h1", {}, summary.name),
    element("p", {}, stateOf(report), recipe.preset && ` preset ${recipe.preset}, seed ${recipe.seed}`, report.error && element("span", { class: "error" }, ` ${report.error}`)),
    recipe.models && element("p", { class: "dim" }, modelsOf(recipe.models)),
  );
}

function modelsOf(models) {
  const names = new Map();
  for (const [role, name] of Object.entries(models)) names.set(name, [...(names.get(name) ?? []), role]);
  return [...names].map(([name, roles]) => `${name}${names.size > 1 ? ` (${roles.join(", ")})` : ""}`).join("; ");
}

function stateOf(report) {
  return element("span", { class: `state ${report.state}` }, report.state);
}

function tilesOf(summary) {
  const { report, totals } = summary;
  const stages = Object.fromEntries((report.stages ?? []).map((stage) => [stage.name, stage]));
  const verifiers = stages.verifiers ?? { in: 0, kept: 0 };
  const tile = (value, name, hint) => element("div", { class: "tile" }, element("b", {}, value), element("span", {}, name), hint && element("span", { class: "dim" }, hint));
  const kept = stages.samples?.kept ?? 0;
  return [
    tile(count(kept), "samples kept", stages.responses?.in ? `of ${plural(stages.responses.in, "response")}` : ""),
    tile(count(totals.pairs), "preference pairs"),
    tile(`${verifiers.kept} of ${verifiers.in}`, "instructions have a verifier"),
    report.calls && tile(count(report.calls.asked + report.calls.replayed), "model calls", report.calls.replayed ? `${count(report.calls.replayed)} of them read from the store` : ""),
    report.tokens && tile(count(report.tokens.completion), "tokens written", kept ? `${count(Math.round(report.tokens.completion / kept))} per kept sample` : `${count(report.tokens.prompt)} read`),
    report.cost ? tile(`${report.cost.toFixed(2)} USD`, "cost") : null,
    report.seconds !== undefined && tile(seconds(report.seconds), "taken"),
  ];
}

function liveOf(app, run, report) {
  const before = app.earlier?.[run] ?? {};
  const took = report.seconds - before.seconds;
  const speed = (name, tokens) => {
    const then = before.models?.[name]?.tokens;
    return took > 0 && then !== undefined ? `, ${(Math.max(0, tokens - then) / took).toFixed(1)} tokens/s` : "";
  };
  return element(
    "section",
    { class: "card live" },
    element("p", {}, element("b", {}, `At work: ${report.phase}, ${report.instructions.done} of ${plural(report.instructions.total, "instruction")} done`)),
    element(
      "p",
      {},
      [report.seconds_left ? `about ${seconds(report.seconds_left)} left` : "", report.budget_left ? `${report.budget_left} of the budget left` : ""].filter(Boolean).join(", "),
    ),
    Object.entries(report.models ?? {}).map(([name, at]) =>
      element(
        "p",
        {},
        `${name}: ${count(at.tokens)} tokens written${speed(name, at.tokens)}`,
        at.running !== null && `, ${plural(at.running, "call")} under way, ${count(at.waiting)} waiting`,
      ),
    ),
    element("p", { class: "dim" }, "This page renews itself. ", element("a", { href: `#/${run}/samples` }, "The samples so far")),
  );
}

function funnelOf(run, report) {
  const stages = new Map((report.stages ?? []).map((stage) => [stage.name, stage]));
  return element(
    "div",
    { class: "funnel" },
    GROUPS.map(([title, names]) => {
      const there = names.map((name) => stages.get(name)).filter((stage) => stage && stage.in > 0);
      return there.length > 0 && [element("h3", { class: "head" }, title), there.map((stage) => stageOf(run, stage))];
    }),
  );
}

function stageOf(run, stage) {
  const reasons = Object.entries(stage.dropped).sort((a, b) => b[1] - a[1]);
  return element(
    "div",
    { class: "stage" },
    element("div", { class: "stage-name" }, element("b", {}, stage.name), element("span", { class: "dim" }, own(app.reasons.stages, stage.name) ?? "")),
    element(
      "div",
      { class: "stage-bar" },
      shareBar(stage.kept, stage.in, `${stage.kept} of ${stage.in} kept`),
      element("span", { class: "numbers" }, element("b", {}, count(stage.kept)), ` of ${count(stage.in)} kept`),
    ),
    element(
      "ul",
      { class: "reasons", "aria-label": `why ${stage.name} dropped some` },
      reasons.map(([reason, n]) =>
        element(
          "li",
          {},
          element(
            "a",
            { href: `#/${run}/drops?${new URLSearchParams({ "eq.stage": stage.name, "eq.reason": reason })}`, title: meaning(stage.name, reason) },
            element("b", {}, count(n)),
            ` ${reason}`,
          ),
        ),
      ),
    ),
  );
}

function instructionsOf(run, shown, total) {
  return [
    table(
      ["instruction", "what became of it", "accepted responses", "kept", "judge"],
      shown.map((row) =>
        element(
          "tr",
          {},
          element("th", { scope: "row" }, link(run, "instructions", row.id, row.text)),
          element("td", {}, fate(row.fate), row.fate !== "verified" && element("span", { class: "dim block" }, meaning("verifiers", row.fate))),
          element("td", { class: "wide" }, row.responses > 0 && [shareBar(row.accepted, row.responses, `${row.accepted} of ${row.responses}`), ` ${row.accepted} of ${row.responses}`]),
          element("td", {}, row.kept),
          element("td", {}, row.score === null ? "" : row.score.toFixed(1)),
        ),
      ),
      { class: "instructions", label: "instructions" },
    ),
    total > shown.length && element("p", {}, element("a", { href: `#/${run}/instructions?sort=pass_rate` }, `All ${count(total)} instructions`)),
  ];
}

function valuesOf(run, summary, column, title) {
  const values = Object.entries(summary.facets.samples?.[column] ?? {}).slice(0, 10);
  const most = Math.max(1, ...values.map(([, n]) => n));
  return (
    values.length > 1 &&
    figure(
      title,
      element(
        "ul",
        { class: "bars" },
        values.map(([name, n]) =>
          element("li", {}, element("a", { href: `#/${run}/samples?${new URLSearchParams({ [`eq.${column}`]: name })}` }, name || "proposed"), shareBar(n, most, String(n), "size"), element("span", {}, count(n))),
        ),
      ),
    )
  );
}

function reviewedOf(summary) {
  const reviewers = Object.entries(summary.review?.reviewers ?? {});
  if (!reviewers.length) return null;
  return element("section", {}, element("h2", {}, "What people say of the samples"), resultOf(summary.review));
}

function tokensOf(summary) {
  if (!summary.tokens.length) return null;
  const models = new Set(summary.tokens.map((row) => row.namespace));
  const most = Math.max(1, ...summary.tokens.map((row) => row.completion));
  return element(
    "section",
    {},
    element("h2", {}, "What it took"),
    table(
      [...(models.size > 1 ? ["model"] : []), "stage", "calls", "tokens read", "tokens written", ""],
      summary.tokens.map((row) =>
        element(
          "tr",
          {},
          models.size > 1 && element("td", {}, row.namespace),
          element("th", { scope: "row" }, row.stage),
          element("td", { class: "number" }, count(row.calls)),
          element("td", { class: "number" }, count(row.prompt)),
          element("td", { class: "number" }, count(row.completion)),
          element("td", { class: "wide" }, shareBar(row.completion, most, `${row.completion} tokens`, "size")),
        ),
      ),
      { label: "calls and tokens by stage", numeric: ["calls", "tokens read", "tokens written"] },
    ),
  );
}

function recipeOf(summary) {
  const { report, recipe } = summary;
  const layers = Object.entries(report.sandbox ?? {}).map(([name, value]) => (value === true ? name : `${name}: ${value}`));
  return element(
    "section",
    {},
    element("h2", {}, "How it was made"),
    facts([
      ["directory", summary.path],
      ["AutoIF", report.versions && `${report.versions.autoif}, Python ${report.versions.python}`],
      ["sandbox", layers.join(", ")],
    ]),
    recipe.text && element("details", {}, element("summary", {}, "The whole recipe"), element("pre", { class: "code", tabindex: "0" }, recipe.text)),
  );
}
