"""`distill explain`, `distill recipes` and `distill recipes copy`: what can be written in a recipe,
and the recipes that come with distill."""

from pathlib import Path

import click

from distill.cli.options.values import PATH


@click.command()
@click.argument("key", default="")
@click.option("--json-schema", is_flag=True, help="Print the JSON schema of recipes, for editors.")
def explain(key: str, json_schema: bool) -> None:
    """Print type, default, allowed values and meaning of a recipe's KEY, or of a section's keys.

    \b
    distill explain train.soup     one key
    distill explain train          a section with all its keys
    distill explain                the sections
    distill explain --json-schema > recipe.schema.json
    """
    from distill.recipe.reference import explain_key, write_json_schema

    if json_schema and key:
        raise click.UsageError("--json-schema is of the whole recipe: leave KEY out")
    click.echo(write_json_schema() if json_schema else explain_key(key))


@click.group(invoke_without_command=True)
@click.pass_context
def recipes(context: click.Context) -> None:
    """List the recipes that come with distill; `copy` writes one, to be edited.

    \b
    distill recipes                       names, and what each is for
    distill recipes copy demo             writes demo.yaml into this folder
    distill recipes copy demo mine.yaml   under another name
    """
    if context.invoked_subcommand is None:
        from distill.recipe.packaged import list_recipes

        for name, purpose in list_recipes():
            click.echo(f"{name}\n{click.wrap_text(purpose, 96, '    ', '    ')}")


@recipes.command()
@click.argument("name")
@click.argument("file", required=False, type=PATH)
def copy(name: str, file: Path | None) -> None:
    """Write the packaged recipe NAME to FILE.

    FILE is by default NAME.yaml in this folder. A file that exists is never overwritten. Prompts
    that the recipe names are found among the packaged ones, so they need not be copied.
    """
    from distill.recipe.packaged import copy_recipe

    click.echo(f"recipe: {copy_recipe(name, file)}")
