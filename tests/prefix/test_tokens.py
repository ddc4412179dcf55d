"""Prompts are cut as their models' own tokenizers cut them, control tokens as such."""

from __future__ import annotations

import pytest

from tests.prefix import table
from tests.prefix.comparing import extends
from tests.prefix.rendering import FOLDER, Template
from tests.prefix.tokenizers import REAL
from tests.prefix.tokens import engine
from tests.prefix.vocabularies import VOCABULARIES, Vocabulary

# llama.cpp has these texts of its own, with what each model's tokenizer makes of them.
_BETWEEN = "\n__ggml_vocab_test__\n"
TOLD = [each for each in VOCABULARIES.values() if each.source.endswith(".gguf")]
TEXT = "Don't say 12345 한국어: for  x\n    yield"
# By `tokenizers`, of DeepSeek's file, and by `tiktoken`, of Mistral's and OpenAI's.
KNOWN = {
    "deepseek-v3": [13222, 1664, 2507, 223, 6895, 1883, 51345, 9227, 28, 362, 223, 1527, 201, 361, 8500],
    "tekken": [10874, 1405, 3150, 32, 49, 50, 51, 52, 53, 37243, 1897, 58, 394, 32, 1460, 10, 293, 8459],
    "o200k": [31559, 2891, 220, 7633, 2548, 52971, 5959, 25, 395, 220, 1215, 198, 271, 14376],
}
FAMILIES = {
    "qwen2": "Qwen-Qwen3-0.6B",
    "llama-bpe": "meta-llama-Llama-3.1-8B-Instruct",
    "tekken": "Mistral-Small-3.2-24B-Instruct-2506",
    "deepseek-v3": "deepseek-ai-DeepSeek-V3.1",
    "gemma-4": "google-gemma-4-31B-it",
    "o200k": "openai-gpt-oss-120b",
}

pytestmark = pytest.mark.engine


def template(name: str) -> Template:
    """One of the templates that are here."""
    return next(each for each in table.all_templates() if each.name == name)


@pytest.mark.parametrize("vocabulary", TOLD, ids=lambda each: each.name)
def test_a_vocabulary_of_llamacpps_cuts_its_texts_as_the_models_own_tokenizer(vocabulary: Vocabulary) -> None:
    texts = (FOLDER / f"{vocabulary.source}.inp").read_bytes().decode().split(_BETWEEN)
    lines = (FOLDER / f"{vocabulary.source}.out").read_text(encoding="utf-8").splitlines()
    told = [list(map(int, line.split())) for line in lines]
    assert len(told) > 40
    assert [list(engine(vocabulary.name).tokens(text)) for text in texts[: len(told)]] == told


@pytest.mark.parametrize("name", KNOWN)
def test_a_vocabulary_of_another_form_cuts_a_text_as_its_own_library(name: str) -> None:
    assert list(engine(name).tokens(TEXT)) == KNOWN[name]


def test_every_vocabulary_is_held_to_what_its_own_tokenizer_says() -> None:
    assert {*KNOWN, *(each.name for each in TOLD)} == VOCABULARIES.keys() == FAMILIES.keys()


@pytest.mark.parametrize(("vocabulary", "name"), FAMILIES.items())
def test_the_great_families_have_their_own_tokens(vocabulary: str, name: str) -> None:
    tokenizer = template(name).tokenizer
    assert (tokenizer.vocabulary, tokenizer.borrowed) == (vocabulary, False)


@pytest.mark.parametrize("name", REAL)
def test_a_control_token_is_one_token_and_its_words_in_a_text_are_not(name: str) -> None:
    tokenizer = template(name).tokenizer
    marks = {*tokenizer.marks, tokenizer.bos, tokenizer.eos} - {""}
    numbers = [tokenizer.numbers[mark] for mark in sorted(marks)]
    assert len(set(numbers)) == len(marks)
    assert list(tokenizer.tokens("".join(sorted(marks)))) == numbers
    assert [mark for mark in marks if len(engine(tokenizer.vocabulary).tokens(mark)) < 2] == []


def test_every_tokenizer_that_is_named_has_its_template() -> None:
    assert REAL.keys() <= table.listed().keys()


@pytest.mark.parametrize(
    ("name", "last", "now", "grows"),
    [
        # the end of a result, and the line ends before the next turn, are one token
        ("deepseek-ai-DeepSeek-V3.2", "</function_results>", "</function_results>\n\n<think>", False),
        ("deepseek-ai-DeepSeek-V3.1", "done.</think>", "done.</think>\n\n", True),
        ("Qwen-Qwen3-0.6B", "</tool_response>", "</tool_response>\n<tool_response>", True),
        # with no control token of this name, as in the model before, it is a text that grows together
        ("Qwen-Qwen2.5-7B-Instruct", "</tool_response>", "</tool_response>\n<tool_response>", False),
        ("Qwen-Qwen3-0.6B", "Hi", "Hither", False),
        ("Qwen-Qwen3-0.6B", "Hi", "Hi there", True),
        ("Qwen-Qwen3-0.6B", "Hi there", "Hi", False),
    ],
)
def test_tokens_join_over_the_end_of_a_turn_where_the_model_has_such_a_token(
    name: str, last: str, now: str, grows: bool
) -> None:
    assert template(name).extends(last, now) == grows


@pytest.mark.parametrize(
    ("last", "now", "by_tokens", "by_pieces"),
    [
        # another vocabulary than the borrowed one may have a token for both
        ("[42]", "[42]It is 42.", True, False),
        # a tag that may be a control token, or a text
        ("</tool>", "</tool>\n\n", False, True),
        ("</tool>", "</tool><|assistant_start|>", True, True),
    ],
)
def test_where_tokens_are_borrowed_a_break_either_way_is_one(
    last: str, now: str, by_tokens: bool, by_pieces: bool
) -> None:
    apertus = template("Apertus-8B-Instruct")
    before, after = apertus.tokenizer.tokens(last), apertus.tokenizer.tokens(now)
    assert (after[: len(before)] == before) == by_tokens
    assert extends(last, now) == by_pieces
    assert apertus.extends(last, now) == (by_tokens and by_pieces)
