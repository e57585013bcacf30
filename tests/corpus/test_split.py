"""Token estimates and passages of whole sentences, in every script."""

import base64
import json
import random
import re
from pathlib import Path

import pytest
import regex

from distill.corpus.split import estimate_tokens, split_text
from distill.text.words import count_words


def test_tokens_are_four_thirds_of_words_and_marks() -> None:
    assert estimate_tokens("") == 0
    assert estimate_tokens("one two three") == 4
    assert estimate_tokens("one, two!") == 6  # 4 marks, rounded up


def test_text_within_the_budget_is_kept_as_it_is() -> None:
    assert split_text("  One.  Two. ", 100) == ["One.  Two."]


def test_passages_are_whole_sentences() -> None:
    text = "One two three. Four five six. Seven eight nine. Ten."
    assert split_text(text, 11) == ["One two three. Four five six.", "Seven eight nine. Ten."]


def test_overlong_sentence_is_cut_at_words() -> None:
    assert split_text("a b c d e. F g.", 4) == ["a b c", "d e.", "F g."]


def test_word_of_many_marks_is_cut_at_marks() -> None:
    assert split_text("a.b.c.d", 4) == ["a.b", ".c.", "d"]


@pytest.mark.parametrize("seed", range(20))
def test_split_loses_no_text_and_keeps_to_the_budget(seed: int) -> None:
    draw = random.Random(seed)
    words = ["word", "x.y.z", "Ab,", "Über.", "(e.g.", "end!", "\n\n", "----", "3.5%"]
    text = " ".join(draw.choice(words) for _ in range(300))
    budget = draw.randint(2, 60)
    passages = split_text(text, budget)
    assert "".join(re.sub(r"\s", "", p) for p in passages) == re.sub(r"\s", "", text)
    assert max(map(estimate_tokens, passages)) <= max(budget, 2)


def of_script(sentence: str, times: int) -> str:
    return sentence * times


LONG = {
    "Chinese": of_script("黑豹队的防守只丢了三百分，在联赛中排名第六。", 60),
    "Japanese": of_script("氷河はゆっくりと谷を下り、「谷を削る。」と言われる。", 60),
    "Thai without a space": of_script("ธารน้ำแข็งเคลื่อนที่ช้าๆลงจากหุบเขา", 80),
    "Lao without a space": of_script("ນ້ຳກ້ອນໄຫຼລົງຈາກຮ່ອມພູຢ່າງຊ້າໆ", 80),
    "Khmer": of_script("ផ្ទាំងទឹកកកផ្លាស់ទីយឺតៗចុះពីជ្រលងភ្នំ។", 60),
    "Burmese": of_script("ရေခဲမြစ်သည်တောင်ကြားမှဖြည်းညှင်းစွာစီးဆင်းသည်။", 60),
    "Tibetan": of_script("འཁྱགས་རོམ་ནི་ལུང་གཤོངས་ནས་ག་ལེར་རྒྱུག་གི་ཡོད། ", 80),
    "base64": base64.b64encode(random.Random(1).randbytes(6000)).decode(),
    "a genome": "".join(random.Random(2).choices("ACGT", k=8000)),
    "emoji of several characters": "👩‍👩‍👧‍👦🇩🇪" * 300,
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.bad_input(
                "text", f"a long text without spaces: {name}", "cut to what the student reads"
            ),
        )
        for name in LONG
    ],
)
def test_text_without_spaces_is_cut_to_what_is_read(name: str) -> None:
    text = LONG[name]
    passages = split_text(text, 64)
    assert len(passages) > 3
    assert max(map(estimate_tokens, passages)) <= 64
    assert "".join(passages).replace(" ", "") == text.replace(" ", "")
    clusters = regex.findall(r"\X", re.sub(r"\s", "", text))
    assert [c for p in passages for c in regex.findall(r"\X", re.sub(r"\s", "", p))] == clusters


def test_no_space_is_put_between_chinese_sentences() -> None:
    passages = split_text("雪很冷。冰更冷。火很热。" * 20, 32)
    assert not any(" " in passage for passage in passages)
    assert all(passage.endswith("。") for passage in passages)


def test_long_chinese_sentence_is_cut_at_its_pauses() -> None:
    passages = split_text("他们在比赛的最后三分钟，" * 30, 32)
    assert all(passage.endswith("，") for passage in passages)


def test_vowel_signs_belong_to_their_letter() -> None:
    assert estimate_tokens("हिमनद धीरे बहता है।") == estimate_tokens("glaciers flow slowly downhill.")


def test_ideographs_and_thai_letters_are_a_token_each() -> None:
    assert estimate_tokens("冰川在流动") == 5
    assert estimate_tokens("น้ำแข็ง") == 4


@pytest.mark.parametrize("language", ["zh", "th", "hi", "ar"])
def test_passages_of_translations_are_split_and_kept(data_folder: Path, language: str) -> None:
    """XQuAD's paragraphs are translations of each other."""
    texts = paragraphs(data_folder, language)
    passages = [passage for text in texts for passage in split_text(text, 64)]
    assert max(map(estimate_tokens, passages)) <= 64
    assert min(map(count_words, texts)) >= 20
    english = sum(map(count_words, paragraphs(data_folder, "en")))
    assert english / 1.5 < sum(map(count_words, texts)) < english * 1.5
    assert sum(count_words(passage) >= 5 for passage in passages) > 0.96 * len(passages)


def paragraphs(data_folder: Path, language: str) -> list[str]:
    file = data_folder / "own" / "xquad" / language / "corpus.jsonl"
    return [json.loads(line)["text"] for line in file.read_text().splitlines()]


def test_long_name_of_words_is_one_word() -> None:
    assert estimate_tokens("plot_of_a_" + "long_name_" * 9) == 2
    assert estimate_tokens("x" * 65) == 65


ENCODED = {
    "base64": base64.b64encode(random.Random(3).randbytes(3000)).decode(),
    "base64 for addresses": base64.urlsafe_b64encode(random.Random(4).randbytes(3000)).decode(),
    "numbers joined by underscores": "_".join(
        random.Random(5).randbytes(30).hex() for _ in "x" * 99
    ),
}


@pytest.mark.parametrize("name", ENCODED)
def test_encoded_text_is_within_what_is_read(name: str) -> None:
    passages = split_text(ENCODED[name], 64)
    assert "".join(passages) == ENCODED[name]
    assert max(map(len, passages)) <= 64
