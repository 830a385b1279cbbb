// Two directories of one kind side by side: what changed from A to B.

async function comparisonPage(app, a, b) {
  const [left, right] = [app.runs[a], app.runs[b]];
  const found = await app.source.comparison(a, b);
  const choose = (side, chosen) =>
    element(
      "label",
      {},
      `${side} `,
      element(
        "select",
        { onchange: (event) => app.go(side === "A" ? `#/compare/${event.target.value}-${b}` : `#/compare/${a}-${event.target.value}`) },
        app.runs.map((run, n) => element("option", { value: n, selected: n === chosen }, `${n + 1}: ${run.name}`)),
      ),
    );
  const head = [
    element("h1", {}, "A and B"),
    element("p", { class: "choices" }, choose("A", a), choose("B", b)),
  ];
  if (left.kind !== right.kind) {
    return element("div", { class: "page" }, head, element("p", {}, "These are of different kinds: nothing to compare."));
  }
  const of = { synthesis: comparedRuns, evaluation: comparedScores, training: comparedTrainings }[left.kind];
  return element("div", { class: "page" }, head, of(app, a, b, found));
}

function comparedRuns(app, a, b, found) {
  const [left, right] = [app.runs[a], app.runs[b]].map((run) => new Map((run.report.stages ?? []).map((s) => [s.name, s])));
  const names = [...new Set([...left.keys(), ...right.keys()])].filter((n) => left.get(n)?.in || right.get(n)?.in);
  const cell = (stage) =>
    element("td", { class: "wide" }, stage?.in ? [shareBar(stage.kept, stage.in, `${stage.kept} of ${stage.in}`), ` ${count(stage.kept)} of ${count(stage.in)}, ${percent(stage.kept / stage.in)}`] : "-");
  return [
    element(
      "section",
      {},
      element("h2", {}, "The funnels"),
      table(
        ["stage", `A: ${app.runs[a].name}`, `B: ${app.runs[b].name}`, "reasons that changed most"],
        names.map((name) => element("tr", {}, element("th", { scope: "row" }, name), cell(left.get(name)), cell(right.get(name)), element("td", {}, changedReasons(left.get(name), right.get(name))))),
        { label: "the funnels side by side" },
      ),
    ),
    found && [
      wonAndLost("Instructions with a verifier", found.instructions, a, b, "instructions"),
      wonAndLost("Prompts with a kept sample", found.prompts, a, b, "samples"),
    ],
  ];
}

function changedReasons(left, right) {
  const names = new Set([...Object.keys(left?.dropped ?? {}), ...Object.keys(right?.dropped ?? {})]);
  const share = (stage, name) => (stage?.in ? (stage.dropped[name] ?? 0) / stage.in : 0);
  return [...names]
    .map((name) => [name, share(right, name) - share(left, name)])
    .filter(([, change]) => Math.abs(change) >= 0.005)
    .sort((x, y) => Math.abs(y[1]) - Math.abs(x[1]))
    .slice(0, 3)
    .map(([name, change]) => [tag(`${name} ${change > 0 ? "+" : ""}${(100 * change).toFixed(1)} points`), " "]);
}

function wonAndLost(title, found, a, b, page) {
  const list = (name, run, rows, total) =>
    element(
      "details",
      { class: "card", open: rows.length > 0 && rows.length <= 10 },
      element("summary", {}, `${name}: ${count(total)}`),
      element("ul", {}, rows.map(([id, words]) => element("li", {}, link(run, page, id, short(words, 160) || id)))),
      total > rows.length && element("p", { class: "dim" }, `the first ${rows.length} of them`),
    );
  return element(
    "section",
    {},
    element("h2", {}, title),
    element("p", {}, `${count(found.both)} in both`),
    list("in A alone", a, found.lost, found.lost_total),
    list("in B alone", b, found.won, found.won_total),
  );
}

function comparedScores(app, a, b, found) {
  const [left, right] = [app.runs[a], app.runs[b]].map((run) => new Map(run.metrics.map((m) => [m.name, m])));
  return [
    element(
      "section",
      {},
      element("h2", {}, "Scores, with 95% intervals"),
      [...left.keys()].filter((name) => right.has(name)).map((name) =>
        table(["", name, "", "interval", "n"], [scoreRow({ ...left.get(name), name: `A: ${app.runs[a].name}` }), scoreRow({ ...right.get(name), name: `B: ${app.runs[b].name}` })], { label: name }),
      ),
      element("p", { class: "dim" }, "`autoif compare A B` gives the interval of the difference, prompt by prompt."),
    ),
    found && wonAndLost("Prompts that were followed", found.prompts, a, b, "prompts"),
  ];
}

function comparedTrainings(app, a, b) {
  const [left, right] = [app.runs[a], app.runs[b]];
  return Object.keys(left.series)
    .filter((x) => right.series[x])
    .map((x) =>
      element(
        "section",
        {},
        element("h2", {}, `By ${x}`),
        element("p", { class: "legend" }, element("span", { class: "key line-0" }), ` A: ${left.name} `, element("span", { class: "key line-1" }), ` B: ${right.name}`),
        element(
          "div",
          { class: "plots" },
          inReadingOrder(left.series[x])
            .map((one) => [one, right.series[x].find((other) => other.name === one.name)])
            .filter(([, other]) => other)
            .map(([one, other]) => lineChart(one.name, [{ ...one, name: "A" }, { ...other, name: "B" }])),
        ),
      ),
    );
}
