"""What MkDocs is told beside mkdocs.yml: pages made from other files, fences, llms.txt.

The start page is README.md; the contributor's map, the changes, the security policy and the report
of the experiment stand where GitHub and a reader of the source expect them. The commands are taken
from the parser, the API from `autoif.__all__`.
"""

from __future__ import annotations

import argparse
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import autoif
from autoif import cli

ROOT = Path(__file__).parents[1]
ELSEWHERE = {  # page: the file that it is made from
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changes.md": "CHANGELOG.md",
    "reporting.md": "SECURITY.md",
    "experiment.md": "experiments/ifeval_smollm2/README.md",
}
PICTURES = {"experiments/ifeval_smollm2/stages.png": "stages.png"}
COMMANDS = """# Commands

Each command says the same with `--help`. `autoif --version` names the version. The exit code is 0
when it is done, 1 when it failed, 2 for wrong usage.
"""
REFERENCE = """# API reference

Every name of `autoif`, from its docstring. [Python API](python-api.md) shows their use.
"""
_LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)\s#]+)")
_FENCE = re.compile(r"^```(\w+) (.*)$", re.MULTILINE)
_listed: dict[str, str] = {}  # the lines of llms.txt, by page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for page, source in ELSEWHERE.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, page, content=_with_addresses(text, source)))
    for source, name in PICTURES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_bytes()))
    files.append(File.generated(config, "commands.md", content=_commands()))
    files.append(File.generated(config, "reference.md", content=_reference()))
    return files


def _with_addresses(text: str, source: str) -> str:
    return _LINK.sub(lambda link: _address(link[1], source), text)


def _address(link: str, source: str) -> str:
    """Where a link of a file of the repository leads on the site."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    pages = {file: page for page, file in ELSEWHERE.items()} | PICTURES
    return pages.get(target, target.removeprefix("docs/"))


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fences as Python-Markdown reads them; links out of docs/ as links to the pages made of it."""
    text = _FENCE.sub(_fence, markdown.removeprefix("<!-- run: smoke -->\n"))
    if page.file.src_uri not in ELSEWHERE:
        text = _with_addresses(text, f"docs/{page.file.src_uri}")
    title = next(line for line in text.splitlines() if line.startswith("# ")).removeprefix("# ")
    _listed[page.file.src_uri] = f"- [{title}]({page.file.url}): {_summary(text)}"
    return text


def _fence(match: re.Match[str]) -> str:
    language, info = match.groups()
    name = info.removeprefix("file=") if info.startswith("file=") else ""
    return f'```{language} title="{name}"' if name else f"```{language}"


def _summary(text: str) -> str:
    """The first sentence that is no heading, comment, table or fence, without its full stop."""
    body = re.sub(r"^(```.*?^```|<!--.*?-->)$", "", text, flags=re.MULTILINE | re.DOTALL)
    for block in re.split(r"\n\s*\n", body):
        line = " ".join(block.split())
        if line and not line.startswith(("#", "|", "```", "- ", ":::", "![", "<")):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line).replace("**", "")
            return re.split(r"(?<=\.)\s|:\s", plain, maxsplit=1)[0].rstrip(":.")
    return ""


# ---- the commands ------------------------------------------------------------------------------


def _commands() -> str:
    parts = [COMMANDS]
    for name, parser in _parsers(cli._parser()):
        head = f"## autoif {name}\n\n{_sentence(parser.description)}\n"
        parts += [head, *_groups(parser)]
        examples = (parser.epilog or "").removeprefix("examples:").strip("\n")
        if examples:
            lines = "\n".join(f"$ {line.strip()}" for line in examples.splitlines() if line.strip())
            parts.append(f"```console\n{lines}\n```\n")
    return "\n".join(parts)


def _parsers(
    parser: argparse.ArgumentParser, name: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that does something, with its whole name."""
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if name and not inner:
        yield name, parser
    for action in inner:
        for sub, below in action.choices.items():
            yield from _parsers(below, f"{name} {sub}".strip())


def _groups(parser: argparse.ArgumentParser) -> Iterator[str]:
    for group in parser._action_groups:
        rows = [
            f"| {_option(action)} | {_cell(_help(parser, action))} |"
            for action in group._group_actions
            if not isinstance(action, argparse._HelpAction)
        ]
        if rows:
            title = (group.title or "").replace("positional arguments", "arguments")
            yield "\n".join([f"| {title} | |\n|---|---|", *rows, ""])


def _option(action: argparse.Action) -> str:
    value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
    shown = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        return f"`{shown}`"
    names = ", ".join(action.option_strings)
    return f"`{names} {shown}`" if shown and action.nargs != 0 else f"`{names}`"


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return parser._get_formatter()._expand_help(action) if action.help else ""


def _sentence(text: str | None) -> str:
    line = " ".join((text or "").split())
    return f"{line[:1].upper()}{line[1:]}{'' if line.endswith('.') else '.'}" if line else ""


def _cell(text: str) -> str:
    return re.sub(r"([*_<>\[\]])", r"\\\1", text).replace("|", "\\|")


# ---- the API -----------------------------------------------------------------------------------


def _reference() -> str:
    """A section for each public name, from its docstring; the names of `autoif.__all__`."""
    names = [name for name in autoif.__all__ if name in autoif._HOME]
    return "\n".join([REFERENCE, *(f"::: {autoif._HOME[name]}.{name}\n" for name in names)])


# ---- llms.txt ----------------------------------------------------------------------------------


def on_post_build(config: MkDocsConfig) -> None:
    """The pages for a reader that is a model (llmstxt.org): by section, each with a sentence."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", ""]
    for section in config.nav or []:
        for title, entries in section.items():
            lines += [f"## {title}", ""]
            for entry in entries:
                lines.append(
                    _listed[entry if isinstance(entry, str) else next(iter(entry.values()))]
                )
            lines.append("")
    (Path(config.site_dir) / "llms.txt").write_text("\n".join(lines), "utf-8")
