"""What a word is, and how many there are, in scripts with and without spaces."""

import json
from pathlib import Path

import pytest

from distill.text.normalize import fold_text, split_folded_words
from distill.text.words import (
    count_word_equivalents,
    count_words,
    cut_words,
    has_spaceless,
    split_words,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("np.sum(a_b, 3.5)", ["np", "sum", "a_b", "3", "5"]),
        ("Über naïve cafe\u0301s", ["Über", "naïve", "cafe\u0301s"]),
        ("हिन्दी भाषा।", ["हिन्दी", "भाषा"]),
        ("می\u200cرود", ["می\u200cرود"]),
        ("ශ්\u200dරී ලංකාව", ["ශ්\u200dරී", "ලංකාව"]),
        ("冰川ab和カー", ["冰", "川", "ab", "和", "カ", "ー"]),
        ("น้ำแข็ง", ["น้ำ", "แ", "ข็", "ง"]),
        ("བོད་ཡིག", ["བོད", "ཡིག"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("ＡＢ", ["ＡＢ"]),
        ("(!?) …", []),
    ],
)
def test_words_of_a_text_in_every_script(text: str, expected: list[str]) -> None:
    assert split_words(text) == expected


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("one, two - three", 4),
        ("naïve café – déjà", 4),
        ("冰川沿着山谷缓慢流动", 5),
        ("NFL中的四次拦截", 4),
        ("ธารน้ำแข็งเคลื่อนที่ช้า", 4),
        ("བོད་ཡིག་ནི", 3),
        ("ሰላም፡ለዓለም", 2),
        ("हिमनद धीरे बहता है", 4),
    ],
)
def test_word_count_in_every_script(text: str, count: int) -> None:
    assert count_words(text) == count


def test_word_count_is_rounded_up() -> None:
    assert count_word_equivalents(["黑", "洞"]) == 1
    assert count_word_equivalents(["黑", "洞", "a"]) == 2
    assert count_word_equivalents(["ก", "ข", "ค"]) == 1
    assert count_word_equivalents([]) == 0


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("冰川，沿着山谷 缓慢流动", 3, "冰川，沿着山谷"),
        ("NFL中的四次拦截", 2, "NFL中的"),
        ("ธารน้ำแข็งเคลื่อนที่ช้า", 2, "ธารน้ำแข็งเ"),
        ("བོད་ཡིག་ནི", 2, "བོད་ཡིག་"),
        ("Beijing (北京)  is a city", 3, "Beijing (北京) is"),
        ("one\n two\u200bthree  four", 2, "one two\u200bthree"),
        ("冰川", 0, ""),
    ],
)
def test_text_is_cut_behind_words_in_every_script(text: str, most: int, expected: str) -> None:
    assert cut_words(text, most) == expected


@pytest.mark.parametrize("language", ["zh", "th"])
def test_cut_texts_without_spaces_have_as_many_words(data_folder: Path, language: str) -> None:
    for text in read_paragraphs(data_folder, language):
        cut = cut_words(text, 60)
        assert " ".join(text.split()).startswith(cut)
        assert count_words(cut) == min(60, count_words(text))
        assert cut_words(cut, 60) == cut


@pytest.mark.parametrize("language", ["en", "de", "hi", "ar"])
def test_texts_with_spaces_are_cut_at_spaces(data_folder: Path, language: str) -> None:
    texts = read_paragraphs(data_folder, language)
    spaced = [text for text in texts if not has_spaceless(text)]
    assert len(spaced) >= 0.95 * len(texts)
    for text in spaced:
        assert cut_words(text, 60) == " ".join(text.split()[:60])


def read_paragraphs(data_folder: Path, language: str) -> list[str]:
    file = data_folder / "own" / "xquad" / language / "corpus.jsonl"
    return [json.loads(line)["text"] for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ｆｕｌｌ ＷＩＤＴＨ", "full width"),
        ("cafe\u0301", "CAFÉ"),
        ("ﬁnal", "final"),
        ("ｶﾞｷﾞ", "ガギ"),
        ("محـــمد", "محمد"),
        ("می\u200cرود", "میرود"),
        ("co\u00adoperate", "cooperate"),
        ("ខ្មែរ\u200bភាសា", "ខ្មែរ ភាសា"),
    ],
)
def test_words_that_look_alike_are_equal(one: str, other: str) -> None:
    assert fold_text(one) == fold_text(other)
    assert split_folded_words(one) == split_folded_words(other)


def test_words_differ_by_vowel_signs() -> None:
    assert split_folded_words("कि") != split_folded_words("का")
