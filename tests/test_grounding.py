"""A function has to name what its instruction names; one that is right never fails for it."""

from __future__ import annotations

import pytest

from autoif.synthesis.verifiers.grounding import ungrounded

RIGHT = [
    ("Write at least 40 words.", "return len(response.split()) >= 40"),
    ("Write fewer than 4 sentences.", "return len(re.split(r'[.!?]', response)) - 1 <= 3"),
    ("Use more than three colons.", "return response.count(':') > 3"),
    ('Use the word "Time" twice.', "return response.lower().count('time') == 2"),
    ("Give two replies, separated by six asterisks: ******", "len(r.split('******')) == 2"),
    ("Use at least 40 different words.", "return len(set(response.lower().split())) >= 40"),
    ("Do not use commas.", "return ',' not in response"),
    ("Include a title in double angle brackets, as in <<my title>>.", "re.search('<<.+>>', r)"),
    ("Include at least 2 placeholders, such as [name].", r"len(re.findall(r'\[.+?\]', r)) >= 2"),
    ('End with the phrase "That is all, folks".', 'r.endswith("That is all, folks")'),
    ("Mention a time, such as 07:45.", r"re.search(r'\d\d:\d\d', r)"),
    ("至少写三个句子。", "return len(re.findall('[。！？]', response)) >= 3"),
    ("不要使用“但是”。", "return '但是' not in response"),
    ("End your reply with three exclamation marks.", "r.rstrip().endswith('!!!')"),
    ("Include two blank lines in a row.", r"return '\n\n\n' in response"),
    ("Put three asterisks between the parts.", r"re.search(r'\*\*\*', response)"),
    ("Part the sections with three stars, spaced.", "return '* * *' in response"),
    ("Fence the example with three backticks.", 'return "```" in response'),
    ("Finish with six dots.", """return r.endswith('''......''')"""),
    ("结尾用三个感叹号。", "return response.endswith('！！！')"),
    ("Use the word 'twenty-one'.", "return 'twenty-one' in response"),
    ("Write the year 2024 in Roman numerals.", "return 'MMXXIV' in response"),
    ("Write 12 as a word.", "return 'twelve' in response.lower()"),
    ("Use no numbers from 1 to 9.", "not any(c.isdigit() for c in response)"),
    ("Use two words from 'one' to 'ten'.", "len(words) >= 2"),
]
WRONG = [
    ("End your reply with three exclamation marks.", "r.rstrip().endswith('!!')"),
    ("End your reply with four exclamation marks.", "r.rstrip().endswith(('!!!'))"),
    ("Write three sentences.", "return bool((((response)))) # !!!"),
    ("Use at least 3 different colours.", "len(re.findall('red|blue|green', r)) >= 3"),
    ("Use at least 40 different words.", "all(len(l.split()) <= 12 for l in r.splitlines())"),
    ('Use the word "time" at least 3 times.', "'time' in r and 'time' in r and 'time' in r"),
    ('Do not use the word "and".', "all(len(l.split()) <= 12 for l in r.splitlines())"),
    ("Include exactly 5 bullet points.", "all(l.startswith('* ') for l in r.splitlines())"),
    ("Include a title in double angle brackets, as in <<my title>>.", "'<<my title>>' in r"),
    ("Include at least 2 placeholders, such as [name].", "r.count('[name]') >= 2"),
    ("Include a hashtag, such as #morning.", "return '#morning' in response"),
    ("至少写三个句子。", "return '。' in response"),
    ("不要使用“但是”。", "return len(response) < 100"),
]


@pytest.mark.parametrize(("instruction", "source"), RIGHT)
def test_a_right_function_is_grounded(instruction: str, source: str) -> None:
    assert ungrounded(instruction, source) == ""


@pytest.mark.parametrize(("instruction", "source"), WRONG)
def test_a_function_that_measures_something_else_is_not(instruction: str, source: str) -> None:
    assert ungrounded(instruction, source)
