"""The prompts: one readable file for each in `prompts/LANG/NAME.md`, user-overridable.

A file has parts headed `[system]`, `[user]` and, in examples, `[assistant]` (or one `[text]`, a
fragment for other prompts), with `{{name}}` where a value goes. What varies stands last: a server's
prefix cache can help then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from autoif.base.errors import UsageError
from autoif.base.records import Message, content_id

_PART = re.compile(r"^\[(system|user|assistant|text)\]\n", re.MULTILINE)
_HOLE = re.compile(r"\{\{(\w+)\}\}")
_HOLE_AND_STOP = re.compile(r"\{\{(\w+)\}\}([.。]?)")
_STOP = re.compile(r"(?<![.。])[.。]\Z")  # three dots are no full stop


class PromptTemplates:
    """The prompts of one run. `overrides`: `name` or `name.lang` -> path of a file of one's own."""

    def __init__(self, overrides: Mapping[str, str] | None = None) -> None:
        self._overrides = dict(overrides or {})
        self._parts: dict[tuple[str, str], list[tuple[str, str]]] = {}
        shipped = {
            p.name[:-3] for p in files("autoif.synthesis").joinpath("prompts", "en").iterdir()
        }
        for key in self._overrides:
            name, _, lang = key.partition(".")
            if name not in shipped or lang not in ("", "en", "zh"):
                raise UsageError(f"prompts.{key}: no such prompt; there are: {sorted(shipped)}")
            own, original = self._load(name, lang or "en"), _parts(_shipped(name, lang or "en"))
            unknown = _holes(own) - _holes(original)
            if unknown:
                allowed = sorted(_holes(original))
                raise UsageError(f"prompts.{key}: unknown {sorted(unknown)}; it may use {allowed}")
            for each in [lang] if lang else ["en", "zh"]:  # read now: sent elsewhere it is whole
                self._parts[name, each] = self._load(name, each)

    def messages(self, prompt: str, lang: str, **values: object) -> tuple[Message, ...]:
        return tuple(
            Message(role, text)  # type: ignore[arg-type]  # the pattern knows no other roles
            for role, text in self._filled(prompt, lang, values)
        )

    def text(self, prompt: str, lang: str, **values: object) -> str:
        """A `[text]` fragment; its leading space, if any, belongs to it."""
        return "".join(text for _, text in self._filled(prompt, lang, values))

    def lines(self, prompt: str, lang: str) -> list[str]:
        """Of a `[text]` fragment that has one way to say a thing on each line; see `fill_line`."""
        text = "\n".join(text for _, text in self._cached(prompt, lang))
        return [line for line in text.splitlines() if line.strip()]

    @property
    def id(self) -> str:
        """Names the words of the overrides, so that an edited file makes another recipe."""
        if not self._overrides:
            return ""
        return content_id({k: Path(p).read_text("utf-8") for k, p in self._overrides.items()})

    def _filled(
        self, prompt: str, lang: str, values: Mapping[str, object]
    ) -> list[tuple[str, str]]:
        return [
            (role, _HOLE.sub(lambda m: str(values[m[1]]), text))
            for role, text in self._cached(prompt, lang)
        ]

    def _cached(self, prompt: str, lang: str) -> list[tuple[str, str]]:
        key = prompt, lang
        if key not in self._parts:
            self._parts[key] = self._load(prompt, lang)
        return self._parts[key]

    def _load(self, prompt: str, lang: str) -> list[tuple[str, str]]:
        path = self._overrides.get(f"{prompt}.{lang}") or self._overrides.get(prompt)
        if not path:
            return _parts(_shipped(prompt, lang))
        try:
            parts = _parts(Path(path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"prompt file {path}: {error}") from None
        if not parts:
            raise UsageError(f"prompt file {path}: no [system], [user] or [text] part")
        return parts


def sentence(text: str, stop: str) -> str:
    """The text with a full stop, but where it ends in a mark of its own or has several lines."""
    text = text.strip()
    return text if text.endswith(tuple(".。…?？!！")) or "\n" in text else text + stop


def fill_line(line: str, values: Mapping[str, str]) -> str:
    """A line with sentences in its holes: no full stop stands twice, or within brackets."""
    return _HOLE_AND_STOP.sub(
        lambda m: sentence(values[m[1]], m[2]) if m[2] else _STOP.sub("", values[m[1]]), line
    )


def _shipped(prompt: str, lang: str) -> str:
    return files("autoif.synthesis").joinpath("prompts", lang, f"{prompt}.md").read_text("utf-8")


def _parts(text: str) -> list[tuple[str, str]]:
    pieces = _PART.split(text)
    return [
        (role, body.rstrip("\n")) for role, body in zip(pieces[1::2], pieces[2::2], strict=True)
    ]


def _holes(parts: list[tuple[str, str]]) -> set[str]:
    return {hole for _, text in parts for hole in _HOLE.findall(text)}
