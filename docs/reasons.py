"""Writes what pages say of stages and reasons: run `python docs/reasons.py` after changing
docs/reading-a-run.md, which is where it is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reading-a-run.md"
FILE = ROOT / "src/autoif/report/page/reasons.json"
ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \| (.*) \|$", re.MULTILINE)
ANY = "any"  # stage: a heading or a line of words stands above the table of all that call a model


def plain(text: str) -> str:
    """One line of Markdown as words."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return text.replace("`", "").strip()


def reasons() -> str:
    text = PAGE.read_text("utf-8")
    stages_part, _, reasons_part = text.partition("## The reasons")
    _, _, stages_part = stages_part.partition("## The stages")
    stages = {
        name.strip("`"): plain(rest.split(" | ")[-1]) for name, rest in ROW.findall(stages_part)
    }
    said: dict[str, dict[str, str]] = {ANY: {}}
    heads = re.split(r"^### (.*)$", reasons_part.partition("\n## ")[0], flags=re.MULTILINE)
    for heading, part in zip([ANY, *heads[1::2]], heads[::2], strict=True):
        for names, rest in ROW.findall(part):
            meaning, _, advice = rest.rstrip(" |").partition(" | ")
            sentence = plain(meaning) + (f" ({plain(advice)})" if advice.strip() else "")
            for stage in re.split(r", | and ", heading):
                for name in names.split(", "):
                    said.setdefault(stage, {})[name.strip("`")] = sentence
    return json.dumps({"stages": stages, "reasons": said}, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(reasons(), "utf-8")
