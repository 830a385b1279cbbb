"""What a model's answer means: tolerant of form, never a guess, never an exception, never slow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoif.synthesis.prompts.parsing import (
    parse_code,
    parse_json,
    parse_lines,
    parse_relation,
    parse_score,
    parse_yes,
)
from autoif.synthesis.verifiers.write import normalise
from autoif.verifier.schema import parse_label

FUNCTION = 'def evaluate(response):\n    return "#" in response'
WRONG = "def evaluate(response):\n    return 1"


@pytest.mark.parametrize(
    "answer",
    [
        FUNCTION,
        f"```python\n{FUNCTION}\n```",
        f"Here it is:\n\n```py\n{FUNCTION}\n```\nIt looks for a hash.",
        f"```\n{FUNCTION}",
        f"Sure!\n\n{FUNCTION}\n\nThis function looks for a hash.",
        json.dumps({"func": FUNCTION, "cases": []}),
        f"````markdown\nThe function:\n\n```python\n{FUNCTION}\n```\n````",
        f"~~~python\n{FUNCTION}\n~~~",
        f"```python\n{FUNCTION}```",
        "1. Here:\n\n   ```python\n   " + FUNCTION.replace("\n", "\n   ") + "\n   ```\n2. Done.",
        "Here:\n\n    " + FUNCTION.replace("\n", "\n    ") + "\n\nThat is all.",
        f"```python\n{FUNCTION}\n```".replace("\n", "\r\n"),
        f"A fence is ```.\n\n```python\n{FUNCTION}\n```\nIt isn't more.",
        f"```python\nprint(1)\n\n```python\n{FUNCTION}\n```\nThe first was not closed.",
        f"```python\ndef evaluate(response):\n    return 1\n```\nNo:\n```python\n{FUNCTION}\n```",
        f"```python\n{FUNCTION}\n```\nUse it so:\n```python\nprint(evaluate('#'))\n```",
        f"{FUNCTION}\n\n## How it works\nif you use it, note this:\nit's exact.",
        "```json\n" + json.dumps({"code": [{"python": FUNCTION}]}) + "\n```",
        "As JSON: " + json.dumps({"func": f"```python\n{FUNCTION}\n```"}),
        "> " + FUNCTION.replace("\n", "\n> "),
        "> ```python\n> " + FUNCTION.replace("\n", "\n> ") + "\n> ```\n\nDone.",
        f"\ufeff{FUNCTION}",
        f"```python\n{FUNCTION}\n```".replace("\n", "\r"),
        f"```python\n{FUNCTION}\n\nThis function looks for a hash.",
        f"```python\nx = evaluate('#')\n```\nThis is it:\n```python\n{FUNCTION}\n```",
        f"```python\nx = (1,\n```\nNo, I mean:\n```python\n{FUNCTION}\n```",
        f"```python\nx = 'a\n```\nNo, I mean:\n```python\n{FUNCTION}\n```",
        f"{FUNCTION}\nprint(evaluate('#'))\n\nThis prints it.",
        f"```python\n{FUNCTION}\n```\nBeside it:\n```python\nunrelated = 1\n```",
        f"This is wrong:\n```python\n{WRONG}\n```\nThis is right:\n```python\n{FUNCTION}\n```",
        f"This is wrong:\n```python\n{WRONG}\n```\nThis is right:\n\n{FUNCTION}",
        '{"func": "' + FUNCTION.replace('"', '\\"') + '"}',  # line breaks as they are
    ],
)
def test_code_is_found_wherever_it_stands(answer: str) -> None:
    assert parse_code(answer, "evaluate") == FUNCTION


FENCES = [
    "def evaluate(response):\n    return '```' in response",
    'def evaluate(response):\n    return response.count("```") >= 2  # counts ``` fences',
    "import re\n\ndef evaluate(response):\n    return bool(re.search('```.*?```', response))",
    'def evaluate(response):\n    """As in:\n    ```\n    x\n    ```\n    """\n    return True',
    "M = '''\n```\nisn't \"prose\"\n```\n'''\n\ndef evaluate(response):\n    return M in response",
    "def evaluate(response):\n    # don't stop at\n    # ```\n    return '\\'```' in response",
    "def evaluate(response):\n    return '~~~' in response or f\"{response!r}\\n```\" == ''",
]


@pytest.mark.parametrize("source", FENCES)
@pytest.mark.parametrize(
    "form",
    [
        "{}",
        "```python\n{}\n```",
        "```\n{}\n```\nAnd ```so``` on.",
        "````py\n{}\n````",
        "~~~\n{}\n~~~",
        "Yes.\n```python\n{}",
        "Sure:\n\n{}\n\nThis looks for fences.",
    ],
)
def test_a_fence_within_the_code_does_not_cut_it(source: str, form: str) -> None:
    assert parse_code(form.format(source), "evaluate") == source
    assert parse_code(json.dumps({"func": form.format(source)}), "evaluate") == source


ABOVE = [
    "import re",
    "# counts\nWORDS = [\n    'a',\n]",
    "import math\nfrom re import (\n    I,\n)\n\ndef helper(t: str) -> bool:\n    return bool(t)",
    "try:\n    import regex\nexcept ImportError:\n    regex = None",
    'TEXT: str = """\nIt is not for "us".\n"""\nA, B = 1, 2',
    "class Counter:\n    n = 0\n\nCOUNTER = Counter()",
    "BAD = []\nBAD.extend([\n    'a',\n])\nassert BAD",
]


@pytest.mark.parametrize("above", ABOVE)
def test_what_is_defined_above_the_function_comes_with_it(above: str) -> None:
    whole = f"{above}\n\n{FUNCTION}"
    for answer in (
        f"```python\n{whole}\n```",
        f"```python\n{above}\n```\nand then\n```python\n{FUNCTION}\n```",
        f"First it's imports:\n\n{whole}\n\nThis works (I think.",
        f"{above}\n\nNow the function:\n\n{FUNCTION}",
    ):
        assert parse_code(answer, "evaluate") == whole


def test_a_helper_below_the_function_comes_with_it() -> None:
    function = "def evaluate(response):\n    return helper(response)"
    helper = "def helper(text):\n    return '#' in text"
    answer = f"```python\n{function}\n```\nThe helper:\n```python\n{helper}\n```"
    assert parse_code(answer, "evaluate") == f"{helper}\n\n{function}"


def test_a_generic_function_is_one() -> None:
    source = "def evaluate[T](response: T) -> bool:\n    return True"
    assert parse_code(f"```python\n{source}\n```", "evaluate") == source


def test_imports_and_constants_above_bare_code_belong_to_it() -> None:
    source = f"import re\nWORDS = 3\n\n{FUNCTION}"
    assert parse_code(f"Of course.\n{source}\n\nDone.", "evaluate") == source


@pytest.mark.parametrize("answer", ["", "No.", "```python\nprint(1)\n```", "def evaluated(x): 1"])
def test_without_the_function_there_is_no_code(answer: str) -> None:
    assert parse_code(answer, "evaluate") is None


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"a": [1, true]}', {"a": [1, True]}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('The answer is {"a": 1}. Enjoy!', {"a": 1}),
        ("{'a': True, 'b': None,}", {"a": True, "b": None}),
        ("""{'say': 'it\\'s "here"', "x": False}""", {"say": 'it\'s "here"', "x": False}),
        ('{"a": """two\nlines"""}', {"a": "two\nlines"}),
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        ("[1, 2, 3,]", [1, 2, 3]),
        ("no JSON at all", None),
        ("{" * 50_000, None),
        ("[" * 50_000 + "]" * 50_000, None),
        ('{"a": "\\ud800"}', {"a": "?"}),  # a lone surrogate is no text
        ('{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    ],
)
def test_json_is_read_as_models_write_it(answer: str, value: Any) -> None:
    assert parse_json(answer) == value


def test_strict_takes_whole_json_alone() -> None:
    assert parse_json('{"a": 1}', tolerant=False) == {"a": 1}
    assert parse_json("{'a': 1}", tolerant=False) is None


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Score: 8", 8.0),
        ("score: **9**", 9.0),
        ("**Score:** 8.5/10", 8.5),
        ("Good.\nScore: 7 out of 10", 7.0),
        ("Score: 85/100", 8.5),
        ("Score: 3\nOn second thoughts,\nScore: 6", 6.0),
        ("评分：9", 9.0),
        ("9", 9.0),
        ("The reply is fine.\n\n8/10", 8.0),
        ('{"score": 7}', 7.0),
        ("Score: 11", None),
        ("I give it a nine.", None),
        ('{"score": 1' + "0" * 400 + "}", None),
        ("Score: 0", 0.0),
        ("", None),
        ("Score (1-10): 7", 7.0),
        ("得分（1-10）：7", 7.0),
        ("**Score (out of 10)**: 7", 7.0),
        ("Score: 4/10\n(the maximum score is 10)", 4.0),
        ('{"score": 4, "max_score": 10}', 4.0),
        ("Score: 7/10, not yet a perfect score of 10", 7.0),
        ("Score: 8/10\nThe score 3 means nearly nothing.", 8.0),
        ("Score: -2", None),
        ("Relevance score: 9\nDepth score: 4\nOverall: 6", 6.0),
        ("I give it 7 out of 10.", 7.0),
        ("\\boxed{7}", 7.0),
        ("Score: 2/3 demands. Final: 7", 7.0),
        ("Rating: [[9]]", 9.0),
        ("<score>7</score>", 7.0),
        ("Score: 8-9", None),
        ("Score:\n\n**9**", 9.0),
        ("| Criterion | Score |\n|---|---|\n| Accuracy | 9 |\n| Overall | 7 |", 7.0),
        ("On a scale of 0 to 10, I rate it 8.", 8.0),
        ("On a scale from 1 to 10, the score is 7", 7.0),
        ("Score on a scale of 0 to 10: 6", 6.0),
        ("Score 9/10", 9.0),
        ("I would give this an 8/10.", 8.0),
        ("It is not worth a score of 10.", None),
        ("满分10分，得8分", 8.0),
        ("得分：9分", 9.0),
        ("我给它8分。", 8.0),
        ("总分：8/10", 8.0),
        ("准确性得分：9\n流畅性得分：3\n总分：6", 6.0),
        ("Score: −1", None),
        ("Score: 4/5", 8.0),
        ("Score: 9 - good", 9.0),
        ("Score: 9 because it answers", 9.0),
        ("Score: 90%", 9.0),
        ('{"accuracy": 9, "fluency": 3, "overall": 8}', 8.0),
        ('{"scores": {"accuracy": 9, "overall_score": 6}}', 6.0),
        ('{"rating": "8/10", "reason": "x: 3"}', 8.0),
        ('```json\n{"score": "9"}\n```', 9.0),
        ("Accuracy score: 9\nFluency score: 3", None),
        ("Quality score: 8", 8.0),
        ("The total is 12 apples, which is right.\nScore: 8", 8.0),
        ("9\n\nIt answers well, in 3 parts.", 9.0),
        ("Score (max 10): 9", 9.0),
        ("Score (1-5): 4", 8.0),
        ("Score: 9 (out of 10)", 9.0),
        ("得分（满分10分）：9", 9.0),
        ("Final Score: 7.5/10.", 7.5),
        ("Overall rating - 8/10", 8.0),
        ("10 is the highest score: 4 is what it gets", None),
        ("**Score**: 9\n\n(0 = bad, 10 = perfect)", 9.0),
        ("Score: 10 would be perfect, but 7", None),
        ("Scale: 0-10\nScore: 6", 6.0),
        ("Score: 1.5e3", None),
        ("**Overall Score:** **8**/10", 8.0),
        ("Score=7", 7.0),
        ("Score：８", 8.0),
        ("Score: 6\n\nA score of 10 means that it is perfect.", 6.0),
        ("Score: 7\nMinimum score: 0, maximum score: 10", 7.0),
        ("Score is 5 out of 10", 5.0),
        ("Final answer: 8", 8.0),
        ("Rating: 3 stars", 3.0),
        ("Score: 9, 10 being the best", 9.0),
        ("Score: 6 → 8", 8.0),
        ("Score: 6/10 -> 8/10", 8.0),
        ("Score: ~~6~~ 8", 8.0),
        ("Revised score: 8\nThe score was: 6", 8.0),
        ("原评分：6\n修正评分：8", 8.0),
        ("Score: 6. If it had been shorter, score: 9", 6.0),
        ("If it had been shorter, score: 9", None),
        ("Had it been shorter, score: 9", None),
        ("Score: 9 if it had been shorter", None),
        ("If it had been shorter:\nScore: 9\nScore: 7", 7.0),
        ("如果更短，评分：9", None),
        ("Score: 7, even if it is long", 7.0),
        ("Score: <5", None),
        ("Score: > 8", None),
        ("Score: 7 or 8", None),
        ("Score: 8 to 9", None),
        ("评分：7或8", None),
        ("The reply was rated on 9/10.", None),
        ("Date: 9/10", None),
        ("Rated 9/10/2024.", None),
        ("Score: 9,5", 9.5),
        ("Score: 4 of 5", 8.0),
        ("Score: 4 of 7", None),
        ("<score>\n9\n</score>", 9.0),
    ],
)
def test_scores(answer: str, score: float | None) -> None:
    assert parse_score(answer) == score


@pytest.mark.parametrize(
    ("answer", "relation"),
    [
        ("Entailment.", "entailment"),
        ("It says neither yes nor partly, so: entailment", "entailment"),
        ("My answer: no", "contradiction"),
        ("No doubt: yes", "entailment"),
        ("Yes, no part of it is missing", "entailment"),
        ("The relation is entailment, not a contradiction.", "entailment"),
        ("Entailment or contradiction", None),
        ("不完全一致", "neutral"),
        ("不太一致", "contradiction"),
        ("一致性：不一致", "contradiction"),
        ("并非不一致，而是一致", "entailment"),
        ("一致", "entailment"),
        ("", None),
    ],
)
def test_relations(answer: str, relation: str | None) -> None:
    assert parse_relation(answer) == relation


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("No doubt: yes", True),
        ("My answer: no", False),
        ("There is no conflict, so yes.", True),
        ("No they cannot", False),
        ("Yes, there is no conflict", True),
        ("Answer:\n\n**No**", False),
        ("yes or no", None),
        ("不可能", False),
        ("可能", None),
        ("答案：不能", False),
    ],
)
def test_yes_or_no_as_it_is_stated(answer: str, meant: bool | None) -> None:
    assert parse_yes(answer) is meant


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, True), ("False", False), ("yes", True), (0, False), ("'true'", True), (2, None),
        ("maybe", None), (None, None), ([], None),
    ],
)  # fmt: skip
def test_booleans(value: Any, expected: bool | None) -> None:
    assert parse_label(value) is expected


def test_lists_of_proposals() -> None:
    wanted = ["Use a comma.", "Use two colons."]
    for answer in (
        "- Use a comma.\n- Use two colons.",
        "Sure:\n1. Use a comma.   \n2) Use two colons.",
        '* "Use a comma."\n* **Use two colons.**',
        '["Use a comma.", "Use two colons."]',
        '```json\n{"instructions": ["Use a comma.", "Use two colons."]}\n```',
        '[{"id": 1, "instruction": "Use a comma."}, {"instruction": "Use two colons."}]',
        "- Use\n  a comma.\n- Use two\n  colons.",
        "- [ ] Use a comma.\n- [x] Use two colons.",
        "- 1. Use a comma.\n- 2. Use two colons.",
        "1. - Use a comma.\n2. - Use two colons.",
        "（1）Use a comma.\n（2）Use two colons.",
        "一、Use a comma.\n二、Use two colons.",
        "+ Use a comma.\n+ Use two colons.",
        "a. Use a comma.\nb. Use two colons.",
        "(i) Use a comma.\n(ii) Use two colons.",
        "**1.** Use a comma.\n**2.** Use two colons.",
        "**1. Use a comma.**\n**2. Use two colons.**",
    ):
        assert parse_lines(answer) == wanted
    assert parse_lines("- 用逗\n  号。\n\n  So much.") == ["用逗号。"]
    assert parse_lines("-5 must come first.\n- -6 comes next.") == [
        "-5 must come first.",
        "-6 comes next.",
    ]
    assert parse_lines("I would rather not.\n---\n3.5 metres are enough.") == []


@pytest.mark.parametrize(
    "item",
    [
        'Finish with the words "So be it"',
        '"No" must be the first word',
        '"Yes" or "No"',
        "“Yes” or “No”",
        "「甲」或「乙」都可以",
        "‘Yes’ or ‘No’",
        "Put the title between ** and **",
        "** and ** enclose the title",
        "*Write* one word like *this*",
        "**Numbers:** spell out one to **ten**",
        "__a__ and __b__",
        '- "- " and "* " are both markers',
        "Use `x` and `y`",
        "Write   three blanks in a row",
    ],
)
def test_a_proposal_stands_as_it_was_made(item: str) -> None:
    for marker in ("- ", "* ", "• ", "1. ", "12) "):
        assert parse_lines(f"{marker}{item}\n{marker}Another.") == [item, "Another."]


@pytest.mark.parametrize(
    "item",
    ["Don't use commas.", "Say “hi” twice.", "用逗号。", "It’s one."],
)
def test_marks_around_the_whole_of_a_proposal_are_not_of_it(item: str) -> None:
    for start, end in ('""', "''", "“”", "「」", "**", "__", ("**", "**"), ('**"', '"**')):
        assert parse_lines(f"- {start}{item}{end}") == [item]


def test_functions_that_differ_in_a_string_with_a_hash_are_two() -> None:
    one, two = ('def evaluate(r):\n    return "#a" in r', 'def evaluate(r):\n    return "#b" in r')
    assert normalise(one) != normalise(two)
    assert normalise(one) == normalise(f"# counts\n{one}  # so far\n\n")


PARSERS = {
    "json": parse_json,
    "code": lambda answer: parse_code(answer, "evaluate"),
    "score": parse_score,
    "relation": parse_relation,
    "yes": parse_yes,
    "lines": parse_lines,
    "normalise": normalise,
}
MARKS = ["`", "```", "```a", "- ", "* ", " ", "\n", "\t", "'", '"', "\\", "\\'", '\\"', "{", "}",
         "[", "]", ",", ":", "#", "1", ".", "score", "Score: ", "/", "'''", '"""', "True", "no",
         "def evaluate(", "\ud800", "\x00", "评分", "٣",
         "->", "<1", ": no", "不一", "if ", "\n  a", "一、", "**1.", "if had ",
         '{"a":']  # fmt: skip


@given(st.text() | st.lists(st.sampled_from(MARKS), max_size=60).map("".join))
def test_no_answer_can_make_a_parser_fail(answer: str) -> None:
    for parse in PARSERS.values():
        parse(answer)


TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)


@given(JSON)
def test_json_comes_back_as_it_was(value: Any) -> None:
    if value is not None:
        assert parse_json(json.dumps(value)) == value
