"""A run as typed, validated YAML: one file a group of sections, `load` puts them together."""

from distill.recipe.execution import Execution
from distill.recipe.load import Recipe, dump_recipe, load_recipe, override
from distill.recipe.sections.corpus import Corpus
from distill.recipe.sections.embedder import ALL_TOKENS, Dtype, EmbedderConfig, ServedModel
from distill.recipe.sections.evaluate import (
    Ablation,
    Evaluate,
    JudgedPool,
    KnownItemSearch,
    LabelledColumns,
)
from distill.recipe.sections.generate import (
    ALL_TASK_TYPES,
    Brainstorm,
    Custom,
    Filters,
    FreeMethod,
    FreeQueries,
    Generate,
    Group,
    LabelledSet,
    Method,
    QueryLog,
    TaskType,
)
from distill.recipe.sections.llm import DType, Engine, LanguageModel
from distill.recipe.sections.objective import (
    KL,
    Align,
    CorpusSoftmax,
    InfoNCE,
    MarginMSE,
    MixedScoreName,
    MultiPositive,
    Objective,
    SoftScoreChoice,
    SoftScoreName,
)
from distill.recipe.sections.relabel import (
    JUDGES,
    OWN_JUDGE,
    Cascade,
    DistilledJudge,
    Judge,
    Ranker,
    RankerCheck,
    Relabel,
)
from distill.recipe.sections.retriever import BM25, RetrievalSource, Retriever
from distill.recipe.sections.student import Latent, Lora, Static, Student
from distill.recipe.sections.teacher import Teacher
from distill.recipe.sections.train import Train

__all__ = [
    "ALL_TASK_TYPES",
    "ALL_TOKENS",
    "BM25",
    "JUDGES",
    "KL",
    "OWN_JUDGE",
    "Ablation",
    "Align",
    "Brainstorm",
    "Cascade",
    "Corpus",
    "CorpusSoftmax",
    "Custom",
    "DType",
    "DistilledJudge",
    "Dtype",
    "EmbedderConfig",
    "Engine",
    "Evaluate",
    "Execution",
    "Filters",
    "FreeMethod",
    "FreeQueries",
    "Generate",
    "Group",
    "InfoNCE",
    "Judge",
    "JudgedPool",
    "KnownItemSearch",
    "LabelledColumns",
    "LabelledSet",
    "LanguageModel",
    "Latent",
    "Lora",
    "MarginMSE",
    "Method",
    "MixedScoreName",
    "MultiPositive",
    "Objective",
    "QueryLog",
    "Ranker",
    "RankerCheck",
    "Recipe",
    "Relabel",
    "RetrievalSource",
    "Retriever",
    "ServedModel",
    "SoftScoreChoice",
    "SoftScoreName",
    "Static",
    "Student",
    "TaskType",
    "Teacher",
    "Train",
    "dump_recipe",
    "load_recipe",
    "override",
]
