// Judging by hand: samples that are drawn by chance, one by one, blind to what the judge gave until
// they are marked.

const ASKED = [
  ["follows", "f", "Does the response follow the instruction?"],
  ["answers", "a", "Does it answer the query?"],
  ["sensible", "s", "Could somebody want this instruction of this query?"],
];
const MEANINGS = {
  follows: "follow the instruction",
  answers: "answer the query",
  sensible: "have a sensible instruction",
  good: "all three: precision",
};

class Review {
  constructor(app, run) {
    Object.assign(this, { app, run, at: 0, answers: {}, reviewer: localStorage.getItem("reviewer") ?? "" });
    this.n = localStorage.getItem("review-n") ?? "30";
    this.seed = localStorage.getItem("review-seed") ?? "1";
    this.node = element("div", { class: "page review" });
  }

  async start() {
    if (!this.reviewer) return replace(this.node, this.settings());
    const found = await this.app.source.review(this.run, { reviewer: this.reviewer, n: this.n, seed: this.seed });
    Object.assign(this, found);
    const first = this.drawn.findIndex((id) => !this.marks[id]);
    this.at = first < 0 ? 0 : first;
    await this.show();
  }

  settings() {
    const field = (name, label, value, type, more) => element("label", {}, `${label} `, element("input", { name, value, type, required: true, min: type === "number" ? 1 : null, ...more }));
    const names = Object.keys(this.app.runs[this.run].review?.reviewers ?? {});
    return element(
      "form",
      {
        class: "card",
        onsubmit: (event) => {
          event.preventDefault();
          const form = event.target.elements;
          localStorage.setItem("reviewer", (this.reviewer = form.reviewer.value.trim()));
          localStorage.setItem("review-n", (this.n = form.n.value));
          localStorage.setItem("review-seed", (this.seed = form.seed.value));
          this.start().catch((error) => this.app.fail(error));
        },
      },
      element("h1", {}, "Judge samples by hand"),
      element("p", {}, "Kept samples are drawn by chance. You see the prompt and the response, and say three things of each. What the judge gave is shown after your mark. Marks are appended to review.jsonl in the run's directory."),
      element("p", { class: "choices" }, field("reviewer", "Your name", this.reviewer, "text", { list: "reviewers" }), field("n", "samples", this.n, "number"), field("seed", "seed", this.seed, "number")),
      element("datalist", { id: "reviewers" }, names.map((name) => element("option", { value: name }))), // to go on as the same
      element("button", { type: "submit", class: "primary" }, "Begin"),
    );
  }

  async show() {
    const id = this.drawn[this.at];
    const done = Object.keys(this.marks).filter((name) => this.drawn.includes(name)).length;
    const head = element(
      "div",
      { class: "head-line" },
      element("h1", {}, id ? `Sample ${this.at + 1} of ${this.drawn.length}` : "No kept sample yet"),
      element("p", {}, `${done} marked by ${this.reviewer}. `, element("button", { type: "button", class: "plain", onclick: () => replace(this.node, this.settings()) }, "change")),
    );
    const result = element("details", { class: "card", open: done === this.drawn.length }, element("summary", {}, "What the marks say so far"), resultOf(this.result));
    if (!id) return replace(this.node, head, result);
    const record = await this.app.source.record(this.run, "samples", id);
    if (this.drawn[this.at] !== id) return;
    const mark = this.marks[id];
    this.answers = mark ? { ...mark } : { note: "" };
    this.note = element("textarea", { rows: 2, "aria-label": "note", placeholder: "A note ( n )" }, this.answers.note);
    const ids = record.instruction.split(",").filter(Boolean); // none where its verifier is missing
    const names = ids.map((i) => element("li", {}, instructionName(this.app, this.run, i)));
    const seen = mark && sampleView(record, record.row, await verifiersOf(record, this.app, this.run), this.run).slice(3);
    replace(
      this.node,
      head,
      names.length > 0 && element("section", { class: "card" }, element("h2", {}, names.length > 1 ? "Instructions" : "Instruction"), element("ul", {}, names)),
      conversation(record.row.messages, record.row.response),
      this.questions(Boolean(mark)),
      mark && element("section", {}, element("h2", {}, "What the run says of it"), element("p", {}, score(record.quality)), seen),
      result,
    );
  }

  questions(marked) {
    this.buttons = {};
    return element(
      "section",
      { class: "card questions", "aria-label": "your mark" },
      ASKED.map(([name, key, question]) => {
        const button = (value, label) =>
          element("button", { type: "button", "aria-pressed": String(this.answers[name] === value), onclick: () => this.answer(name, value) }, label);
        const [yes, no] = [button(true, "yes"), button(false, "no")];
        this.buttons[name] = [yes, no];
        return element("div", { class: "question" }, element("span", {}, element("kbd", {}, key), ` ${question}`), element("span", {}, yes, no));
      }),
      this.note,
      element(
        "p",
        {},
        element("button", { type: "button", class: "primary", onclick: () => this.save().catch((error) => this.app.fail(error)) }, marked ? "Change the mark" : "Save ( Enter )"),
        " ",
        element("span", { class: "dim" }, marked ? "Enter, j: the next one. k: the one before." : "f, a, s: yes, again: no. y: yes to all. j, k: the next one, the one before."),
      ),
    );
  }

  answer(name, value) {
    this.answers[name] = value;
    const [yes, no] = this.buttons[name];
    yes.setAttribute("aria-pressed", String(value === true));
    no.setAttribute("aria-pressed", String(value === false));
  }

  // Enter on a mark that stands goes on to the next sample.
  async enter() {
    const mark = this.marks[this.drawn[this.at]];
    const changed = !mark || (mark.note ?? "") !== this.note.value || ASKED.some(([name]) => mark[name] !== this.answers[name]);
    await (changed ? this.save() : this.step(1));
  }

  async save() {
    const missing = ASKED.find(([name]) => this.answers[name] === undefined);
    if (missing) return announceError(this.node, `Not answered yet: ${missing[2]}`);
    const sample = this.drawn[this.at];
    const mark = { sample, reviewer: this.reviewer, note: this.note.value };
    for (const [name] of ASKED) mark[name] = this.answers[name];
    await this.app.source.mark(this.run, mark);
    const found = await this.app.source.review(this.run, { reviewer: this.reviewer, n: this.n, seed: this.seed });
    Object.assign(this, found);
    announce("saved");
    await this.show();
    this.node.querySelector(".questions")?.scrollIntoView({ block: "nearest" });
  }

  key(event) {
    if (!this.drawn?.length) return false;
    const asked = ASKED.find(([, key]) => key === event.key);
    if (asked) this.answer(asked[0], this.answers[asked[0]] !== true);
    else if (event.key === "y") for (const [name] of ASKED) this.answer(name, true);
    else if (event.key === "n") this.note.focus();
    else if (event.key === "Enter" && event.target.tagName !== "BUTTON") this.enter().catch((error) => this.app.fail(error));
    else return false;
    return true;
  }

  async step(by) {
    const next = this.at + by;
    if (!this.drawn || next < 0 || next >= this.drawn.length) return;
    this.at = next;
    await this.show();
    window.scrollTo(0, 0);
  }
}

function announceError(node, line) {
  node.querySelector(".questions .error")?.remove();
  node.querySelector(".questions")?.append(element("p", { class: "error", role: "alert" }, line));
}

function resultOf(result) {
  const reviewers = Object.entries(result.reviewers);
  if (!reviewers.length) return element("p", { class: "dim" }, "Nothing is marked yet.");
  const interval = (share) => (share.n ? `${share.k} of ${share.n}: ${percent(share.value)} (95%: ${percent(share.low)} to ${percent(share.high)})` : "-");
  return [
    table(
      ["kept samples that", ...reviewers.map(([name]) => name)],
      Object.entries(MEANINGS).map(([question, words]) =>
        element("tr", {}, element("th", { scope: "row" }, words), reviewers.map(([, of]) => element("td", {}, interval(of.precision[question])))),
      ),
      { label: "precision of kept samples" },
    ),
    result.agreement.map((pair) =>
      element("p", {}, `${pair.a} and ${pair.b} agree on ${pair.k} of ${pair.n}`, pair.kappa !== null && `, kappa ${pair.kappa.toFixed(2)}`),
    ),
  ];
}
