"""A run as typed, validated YAML: one file a group of sections, `load` puts them together."""

from distill.recipe.data import Corpus, Evaluate, Ranker, Relabel, Retriever
from distill.recipe.generate import (
    ALL_TASK_TYPES,
    Brainstorm,
    Custom,
    Filters,
    Generate,
    Group,
    LabelledSet,
    Method,
    TaskType,
)
from distill.recipe.llm import DType, Engine, LanguageModel
from distill.recipe.load import Recipe, dump_recipe, load_recipe
from distill.recipe.train import Alignment, Contrastive, Student, Teacher, Train

__all__ = [
    "ALL_TASK_TYPES",
    "Alignment",
    "Brainstorm",
    "Contrastive",
    "Corpus",
    "Custom",
    "DType",
    "Engine",
    "Evaluate",
    "Filters",
    "Generate",
    "Group",
    "LabelledSet",
    "LanguageModel",
    "Method",
    "Ranker",
    "Recipe",
    "Relabel",
    "Retriever",
    "Student",
    "TaskType",
    "Teacher",
    "Train",
    "dump_recipe",
    "load_recipe",
]
