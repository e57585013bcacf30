"""The Markdown files that stand in an exported folder, from distill/export/templates."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render_markdown(template: str, **values: Any) -> str:
    """Render a template by its name; it names each value that it takes."""
    environment = Environment(
        loader=PackageLoader("distill.export"),
        autoescape=False,  # Markdown has no elements to escape
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)
