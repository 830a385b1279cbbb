// The texts of a record: conversations, functions, verdicts, calls, and where two texts differ.

const VERDICTS = {
  TRUE: ["✓", "true"],
  FALSE: ["✗", "false"],
  ERROR: ["!", "failed"],
  TIMEOUT: ["◷", "failed"],
  MEMORY: ["▤", "failed"],
  CRASH: ["‼", "failed"],
};

function verdict(status, detail = "") {
  const [sign, kind] = VERDICTS[status] ?? ["?", "failed"];
  return element(
    "span",
    { class: `verdict ${kind}`, title: detail || undefined },
    element("span", { "aria-hidden": "true" }, `${sign} `),
    status,
  );
}

function fate(word) {
  const good = word === "kept" || word === "verified" || word === "followed";
  return element("span", { class: `fate ${good ? "true" : "false"}` }, good ? "✓ " : "✗ ", word);
}

function conversation(messages, response) {
  const all = response === undefined ? messages : [...messages, { role: "assistant", content: response }];
  return element(
    "ol",
    { class: "conversation" },
    all.map((message) =>
      element(
        "li",
        { class: `message ${message.role === "assistant" ? "assistant" : "user"}` },
        element("span", { class: "role" }, message.role),
        text(message.content ?? ""),
      ),
    ),
  );
}

// A function's source. pieces: [[kind, text]] from the lexer.
function code(pieces) {
  return element(
    "pre",
    { class: "code", tabindex: "0" },
    element("code", {}, pieces.map(([kind, piece]) => (kind ? element("span", { class: `tok-${kind}` }, piece) : piece))),
  );
}

// One constraint: the instruction, and what each function says of the text. outcomes may be missing.
function constraint(run, verifier, outcomes, fraction) {
  const row = verifier.row;
  const ok = (outcomes ?? []).filter((o) => o.status === "TRUE").length;
  return element(
    "section",
    { class: "card" },
    element(
      "h3",
      {},
      element("a", { href: `#/${run}/instructions?id=${row.instruction.id}` }, row.instruction.text),
    ),
    outcomes &&
      element(
        "p",
        { class: "dim" },
        `${ok} of ${plural(outcomes.length, "function")} said TRUE`,
        fraction === null && ": none came to a conclusion, so this is unscored",
      ),
    row.checks.map((check, n) => {
      const outcome = outcomes?.[n];
      return element(
        "div",
        { class: "function" },
        element(
          "p",
          {},
          outcome && [verdict(outcome.status), " "],
          element("b", {}, `function ${n + 1}`),
          element("span", { class: "dim" }, accuracyOf(row.accuracy?.[n])),
        ),
        outcome?.detail && element("p", { class: "detail" }, outcome.detail),
        code(check.pieces),
      );
    }),
  );
}

function accuracyOf(accuracy) {
  return accuracy === undefined || accuracy === null ? "" : `, right on ${percent(accuracy)} of the cases`;
}

function callView(call, title) {
  const asked = call.messages ?? [];
  return element(
    "details",
    { class: "call" },
    element(
      "summary",
      {},
      title ?? `${call.stage} call ${call.index}`,
      element("span", { class: "dim" }, ` ${call.model}, ${count(call.prompt)} tokens in, ${count(call.completion)} out`),
      call.finish !== "stop" && element("span", { class: "verdict failed" }, ` ends by: ${call.finish}`),
    ),
    conversation(
      asked.map((message) => ({ role: String(message.role), content: contentOf(message.content) })),
      call.text,
    ),
    element("p", { class: "dim detail" }, JSON.stringify(call.settings)),
  );
}

function contentOf(content) {
  return typeof content === "string" ? content : JSON.stringify(content, null, 1);
}

// Words of two texts: [[word, in both?]] for each.
const LONGEST_DIFF = 1500;
function differences(a, b) {
  const [x, y] = [a, b].map((whole) => whole.match(/\s+|\p{Script=Han}|[\p{L}\p{N}]+|[^]/gu) ?? []);
  if (x.length > LONGEST_DIFF || y.length > LONGEST_DIFF) return null;
  const width = y.length + 1;
  const longest = new Uint16Array((x.length + 1) * width);
  for (let i = x.length - 1; i >= 0; i--) {
    for (let j = y.length - 1; j >= 0; j--) {
      longest[i * width + j] =
        x[i] === y[j]
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const [left, right] = [[], []];
  let [i, j] = [0, 0];
  while (i < x.length || j < y.length) {
    if (i < x.length && j < y.length && x[i] === y[j]) {
      left.push([x[i++], true]);
      right.push([y[j++], true]);
    } else if (j >= y.length || (i < x.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) {
      left.push([x[i++], false]);
    } else {
      right.push([y[j++], false]);
    }
  }
  return [left, right];
}

function marked(words, kind) {
  const runs = [];
  for (const [word, same] of words) {
    const last = runs[runs.length - 1];
    if (last && last[1] === same) last[0] += word;
    else runs.push([word, same]);
  }
  return runs.map(([run, same]) => (same ? run : element("mark", { class: kind }, run)));
}

function sideBySide(chosen, rejected) {
  const found = differences(chosen, rejected);
  const side = (name, kind, whole, words) =>
    element(
      "div",
      { class: `side ${kind}` },
      element("h3", {}, name),
      element("div", { class: "text", dir: "auto" }, words ? marked(words, kind) : whole, whole === "" && empty()),
    );
  return element(
    "div",
    { class: "sides" },
    side("✓ chosen", "true", chosen, found?.[0]),
    side("✗ rejected", "false", rejected, found?.[1]),
    !found && element("p", { class: "dim" }, "These texts are too long to be compared word by word."),
  );
}
