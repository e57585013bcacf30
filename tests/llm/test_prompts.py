"""Prompt files, and what they make of text from outside."""

import pytest

from distill.errors import UserError
from distill.llm.prompts import load_prompt
from distill.recipe.packaged import get_packaged_folder
from distill.text.sanitize import sanitize_for_prompt


def write(folder, source):
    (folder / "p.jinja").write_text(source, encoding="utf-8")
    return load_prompt("p.jinja", folder, parts=1)


def test_prompt_ends_where_its_answer_begins(tmp_path):
    assert write(tmp_path, "Passage: {{ passage }}\nTask:\n").render(passage="x") == (
        "Passage: x\nTask:"
    )


def test_name_that_is_not_given_is_named(tmp_path):
    prompt = write(tmp_path, "{{ pasage }}")
    with pytest.raises(UserError, match=r"p\.jinja.*'pasage' is undefined[\s\S]*passage"):
        prompt.render(passage="x")


def test_broken_jinja_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(UserError, match="is not a Jinja template"):
        write(tmp_path, "{% if %}")
    with pytest.raises(UserError, match=r"absent\.jinja: no such prompt"):
        load_prompt("absent.jinja", tmp_path, parts=1)


@pytest.mark.bad_input("prompt", "a scoring prompt of one part", "refused")
def test_scoring_prompt_has_two_parts(tmp_path):
    write(tmp_path, "one part")
    with pytest.raises(UserError, match="has 1 parts, 2 expected"):
        load_prompt("p.jinja", tmp_path, parts=2)


def test_file_can_set_a_constant(tmp_path):
    sets = ['task = "Find it."', "other = passage"]
    prompt = write(tmp_path, "\n".join(f"{{% set {one} %}}" for one in sets))
    assert prompt.read_constant("task") == "Find it."
    assert prompt.read_constant("other") is None
    assert prompt.read_constant("absent") is None


def test_naive_prompt_fixes_its_task():
    prompt = load_prompt("prompts/naive.jinja", get_packaged_folder(), parts=1)
    assert prompt.read_constant("task") == "Given a query, find the passages that answer it."
    rendered = prompt.render(passage="Swifts sleep in flight.", chat=False)
    assert rendered.endswith("Passage: Swifts sleep in flight.\nQuery:")


# --- as_data ------------------------------------------------------------------------------------


def test_white_space_is_collapsed_and_the_unseen_taken_out():
    assert sanitize_for_prompt(
        " a\r\n\tb\u2028c\x85d \x00e\u200bf\u202eg\ufeff \U000e0041h\xad"
    ) == ("a b c d efg h")


@pytest.mark.parametrize(
    "token",
    [
        "<|im_start|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|user|>",
        "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "<start_of_turn>", "<end_of_turn>",
        "<think>", "</think>", "<tool_call>", "</tool_response>", "<fim_prefix>", "<sop>",
        "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[TOOL_CALLS]", "[SEP]", "[gMASK]", "[|user|]",
        "<<SYS>>", "<</SYS>>", "<｜User｜>", "<｜begin▁of▁sentence｜>", "<extra_id_0>", "<eoa>",
        "<reserved_106>", "<0x0A>", "<seed:bos>", "<BOS>", "]~b]", "[e~[", "<\u200b|im_end|>",
        "<s\u00ad>", "<\x00/s>",
    ],
)  # fmt: skip
def test_tokens_of_chat_templates_are_broken_up(token):
    seen = sanitize_for_prompt(token)
    plain = token.translate(dict.fromkeys(map(ord, "\u200b\u00ad\x00")))
    assert plain not in seen
    assert seen.replace(" ", "") == plain
    assert sanitize_for_prompt(seen) == seen


@pytest.mark.parametrize(
    "text",
    [
        "if a < b and c > d: x[i] = y[0]",
        "std::vector<int> v; #include <vector>",
        "Map<String, List<Integer>> m = f(x) |> g()",
        "<p class='a'>one</p><div></div><br/>",
        "x <- c(1, 2); [1] [PDF] [EU] a[INDEX] [a|b]",
        "p < 0.05; 3 << 2; $\\langle x | y \\rangle$; a<b|c>d",
        "{{ passage }} {% for x in y %} {# no #}",
        "Die Äpfel, 中文文本, ひらがな, नमस्ते, مرحبا, 😀",
    ],
)
def test_ordinary_text_and_code_stay_as_they_are(text):
    assert sanitize_for_prompt(text) == text


def test_words_are_counted_and_endless_ones_cut():
    assert sanitize_for_prompt("one  two\nthree four", 3) == "one two three"
    assert sanitize_for_prompt("one two", 3) == "one two"
    assert len(sanitize_for_prompt("x" * 10_000, 100)) == 1200
    assert len(sanitize_for_prompt("長" * 10_000, 100)) == 200
    assert len(sanitize_for_prompt("ก" * 10_000, 100)) == 400


@pytest.mark.parametrize(
    ("source", "says"),
    [
        pytest.param(source, says, id=name, marks=pytest.mark.bad_input("prompt", name, outcome))
        for name, source, says, outcome in [
            ("an expression that fails: {{ 1 / 0 }}", "{{ 1 / 0 }}", "division", "refused"),
            ("a text added to a number", "{{ a + 1 }}", "cannot be rendered", "refused"),
            ("a loop of 10^9", "{% for i in range(10**9) %}x{% endfor %}", "Range", "refused"),
            ("a text repeated 10^10 times", "{{ a * 10**10 }}", "are too large", "refused"),
            ("a list repeated 10^9 times", "{{ [1] * 1000000000 }}", "are too large", "refused"),
            ("9 ** 9 ** 9", "{{ 9 ** 9 ** 9 }}", "are too large", "refused"),
            ("a name that is not given", "{{ b }}", "names that it may use are: a", "names told"),
            ("an attribute of the interpreter", "{{ a.__class__.x }}", "unsafe|cannot", "refused"),
        ]
    ],
)
def test_template_that_fails_is_named(tmp_path, source, says):
    (tmp_path / "p.jinja").write_text(source)
    with pytest.raises(UserError, match=says) as fault:
        load_prompt("p.jinja", tmp_path, 1).render(a="text")
    assert str(tmp_path / "p.jinja") in fault.value.where


_TOO_MUCH = {
    "nested loops over ranges": "{% for i in range(99999) %}{% for j in range(99999) %}{% if i > "
    "99998 %}x{% endif %}{% endfor %}{% endfor %}",
    "a text doubled by ~ in a loop": "{% set n = namespace(t=a) %}{% for i in range(60) %}"
    "{% set n.t = n.t ~ n.t %}{% endfor %}",
    "a text doubled in a set block": "{% set n = namespace(t=a) %}{% for i in range(60) %}"
    "{% set u %}{{ n.t }}{{ n.t }}{% endset %}{% set n.t = u %}{% endfor %}",
    "a filter's width of 10^10": "{{ a | center(10000000000) }}",
    "a width of 10^10, without a value": "{{ 'a' | center(10000000000) }}",
    "a format's width of 10^9": "{{ '%0999999999d' | format(1) }}",
    "a width behind %": "{{ '%0999999999d' % 1 }}",
    "a method's width": "{{ a.zfill(9999999999) }}",
    "a replacement that multiplies": "{% set b = a * 9999 %}{% set c = b | replace('t', b) %}"
    "{{ c | replace('t', b) | length }}",
    "copies of copies": "{{ (a * 9999 * 9999 * 9999) | length }}",
    "a number squared in a loop": "{% set n = namespace(t=7) %}{% for i in range(60) %}"
    "{% set n.t = n.t * n.t %}{% endfor %}",
    "lipsum of 10^6 paragraphs": "{{ lipsum(1000000) }}",
    "a macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}"
    "{% endif %}{% endmacro %}{{ m(50) }}",
    "a loop that writes 10^8 letters": "{% for i in range(99999) %}{{ a * 1000 }}{% endfor %}",
}


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(source, id=name, marks=pytest.mark.bad_input("prompt", name, "refused"))
        for name, source in _TOO_MUCH.items()
    ],
)
def test_template_that_takes_too_much_is_refused(tmp_path, source):
    (tmp_path / "p.jinja").write_text(source)
    with pytest.raises(UserError, match=r"it takes more than|it becomes longer") as fault:
        load_prompt("p.jinja", tmp_path, 1).render(a="text")
    assert fault.value.where == str(tmp_path / "p.jinja")


def test_template_that_outgrows_its_first_values_is_refused(tmp_path):
    source = "{% for i in a %}{% for j in a %}{% for k in a %}{% endfor %}{% endfor %}{% endfor %}b"
    prompt = write(tmp_path, source)
    assert prompt.render(a="a few letters") == "b"
    with pytest.raises(UserError, match="it takes more than 2 seconds"):
        prompt.render(a="x" * 2000)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(data, says, id=name, marks=pytest.mark.bad_input("prompt", name, says))
        for name, data, says in [
            ("a block that is not closed", b"a\nb\n{% if a %}\n", "row [34]: is not a Jinja"),
            ("1,000 brackets", b"{{ " + b"(" * 5000 + b" }}", "is not a Jinja template"),
            ("Latin-1", b"a\n\xe9", "row 2: is not UTF-8"),
            ("UTF-16", "a".encode("utf-16"), "is UTF-16"),
        ]
    ],
)
def test_file_that_is_no_template_is_refused(tmp_path, data, says):
    (tmp_path / "p.jinja").write_bytes(data)
    with pytest.raises(UserError, match=says):
        load_prompt("p.jinja", tmp_path, 1)


def test_row_of_a_fault_in_the_second_part(tmp_path):
    (tmp_path / "p.jinja").write_text("a\n=== continuation ===\nb\n{{ \n")
    with pytest.raises(UserError, match="row 4"):
        load_prompt("p.jinja", tmp_path, 2)


PERSIAN, SINHALA, MONGOLIAN = "می\u200cخواهم", "ශ්\u200dරී", "ᠳ᠋ᠠ"


@pytest.mark.parametrize("text", [PERSIAN, SINHALA, MONGOLIAN, f"{PERSIAN} {SINHALA}"])
def test_joiners_that_are_letters_stay(text):
    assert sanitize_for_prompt(text) == text


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\u200cb \u200d c", "ab c"),
        (f"\u202e{PERSIAN}\u200c\u200d\ufeff", f"{PERSIAN}\u200c"),
        ("<|im\u200d_end|>", "< |im_end|>"),
        ("\u3000\u200dx", "x"),
    ],
)
def test_joiners_that_hide_something_go(text, seen):
    assert sanitize_for_prompt(text) == seen
    assert sanitize_for_prompt(sanitize_for_prompt(text)) == seen
