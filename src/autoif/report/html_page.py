"""The page: one HTML file of our own style and script, with the data of its runs or with none.

Data stands in it as base64 of gzipped JSON: no text of a model can be taken for markup. The
Content-Security-Policy names the hashes of the one style and the one script; nothing else runs, and
nothing is fetched but the data of `autoif view`.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from importlib.resources import files
from typing import Any, NamedTuple

# In the order in which they stand in the script.
SCRIPTS = (
    "elements.js",
    "sources.js",
    "plots.js",
    "texts.js",
    "lists.js",
    "overview.js",
    "records.js",
    "scores.js",
    "comparison.js",
    "review.js",
    "main.js",
)


class BuiltPage(NamedTuple):
    """The page, and its Content-Security-Policy."""

    html: str
    policy: str


def build(data: Any = None) -> BuiltPage:
    """The page with this data in it; without data, one that asks the server it came from."""
    folder = files("autoif.report") / "page"
    reasons = json.loads((folder / "reasons.json").read_text("utf-8"))
    script = "\n".join((folder / name).read_text("utf-8") for name in SCRIPTS)
    script = f'(() => {{\n"use strict";\n{script}\n}})();\n'
    style = (folder / "page.css").read_text("utf-8")
    allowed = policy(script, style, served=data is None)
    html = (
        (folder / "page.html")
        .read_text("utf-8")
        .replace("{{policy}}", allowed)
        .replace("{{style}}", style)
        .replace("{{reasons}}", packed(reasons))
        .replace("{{data}}", "" if data is None else packed(data))
        .replace("{{script}}", script)
    )
    return BuiltPage(html, allowed)


def policy(script: str, style: str, *, served: bool) -> str:
    """The Content-Security-Policy of the page."""
    connect = "'self'" if served else "'none'"
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        f"connect-src {connect}; img-src 'none'; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def packed(data: Any) -> str:
    """JSON, gzipped, as base64. Lone surrogates stand as JSON's escapes. The same data, the same
    text."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
