"""BM25."""

from __future__ import annotations

from dragoman.server_tools.ranking import Ranking, words_of


def test_words_fall_apart_at_every_seam() -> None:
    assert words_of("getWeather_for the 2nd-City, Zürich") == [
        *("get", "weather", "for", "the", "2nd", "city", "zürich"),
    ]


def test_texts_without_a_word_of_the_query_are_left_out() -> None:
    assert Ranking(["a tower", "a house", ""]).best("tower bridge") == [0]
    assert Ranking(["a tower"]).best("?!") == []
    assert Ranking([]).best("tower") == []


def test_rare_words_count_more_than_common_ones() -> None:
    texts = ["common common common", "common rare", "common", "common"]
    assert Ranking(texts).best("common rare")[0] == 1


def test_more_of_a_word_counts_more_and_a_long_text_less() -> None:
    assert Ranking(["x y", "x x"]).best("x") == [1, 0]
    assert Ranking(["x " + "y " * 50, "x y"]).best("x") == [1, 0]


def test_equals_keep_their_order() -> None:
    assert Ranking(["x a", "x b", "x c"]).best("x") == [0, 1, 2]
