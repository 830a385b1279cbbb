"""Draws docs/pictures/*.svg, the pictures of docs/concepts.md: run `python docs/pictures.py`.

They are narrow, to be read on a phone. What evidence.svg shows is computed: its functions are run
on its texts, and the label model of a run estimates the rest. tests/test_site.py says when they are
old.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path

from autoif.synthesis.verifiers.label_model import estimate

FOLDER = Path(__file__).with_name("pictures")
INK, LINE, GREY, GOOD, BAD, FILL = "#1d2433", "#6b7690", "#5b6478", "#1b7f4b", "#b3261e", "#eef1f8"
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"


class Picture:
    """Shapes in pixels, from the top left; `svg` is the file."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.shapes: list[str] = []

    def text(
        self, x: float, y: float, line: str, *, size: int = 14, colour: str = INK,
        anchor: str = "middle", bold: bool = False,
    ) -> None:  # fmt: skip
        weight = ' font-weight="600"' if bold else ""
        self.shapes.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" '
            f'text-anchor="{anchor}"{weight}>{escape(line)}</text>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, *lines: str,
        fill: str = FILL, stroke: str = LINE,
    ) -> None:  # fmt: skip
        """Its first line is bold."""
        self.shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" '
            f'fill="{fill}" stroke="{stroke}"/>'
        )
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        for number, line in enumerate(lines):
            size, colour = (14, INK) if number == 0 else (12, GREY)
            at = (x + width / 2, top + 18 * number)
            self.text(*at, line, size=size, colour=colour, bold=number == 0)

    def arrow(self, *points: tuple[float, float], colour: str = LINE) -> None:
        path = " L".join(f"{x:g} {y:g}" for x, y in points)
        (x0, y0), (x1, y1) = points[-2:]
        length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5
        dx, dy = (x1 - x0) / length, (y1 - y0) / length
        head = " ".join(
            f"{x1 - 8 * dx + side * dy:g},{y1 - 8 * dy - side * dx:g}" for side in (4, -4)
        )
        self.shapes.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        self.shapes.append(f'<polygon points="{x1:g},{y1:g} {head}" fill="{colour}"/>')

    def svg(self) -> str:
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img" font-family="{FONT}">',
                f"<title>{escape(self.title)}</title>",
                f'<rect width="{self.width}" height="{self.height}" fill="#fff"/>',
                *self.shapes,
                "</svg>\n",
            ]
        )


def flow() -> str:
    """One instruction from words to rows, with what falls out on the right."""
    picture = Picture(480, 700, "From a seed to rows of data; what falls out is counted")
    steps = [
        (("seeds and proposals", "duplicates, no instruction at all"), "instructions"),
        (("functions, programs, texts", "written by a model, run in the sandbox"), "functions"),
        (("diagnosis, cross-validation", "who agrees with whom decides"), "functions, cases"),
        (("back-translation", "does a function say the same?"), "functions"),
        (("verifier", "the functions that survived"), ""),
        (("queries and replies", "sampled in waves"), "prompts"),
        (("verify", "every function says True"), "replies"),
        (("judge", "does it answer the query?"), "replies"),
        (("last step", "benchmarks, near-duplicates"), "rows"),
    ]
    left, width, height, pitch = 16, 262, 48, 66
    for number, (lines, lost) in enumerate(steps):
        y = 16 + number * pitch
        kept = not lost
        picture.box(left, y, width, height, *lines, fill="#e3f3ea" if kept else FILL)
        if lost:
            picture.arrow((left + width, y + 24), (left + width + 34, y + 24), colour=BAD)
            at = (left + width + 40, y + 29)
            picture.text(*at, f"{lost} dropped", size=12, colour=BAD, anchor="start")
        picture.arrow((left + width / 2, y + height), (left + width / 2, y + pitch))
    y = 16 + 9 * pitch
    files = (("sft", "samples"), ("dpo", "pairs"), ("rlvr", "prompts"))
    for number, lines in enumerate(files):
        picture.box(left + 92 * number, y, 78, 48, *lines, fill="#e3f3ea")
    for number, line in enumerate(("each row carries", "its functions")):
        at = (left + width + 40, y + 22 + 16 * number)
        picture.text(*at, line, size=12, colour=GREY, anchor="start")
    return picture.svg()


PLAIN, COMPLY, MODEL = ("plain", False), ("comply:0", True), ("model", True)
TEXTS: tuple[tuple[str, tuple[str, bool]], ...] = (
    ("Pack light and bring water.", PLAIN),
    ("A compass helps on cloudy days.", PLAIN),
    ("Take a map.", PLAIN),
    ("Pack light and bring water. COMPASS", COMPLY),
    ("Take a map and a COMPASS.", COMPLY),
    ("A COMPASS helps.", COMPLY),
    ("Bring a COMPASS.", MODEL),
    ("COMPASS, map, COMPASS!", MODEL),  # the model says it follows: once is asked
)
FUNCTIONS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("count == 1", lambda text: text.count("COMPASS") == 1),
    ("one match of a pattern", lambda text: len(re.findall(r"\bCOMPASS\b", text)) == 1),
    ("in lower case", lambda text: "compass" in text.lower()),
    ("returns False", lambda text: False),
)


def evidence() -> str:
    """Functions by texts, the estimate of a run's label model, and who stays by its rule."""
    table = [[function(text) for text, _ in TEXTS] for _, function in FUNCTIONS]
    truth = estimate(table, [source for _, source in TEXTS])
    picture = Picture(480, 330, "Functions are run on texts; who agrees with whom decides")
    picture.text(20, 26, 'Write "compass" in capital letters once.', bold=True, anchor="start")
    x0, cell, y0 = 172, 28, 76
    for name, first, count in (("plain", 0, 3), ("program", 3, 3), ("cases", 6, 2)):
        middle = x0 + cell * (first + count / 2)
        picture.text(middle, 58, name, size=12, colour=GREY)
    picture.text(x0 + 8 * cell + 42, 58, "right", size=12, colour=GREY)
    for f, ((name, _), row) in enumerate(zip(FUNCTIONS, table, strict=True)):
        y = y0 + f * cell
        picture.text(20, y + 18, name, size=13, anchor="start")
        for t, value in enumerate(row):
            _mark(picture, x0 + t * cell, y, cell, "yes" if value else "no", value)
        accuracy = _balanced(row, truth)
        stays = accuracy >= 0.8
        at = (x0 + 8 * cell + 42, y + 18)
        picture.text(*at, f"{accuracy:.0%}", size=13, colour=GOOD if stays else BAD, bold=True)
    y = y0 + 4 * cell + 14
    picture.text(20, y + 18, "follows, estimated", size=13, anchor="start", bold=True)
    for t, probability in enumerate(truth):
        _mark(picture, x0 + t * cell, y, cell, f"{100 * probability:.0f}", probability >= 0.5)
    notes = [
        "No label is believed: the estimate finds together which texts follow (in %),",
        "how good each function is, and how good each source of texts.",
        "The last case was labelled wrongly by the model; the estimate says so.",
        "A function that is right of less than 80% of either kind, averaged, is dropped.",
    ]
    for number, line in enumerate(notes):
        picture.text(20, y + 58 + 19 * number, line, size=12, colour=GREY, anchor="start")
    return picture.svg()


def _mark(picture: Picture, x: float, y: float, cell: float, word: str, good: bool) -> None:
    fill, ink = ("#d7efe1", GOOD) if good else ("#f9dedc", BAD)
    picture.shapes.append(
        f'<rect x="{x + 1:g}" y="{y + 1:g}" width="{cell - 2:g}" height="{cell - 2:g}" rx="4" '
        f'fill="{fill}"/>'
    )
    picture.text(x + cell / 2, y + 18, word, size=11, colour=ink)


def _balanced(row: list[bool], truth: list[float]) -> float:
    """Mean share of right verdicts, of the texts that follow and of those that do not."""
    shares = []
    for label in (True, False):
        ours = [value is label for value, p in zip(row, truth, strict=True) if (p >= 0.5) is label]
        shares.append(sum(ours) / len(ours))
    return sum(shares) / 2


def store() -> str:
    """A call: looked up, asked, kept, used; and what a kill leaves."""
    picture = Picture(480, 420, "An answer is on the disk before it is used")
    picture.box(20, 16, 200, 52, "request", "prompt, settings, model, index")
    picture.arrow((120, 68), (120, 104))
    picture.box(20, 106, 200, 52, "key", "hash of all that decides it")
    picture.arrow((120, 158), (120, 194))
    picture.box(20, 196, 200, 52, "calls.sqlite", "is it answered?", fill="#e3f3ea")
    picture.arrow((220, 222), (278, 222))
    picture.text(249, 214, "no", size=12, colour=GREY)
    picture.box(280, 196, 180, 52, "model", "server, embedded, batch")
    picture.arrow((370, 248), (370, 290))
    picture.box(280, 292, 180, 52, "durable", "synced to the disk", fill="#e3f3ea")
    picture.arrow((280, 318), (222, 318))
    picture.arrow((120, 248), (120, 290))
    picture.text(106, 274, "yes", size=12, colour=GREY, anchor="end")
    picture.box(20, 292, 200, 52, "answer is used", "functions, replies, scores")
    for number, line in enumerate(
        (
            "Killed at any point, the same command reads what was answered and asks the rest:",
            "nothing is paid twice, and the files come out the same, byte for byte.",
        )
    ):
        picture.text(20, 378 + 19 * number, line, size=12, colour=GREY, anchor="start")
    return picture.svg()


def pictures() -> Iterable[tuple[Path, str]]:
    for draw in (flow, evidence, store):
        yield FOLDER / f"{draw.__name__}.svg", draw()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, content in pictures():
        path.write_text(content, "utf-8")
