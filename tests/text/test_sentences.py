"""Where sentences end, in every script."""

import pytest

from distill.text.sentences import split_sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("One sentence", ["One sentence"]),
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("See Fig. 3, Dr. Who, e.g. Here.  Next.", ["See Fig. 3, Dr. Who, e.g. Here.", "Next."]),
        ("J. R. Smith et al. Found it. Good.", ["J. R. Smith et al. Found it.", "Good."]),
        ("It is 3.5 m. 2 are left.", ["It is 3.5 m.", "2 are left."]),
        ("Use numpy.sum. default is None.", ["Use numpy.sum. default is None."]),
        ('He said "no." Then (later.) He left.', ['He said "no."', "Then (later.)", "He left."]),
        ("A title\n\nA text\nin lines. Über all.", ["A title", "A text\nin lines.", "Über all."]),
        ("これは本です。あれも本です。", ["これは本です。", "あれも本です。"]),
        ("Really?! Yes... No", ["Really?!", "Yes...", "No"]),
        ("The α-chain. α-tubulin binds.", ["The α-chain.", "α-tubulin binds."]),
        ("म गए। तुम आए॥ हम", ["म गए।", "तुम आए॥", "हम"]),
        ("من أنت؟ أنا هنا. نعم", ["من أنت؟", "أنا هنا.", "نعم"]),
        ("یہ ہے۔ وہ ہے۔", ["یہ ہے۔", "وہ ہے۔"]),
        ("ቤት ነው። እሱ ነው።", ["ቤት ነው።", "እሱ ነው።"]),
        ("သွားသည်။လာသည်။", ["သွားသည်။", "လာသည်။"]),
        ("ទៅ។មក។", ["ទៅ។", "មក។"]),
        ("བོད་ཡིན། ། རེད།", ["བོད་ཡིན། །", "རེད།"]),
        ("「本です。」と彼。え！？はい", ["「本です。」", "と彼。", "え！？", "はい"]),
        ("値は３．５です．次．", ["値は３．５です．", "次．"]),
        ("и так далее. д. и так. Конец.", ["и так далее. д. и так.", "Конец."]),
    ],
)  # fmt: skip
def test_sentences_of_a_text_in_every_script(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected
