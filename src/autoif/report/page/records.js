// What each list shows of a row, and what of the record that is chosen.

// The sentence of docs/reading-a-run.md about a reason, or nothing.
function meaning(stage, reason) {
  const { reasons } = app.reasons;
  const places = [own(reasons, stage), reasons.any, ...Object.values(reasons)];
  return places.map((of) => of && own(of, reason)).find(Boolean) ?? "";
}

function link(run, page, id, ...children) {
  return element("a", { href: `#/${run}/${page}?id=${encoded(id)}` }, children);
}

function facts(pairs) {
  return element(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
      .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}

async function verifiersOf(record, app, run) {
  const ids = [...new Set(record.verifiers ?? [])];
  const asked = ids.map((id) => app.source.record(run, "verifiers", id).catch(() => null));
  return new Map((await Promise.all(asked)).filter(Boolean).map((made) => [made.row.id, made]));
}

// ---- samples -------------------------------------------------------------------------------------

const SAMPLES = {
  name: "samples",
  one: "sample",
  title: "Samples",
  filters: [
    ["fate", "Outcome"],
    ["instruction", "Instruction", instructionName],
    ["family", "Family"],
    ["origin", "Origin"],
    ["lang", "Language"],
    ["level", "Constraints"],
    ["turns", "Turns"],
  ],
  bounds: [
    ["quality", "Score", 1],
    ["fraction", "Share of TRUE", 0.1],
  ],
  sorts: [
    ["quality desc", "best score first"],
    ["quality", "worst score first"],
    ["words desc", "longest first"],
    ["words", "shortest first"],
    ["fraction", "fewest functions said TRUE first"],
    ["fate", "by outcome"],
    ["family", "by family"],
  ],
  item: (row, app, run) => [
    element("span", { class: "line" }, fate(row.fate), score(row.quality), row.level > 1 && tag(`${row.level} constraints`), row.turns > 1 && tag(`${row.turns} turns`)),
    element("span", { class: "line strong" }, short(row.query, 140)),
    element("span", { class: "line dim" }, short(instructionName(app, run, row.instruction), 120)),
    element("span", { class: "line" }, short(row.response, 140) || empty()),
  ],
  detail: async (record, app, run) => sampleView(record, record.row, await verifiersOf(record, app, run), run),
};

function tag(words) {
  return element("span", { class: "tag" }, words);
}

function score(quality) {
  return quality === null || quality === undefined ? null : tag(`judge ${figureOf(quality)} of 10`);
}

function sampleView(record, row, verifiers, run) {
  const why = row.kept ? "" : meaning("responses", row.reason) || meaning("judge", row.reason);
  return [
    element("h2", {}, fate(row.kept ? "kept" : row.reason || "dropped"), " ", score(row.quality)),
    why && element("p", {}, why),
    conversation(row.messages, row.response),
    constraintsOf(row, verifiers, run),
    (row.soft ?? []).length > 0 && softOf(row.soft),
    behind(record.calls),
    facts([
      ["sample", link(run, "samples", row.id, row.id)],
      ["query from", row.source],
      ["response number", row.index],
      ["pairs", element("a", { href: `#/${run}/pairs?q=${encoded(row.response.slice(0, 80))}` }, "those with this response")],
    ]),
  ];
}

function constraintsOf(row, verifiers, run) {
  return element(
    "section",
    {},
    element("h3", { class: "head" }, row.verifiers.length > 1 ? `${row.verifiers.length} constraints` : "The constraint, and its functions"),
    row.verifiers.map((id, n) => {
      const verdicts = row.verdicts[n] ?? { outcomes: [], fraction: null };
      const verifier = verifiers.get(id);
      if (verifier) return constraint(run, verifier, verdicts.outcomes, verdicts.fraction);
      return element(
        "section",
        { class: "card" },
        element("p", {}, verdicts.outcomes.map((o) => [verdict(o.status, o.detail), " "])),
        element("p", { class: "dim" }, `verifier ${id} is not in the directory`),
      );
    }),
  );
}

function softOf(soft) {
  return element(
    "section",
    {},
    element("h3", { class: "head" }, "Constraints that a model scored"),
    soft.map((one) => element("p", {}, score(one.score) ?? tag("no score"), " ", one.instruction)),
  );
}

function behind(calls) {
  if (!calls.length) return element("p", { class: "dim" }, "The calls behind this are not in the call store.");
  return element(
    "section",
    {},
    element("h3", { class: "head" }, "The calls behind it"),
    calls.map((call) => callView(call, { response: "This response", judge: `The judge: ${short(call.text, 60)}` }[call.of])),
  );
}

// ---- pairs ---------------------------------------------------------------------------------------

const PAIRS = {
  name: "pairs",
  one: "pair",
  title: "Preference pairs",
  filters: [
    ["kind", "Kind"],
    ["instruction", "Instruction", instructionName],
    ["family", "Family"],
    ["lang", "Language"],
    ["level", "Constraints"],
  ],
  sorts: [
    ["kind", "by kind"],
    ["family", "by family"],
  ],
  item: (row, app, run) => [
    element("span", { class: "line" }, tag(row.kind === "query" ? "two responses" : "two test cases")),
    element("span", { class: "line strong" }, short(row.query, 140) || "no query"),
    element("span", { class: "line dim" }, short(instructionName(app, run, row.instruction), 120)),
  ],
  detail: async (record, app, run) => {
    const row = record.row;
    const verifiers = await verifiersOf(record, app, run);
    const last = (messages) => messages[messages.length - 1]?.content ?? "";
    return [
      element("h2", {}, row.kind === "query" ? "Two responses to one prompt" : "Two test cases of one instruction"),
      conversation(row.prompt),
      sideBySide(last(row.chosen), last(row.rejected)),
      element("p", { class: "dim" }, "Every function of a verifier returned FALSE for the rejected text. What differs is marked."),
      [...verifiers.values()].map((verifier) => constraint(run, verifier)),
      facts([
        ["pair", link(run, "pairs", row.id, row.id)],
        ["query from", row.source],
      ]),
    ];
  },
};

// ---- drops ---------------------------------------------------------------------------------------

const DROPS = {
  name: "drops",
  one: "drop",
  title: "Drops",
  filters: [
    ["stage", "Stage"],
    ["reason", "Reason"],
    ["instruction", "Instruction", instructionName],
  ],
  sorts: [
    ["stage", "by stage"],
    ["reason", "by reason"],
  ],
  head: (app, run, params) => {
    const [stage, reason] = [params.get("eq.stage"), params.get("eq.reason")];
    const said = reason ? meaning(stage, reason) : stage ? own(app.reasons.stages, stage) : "";
    return said && element("p", { class: "said" }, reason && element("b", {}, `${reason}: `), said);
  },
  item: (row, app, run) => [
    element("span", { class: "line" }, element("b", {}, row.reason), tag(row.stage)),
    element("span", { class: "line dim" }, short(instructionName(app, run, row.instruction), 120)),
    element("span", { class: "line" }, short(row.detail, 160)),
  ],
  detail: async (record, app, run) => [
    element("h2", {}, element("span", { class: "fate false" }, "✗ ", record.reason), " ", tag(record.stage)),
    element("p", {}, meaning(record.stage, record.reason)),
    record.instruction &&
      element("p", {}, "Instruction: ", link(run, "instructions", record.instruction, instructionName(app, run, record.instruction))),
    record.detail && element("section", { class: "card" }, element("h3", {}, "What the stage noted"), text(record.detail, "mono")),
    record.pieces && element("section", { class: "card" }, element("h3", {}, "The function that was dropped"), code(record.pieces)),
    record.sample
      ? sampleView(record, record.sample, await verifiersOf(record, app, run), run)
      : record.calls.length > 0 &&
        element(
          "section",
          {},
          element("h3", { class: "head" }, `Calls of the stage ${record.stage} for this instruction`),
          record.calls.map((call) => callView(call)),
        ),
    facts([["record", record.record]]),
  ],
};

// ---- instructions --------------------------------------------------------------------------------

const INSTRUCTIONS = {
  name: "instructions",
  one: "instruction",
  title: "Instructions",
  filters: [
    ["fate", "Outcome"],
    ["family", "Family"],
    ["origin", "Origin"],
    ["lang", "Language"],
    ["benchmark_type", "Benchmark type"],
  ],
  bounds: [["pass_rate", "Pass rate", 0.1]],
  sorts: [
    ["pass_rate", "lowest pass rate first"],
    ["pass_rate desc", "highest pass rate first"],
    ["kept desc", "most samples first"],
    ["accuracy", "least accurate functions first"],
    ["score", "lowest judge's score first"],
    ["fate", "by outcome"],
  ],
  item: (row) => [
    element("span", { class: "line" }, fate(row.fate), row.functions > 0 && tag(plural(row.functions, "function")), row.responses > 0 && tag(`${percent(row.pass_rate)} pass`), tag(`${row.kept} kept`)),
    element("span", { class: "line strong" }, short(row.text, 200)),
  ],
  detail: async (record, app, run) => {
    const verifiers = [...(await verifiersOf(record, app, run)).values()];
    const row = record.row;
    return [
      element("h2", {}, text(row.text)),
      element("p", {}, fate(record.fate), " ", record.fate !== "verified" && meaning("verifiers", record.fate)),
      facts([
        ["origin", row.origin],
        ["family", row.family],
        ["language", row.lang],
        ["benchmark type", row.benchmark_type],
        ["made from", row.template && `${row.template} with n = ${row.n} (${row.bound})`],
        ["responses", record.responses > 0 && `${record.responses}, of which ${record.accepted} were accepted and ${record.kept} kept`],
        ["judge, mean", record.score !== null && record.score.toFixed(1)],
        ["samples", record.responses > 0 && element("a", { href: `#/${run}/samples?eq.instruction=${row.id}` }, "all of them")],
        ["id", row.id],
      ]),
      record.parents.length > 0 &&
        element("section", {}, element("h3", { class: "head" }, "Shown to the model that proposed it"), element("ul", {}, record.parents.map((p) => element("li", {}, link(run, "instructions", p.id, p.text || p.id))))),
      verifiers.map((verifier) => verifierView(verifier)),
      record.queries.length > 0 && queriesOf(record.queries, run, row.id),
      record.drops.length > 0 && lostOf(record.drops, run),
      record.calls.length > 0 &&
        element(
          "section",
          {},
          element("h3", { class: "head" }, plural(record.calls.length, "call")),
          record.calls.map((call) => callView(call)),
        ),
    ];
  },
};

function verifierView(verifier) {
  const row = verifier.row;
  return element(
    "section",
    {},
    element("h3", { class: "head" }, plural(row.checks.length, "function")),
    row.checks.map((check, n) =>
      element(
        "div",
        { class: "card function" },
        element("p", {}, element("b", {}, `function ${n + 1}`), element("span", { class: "dim" }, accuracyOf(row.accuracy?.[n]))),
        row.back_translations?.[n] && element("p", {}, element("span", { class: "dim" }, "said back: "), row.back_translations[n]),
        code(check.pieces),
      ),
    ),
    element("h3", { class: "head" }, `What they say of the ${plural(row.cases.length, "text")} that they were tried on`),
    matrix(row, verifier.matrix),
  );
}

// Functions and the texts they were tried on; what is not the text's label is framed.
function matrix(row, ran) {
  const columns = row.checks.map((_, n) => `f${n + 1}`);
  const outcomes = ran.outcomes;
  const rows = row.cases.map((one, at) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, element("details", {}, element("summary", {}, short(one.text, 70) || "(empty)"), text(one.text), one.query && element("p", { class: "dim" }, `answers: ${one.query}`))),
      element("td", {}, tag(one.origin)),
      element("td", {}, verdict(one.expected ? "TRUE" : "FALSE")),
      outcomes &&
        row.checks.map((_, n) => {
          const [status, detail] = outcomes[n][at];
          const right = status === (one.expected ? "TRUE" : "FALSE");
          return element("td", { class: right ? "" : "wrong" }, verdict(status, detail), !right && element("span", { class: "unseen" }, " not the label"));
        }),
    ),
  );
  return [
    ran.error && element("p", { class: "error" }, `The functions were not run on the texts again: ${ran.error}`),
    outcomes && copies(outcomes),
    table(["text", "origin", "label", ...(outcomes ? columns : [])], rows, { class: "matrix", label: "functions and the texts they were tried on" }),
  ];
}

// Functions that say the same of every text are no evidence for one another.
function copies(outcomes) {
  const groups = new Map();
  outcomes.forEach((of, n) => {
    const key = of.map(([status]) => status).join();
    groups.set(key, [...(groups.get(key) ?? []), `f${n + 1}`]);
  });
  const same = [...groups.values()].filter((names) => names.length > 1);
  return same.length > 0 && element("p", { class: "dim" }, same.map((names) => `${names.join(", ")} say the same of every text. `));
}

function queriesOf(queries, run, id) {
  const worst = [...queries].sort((a, b) => a.accepted / a.responses - b.accepted / b.responses);
  return element(
    "details",
    { class: "card" },
    element("summary", {}, `Pass rate by query (${queries.length})`),
    table(
      ["query", "accepted", "kept"],
      worst.map((one) =>
        element(
          "tr",
          {},
          element("td", {}, element("a", { href: `#/${run}/samples?eq.instruction=${id}&q=${encoded(one.query)}` }, one.query)),
          element("td", {}, `${one.accepted} of ${one.responses}`),
          element("td", {}, one.kept),
        ),
      ),
      { label: "pass rate by query" },
    ),
  );
}

function lostOf(drops, run) {
  return element(
    "section",
    {},
    element("h3", { class: "head" }, `What was dropped on the way (${drops.length})`),
    drops.map((drop) =>
      element(
        "details",
        { class: "call" },
        element("summary", {}, element("b", {}, drop.reason), " ", tag(drop.stage), " ", element("span", { class: "dim" }, short(drop.detail, 90))),
        element("p", {}, meaning(drop.stage, drop.reason)),
        drop.pieces ? code(drop.pieces) : text(drop.detail, "mono"),
        element("p", {}, link(run, "drops", drop.id, "the drop")),
      ),
    ),
  );
}
