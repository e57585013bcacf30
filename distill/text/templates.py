"""Templates such as "{task} {query}" in recipes and on the command line: each has a few names and
nothing else.

`check_template` is for where a template is read, `fill_template` for where it is used; braces that
are meant as such are doubled, as in Python: {{ and }}. Python's own `str.format` would also look up
attributes and items of what it is given. `check_plain_template` is for templates that are filled by
replacing {name}, in which a brace can have no other meaning.
"""

import re
from collections.abc import Collection
from string import Formatter


def check_template(template: str, names: Collection[str], key: str) -> None:
    """Refuse a template that is malformed or has any other name.

    Args:
        key: what the setting is called, such as retriever.query_template.

    Raises:
        ValueError: naming the key, the fault and the names that are known.
    """
    known = " and ".join(f"{{{name}}}" for name in names)
    try:
        fields = list(Formatter().parse(template))
    except ValueError:
        raise ValueError(
            f"{key}: a brace is not closed, or not opened, in {template[:80]!r}; known: {known}; "
            "a brace that is meant as such is written twice, {{ or }}"
        ) from None
    for _, name, form, conversion in fields:
        if name is not None and (name not in names or form or conversion):
            shown = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise ValueError(
                f"{key}: {{{shown[:80]}}} is not known; known: {known}; a brace that is meant as "
                "such is written twice, {{ or }}"
            )


def check_plain_template(template: str, names: Collection[str], key: str) -> None:
    """Refuse a template that has a brace beside its names, for one that is filled by plain
    replacement (a model's prompts, which may be saved as they are).

    Raises:
        ValueError: naming the key, what stands there and the names that are known.
    """
    rest = template
    for name in names:
        rest = rest.replace(f"{{{name}}}", "")
    stray = re.search(r"\{[^{}]{0,40}\}?|\}", rest)
    if stray is not None:
        known = " and ".join(f"{{{name}}}" for name in names)
        raise ValueError(
            f"{key}: {stray[0]} is not known in {template[:80]!r}; known: {known}, and no other "
            "brace"
        )


def fill_template(template: str, **values: str) -> str:
    """Replace each name in the template by its value; values are never read as templates.

    Raises:
        ValueError: for a template that `check_template` would refuse.
    """
    check_template(template, values, "template")
    return "".join(
        literal if name is None else literal + values[name]
        for literal, name, _, _ in Formatter().parse(template)
    )


def find_template_names(template: str) -> set[str]:
    """Find the names in a checked template."""
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}
