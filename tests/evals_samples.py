"""Arguments that each checker accepts, for tests that go through all of them."""

from __future__ import annotations

from typing import Any

SAMPLES: dict[str, dict[str, Any]] = {
    "keywords:existence": {"keywords": ["cat", "dog"]},
    "keywords:frequency": {"keyword": "the", "frequency": 2, "relation": "at least"},
    "keywords:forbidden_words": {"forbidden_words": ["cat"]},
    "keywords:letter_frequency": {"letter": "#", "let_frequency": 2, "let_relation": "less than"},
    "language:response_language": {"language": "fr"},
    "change_case:capital_word_frequency": {"capital_frequency": 2, "capital_relation": "less than"},
    "startend:end_checker": {"end_phrase": "The end."},
    "length_constraints:number_words": {"num_words": 3, "relation": "less than"},
    "length_constraints:number_sentences": {"num_sentences": 2, "relation": "at least"},
    "length_constraints:number_paragraphs": {"num_paragraphs": 2},
    "length_constraints:nth_paragraph_first_word": {
        "num_paragraphs": 2,
        "nth_paragraph": 2,
        "first_word": "Then",
    },
    "detectable_content:number_placeholders": {"num_placeholders": 2},
    "detectable_content:postscript": {"postscript_marker": "P.S."},
    "detectable_format:number_bullet_lists": {"num_bullets": 2},
    "detectable_format:number_highlighted_sections": {"num_highlights": 1},
    "detectable_format:multiple_sections": {"section_spliter": "Section", "num_sections": 2},
    "combination:repeat_prompt": {"prompt_to_repeat": "Say it."},
    "count:word_count_range": {"min_words": 2, "max_words": 5},
    "count:unique_word_count": {"N": 3},
    "count:conjunctions": {"small_n": 2},
    "count:person_names": {"N": 2},
    "count:pronouns": {"N": 2},
    "count:numbers": {"N": 1},
    "count:keywords_multiple": {f"keyword{i}": f"word{i}" for i in range(1, 6)},
    "count:words_japanese": {"N": 2},
    "ratio:stop_words": {"percentage": 40},
    "ratio:overlap": {"reference_text": "Some reference.", "percentage": 50},
    "words:repeats": {"small_n": 2},
    "words:keywords_specific_position": {"keyword": "cat", "n": 1, "m": 2},
    "words:words_position": {"keyword": "cat"},
    "sentence:increment": {"small_n": 1},
    "sentence:keyword": {"word": "cat", "N": 1},
    "repeat:repeat_change": {"prompt_to_repeat": "Say it now."},
    "repeat:repeat_span": {"prompt_to_repeat": "Say it now.", "n_start": 1, "n_end": 4},
    "format:options": {"options": "yes/no/maybe"},
    "format:list": {"sep": "..."},
}
