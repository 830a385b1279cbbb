// Elements are made one by one and texts are put into them as texts: nothing here parses markup.

// Characters that hide, or that turn text around, and lone surrogates: shown by their numbers.
const UNSEEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4" +
    "\\u17b5\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u2800\\u3164" +
    "\\ufe00-\\ufe0d\\ufeff\\uffa0\\ufff0-\\ufffb\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}]" +
    "|\\p{Surrogate}",
  "u",
);

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "href") made.setAttribute("href", localLink(value));
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  append(made, children);
  return made;
}

function append(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    if (child instanceof Node) parent.append(child);
    else appendText(parent, String(child));
  }
}

// A text of anybody's, with what would not be seen made visible.
function appendText(parent, text) {
  let rest = text;
  for (;;) {
    const found = UNSEEN.exec(rest);
    if (!found) break;
    if (found.index) parent.append(rest.slice(0, found.index));
    const code = found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    const mark = document.createElement("span");
    mark.className = "unseen-character";
    mark.title = `the character U+${code}`;
    mark.textContent = `U+${code}`;
    parent.append(mark);
    rest = rest.slice(found.index + found[0].length);
  }
  if (rest) parent.append(rest);
}

// What an object itself holds under a name that a file gives: "constructor" is no reason for a drop.
function own(object, name) {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

// Part of an address. Half of a character, as a text that was cut may end in, is let through.
function encoded(value) {
  return new URLSearchParams([["", value]]).toString().slice(1).replaceAll("+", "%20");
}

// Links lead to places in this page, nowhere else.
function localLink(target) {
  return String(target).startsWith("#") ? target : "#";
}

function drawing(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes ?? {})) made.setAttribute(name, String(value));
  append(made, children);
  return made;
}

function replace(parent, ...children) {
  parent.replaceChildren();
  append(parent, children);
}

// A model's or a user's text: as it is written, in its own direction.
function text(value, name = "") {
  return element("div", { class: `text ${name}`, dir: "auto" }, value === "" ? empty() : value);
}

function empty() {
  return element("span", { class: "dim" }, "(empty)");
}

const NUMBERS = new Intl.NumberFormat("en-US");
function count(n) {
  return NUMBERS.format(n);
}

function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}

function percent(share, digits = 0) {
  return share === null || share === undefined ? "-" : `${(100 * share).toFixed(digits)}%`;
}

function short(value, n) {
  const line = String(value).replace(/\s+/g, " ").trim();
  return line.length > n ? `${line.slice(0, n - 1)}…` : line;
}

function seconds(s) {
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return `${(s / 3600).toFixed(1)} h`;
}

function table(head, rows, attributes = {}) {
  const numeric = attributes.numeric ?? [];
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": attributes.label ?? "table" },
    element(
      "table",
      { class: attributes.class },
      element("thead", {}, element("tr", {}, head.map((cell) => element("th", { scope: "col", class: numeric.includes(cell) ? "number" : null }, cell)))),
      element("tbody", {}, rows),
    ),
  );
}

function announce(line) {
  document.getElementById("live").textContent = line;
}
