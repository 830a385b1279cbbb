// Small pictures. Each says in words what it shows, for those who do not see it.

// Bars of what was kept and what was not, by value. bins: [from, to, kept, not kept].
function histogram(title, bins, label) {
  if (!bins?.length) return null;
  const [width, height, foot] = [320, 120, 18];
  const most = Math.max(1, ...bins.map(([, , kept, lost]) => kept + lost));
  const step = width / bins.length;
  const bars = bins.map(([from, to, kept, lost], n) => {
    const [high, low] = [((height - 16) * kept) / most, ((height - 16) * lost) / most];
    const x = n * step + 1;
    const hint = `${label(from, to)}: ${count(kept)} kept, ${count(lost)} not`;
    return drawing(
      "g",
      {},
      drawing("title", {}, hint),
      drawing("rect", { x, y: 0, width: step - 2, height, class: "ground" }),
      drawing("rect", { x, y: height - high, width: step - 2, height: high, class: "kept" }),
      drawing("rect", { x, y: height - high - low, width: step - 2, height: low, class: "lost" }),
      kept + lost === most &&
        drawing("text", { x: x + step / 2 - 1, y: height - high - low - 3, "text-anchor": "middle" }, count(most)),
    );
  });
  const ends = [bins[0][0], bins[bins.length - 1][1]];
  return figure(
    title,
    drawing(
      "svg",
      { viewBox: `0 0 ${width} ${height + foot}`, role: "img", "aria-label": `${title}: ${summaryOf(bins, label)}` },
      bars,
      drawing("text", { x: 0, y: height + 14 }, label(ends[0], ends[0])),
      drawing("text", { x: width, y: height + 14, "text-anchor": "end" }, label(ends[1], ends[1])),
    ),
  );
}

function summaryOf(bins, label) {
  return bins
    .filter(([, , kept, lost]) => kept + lost)
    .map(([from, to, kept, lost]) => `${label(from, to)} ${kept} kept ${lost} not`)
    .join("; ");
}

function figure(title, picture) {
  return element("figure", {}, element("figcaption", {}, title), picture);
}

// How much of a whole was kept.
function shareBar(kept, whole, label, kind = "") {
  const bar = element("span", { class: `bar ${kind}`, role: "img", "aria-label": label });
  const part = element("span", { class: "part" });
  part.style.width = whole ? `${(100 * kept) / whole}%` : "0";
  bar.append(part);
  return bar;
}

// Points over steps or rounds. lines: [{name, points: [[x, y, n]]}]. Points that rest on different
// numbers are joined by no line.
function lineChart(title, lines) {
  const every = lines.flatMap((line) => line.points);
  if (!every.length) return null;
  const [width, height, left, foot] = [340, 150, 44, 18];
  const xs = every.map(([x]) => x);
  const ys = every.map(([, y]) => y);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  if (y0 === y1) [y0, y1] = [y0 - 0.5, y1 + 0.5];
  const X = (x) => left + ((width - left - 8) * (x - x0)) / (x1 - x0 || 1);
  const Y = (y) => 8 + ((height - 16) * (y1 - y)) / (y1 - y0);
  const drawn = lines.map((line, number) => {
    const pieces = [];
    for (const point of line.points) {
      const last = pieces[pieces.length - 1];
      if (last && last[last.length - 1][2] === point[2]) last.push(point);
      else pieces.push([point]);
    }
    const few = line.points.length <= 40;
    return drawing(
      "g",
      { class: `line line-${number}` },
      pieces.map((piece) =>
        drawing("polyline", { points: piece.map(([x, y]) => `${X(x).toFixed(1)},${Y(y).toFixed(1)}`).join(" ") }),
      ),
      few &&
        line.points.map(([x, y, n]) =>
          drawing(
            "g",
            {},
            drawing("title", {}, `${line.name} ${x}: ${figureOf(y)}${n === null ? "" : `, n = ${n}`}`),
            drawing("circle", { cx: X(x), cy: Y(y), r: 3 }),
            n !== null && drawing("text", { x: X(x), y: Y(y) - 6, "text-anchor": "middle" }, `n=${n}`),
          ),
        ),
    );
  });
  const last = lines.map((line) => `${line.name} ends at ${figureOf(line.points[line.points.length - 1][1])}`);
  return figure(
    title,
    drawing(
      "svg",
      { viewBox: `0 0 ${width} ${height + foot}`, role: "img", "aria-label": `${title}: ${last.join("; ")}` },
      drawing("line", { x1: left, y1: height - 8, x2: width - 8, y2: height - 8, class: "axis" }),
      drawing("text", { x: left - 4, y: Y(y1) + 4, "text-anchor": "end" }, figureOf(y1)),
      drawing("text", { x: left - 4, y: Y(y0) + 4, "text-anchor": "end" }, figureOf(y0)),
      drawing("text", { x: left, y: height + 10 }, x0),
      drawing("text", { x: width - 8, y: height + 10, "text-anchor": "end" }, x1),
      drawn,
    ),
  );
}

function figureOf(value) {
  const size = Math.abs(value);
  if (size && size < 0.001) return value.toExponential(1);
  return String(Number(value.toFixed(size < 10 ? 3 : 1)));
}
