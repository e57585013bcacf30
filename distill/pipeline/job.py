"""The whole path from a corpus to an evaluated student. No stage calls another: this is the one
place that knows their order. Each stage reads the tables of earlier ones and writes its own.

A stage's code is imported when the stage is reached: reading a corpus needs no torch.
"""

from typing import TYPE_CHECKING, NamedTuple

from distill.errors import UserError
from distill.llm.lazy import LazyLLM, RecipeLLM
from distill.pipeline.inner_run import open_inner_run
from distill.pipeline.make_student import is_start_best, make_student
from distill.pipeline.recipe_copy import save_recipe
from distill.recipe import LanguageModel, Recipe, Teacher
from distill.recipe.needs import check_score_sources
from distill.runtime import processes
from distill.store.run import Run
from distill.store.stage import Stage
from distill.workers import shares
from distill.workers.protocol import Workers

if TYPE_CHECKING:
    from distill.llm.protocol import LLM
    from distill.tasks.decontaminate import EvaluationSet


class CorpusStages(NamedTuple):
    """All None where a recipe has no corpus; `held_out` are the docstrings that are held out as
    queries with their answers, `held_out_passages` the passages of held-out documents,
    `known_item` the task in which they are searched for by their own titles."""

    passages: Stage | None
    held_out: Stage | None
    held_out_passages: Stage | None
    known_item: Stage | None


class GenerateResult(NamedTuple):
    """The stages that `generate` made: queries of passages to be relabelled, whole examples, and
    the queries for held-out passages that the task `judged` asks."""

    corpus: CorpusStages
    queries: Stage | None
    examples: list[Stage]
    held_out_queries: Stage | None


class TrainingExamples(NamedTuple):
    """The stages that a student is trained on. `labels` is None where nothing was relabelled;
    `earlier` is the query encoder of the round before, which training goes on from; `repeated` is a
    round's student, where training would only repeat that round."""

    corpus: CorpusStages
    stages: list[Stage]
    labels: Stage | None
    earlier: Stage | None = None
    repeated: Stage | None = None


class Round(NamedTuple):
    """The start of a round of retrieval and relabelling: the recipe, with the student of the round
    before as retriever, and that student where it is a query encoder. `repeated` is the student of
    a round that began with the same and made none better."""

    recipe: Recipe
    earlier: Stage | None = None
    repeated: Stage | None = None

    @property
    def teacher(self) -> Teacher | None:
        """The teacher, where the retriever is a query encoder over its document vectors."""
        return None if self.earlier is None else self.recipe.teacher


class Job:
    """One recipe in one open run. Each method does what it needs of the stages before it, which
    costs nothing where they are complete.

    An LLM is opened by the first stage that asks it something, closed where an encoder or another
    LLM needs its memory, and closed for good before anything is trained."""

    def __init__(self, run: Run, recipe: Recipe) -> None:
        self.run = run
        self.recipe = recipe
        processes.connect(recipe.train.device)
        if recipe.execution.mode == "ray" and run.workers.local:
            run.use_workers(_open_cluster(recipe, run))
        elif run.workers.local and (run.folder / shares.FOLDER).is_dir():
            mixed = recipe.execution.mixed_devices
            run.use_workers(shares.ShareTaker(run.folder, False, mixed))
        self.judged = run.folder / "judgements.sqlite"
        self.llm: LazyLLM = self._make_llm(recipe.llm)
        self.judging_llm = self._make_other(recipe.relabel.llm)
        self.judge = self._make_other(recipe.evaluate.judged.llm)
        if processes.is_main() and not (run.folder / "recipe.yaml").exists():
            save_recipe(run.folder, recipe)

    def _make_llm(self, settings: LanguageModel) -> LazyLLM:
        return RecipeLLM(settings, self.run.folder / "requests.sqlite")

    def _make_other(self, other: LanguageModel | None) -> LazyLLM:
        """Make the LLM of rankers, or of the task `judged`: the one that writes queries, unless the
        recipe names another."""
        if other is None or other == self.recipe.llm:
            return self.llm
        return self._make_llm(other)

    def open_judging_llm(self) -> "LLM":
        """Open the LLM of the rankers, and close the one that writes if it is another."""
        self._close_writing_llm()
        return self.judging_llm()

    def make_corpus(self) -> CorpusStages:
        """Make the stages `passages` and, where documents are held out, their passages and task."""
        from distill.corpus.docstrings.held_out import make_held_out
        from distill.corpus.held_out import KNOWN_ITEM
        from distill.corpus.passages import make_split_passages

        run, recipe = self.run, self.recipe
        if not recipe.has_corpus:
            return CorpusStages(None, None, None, None)
        passages, held_out_passages = make_split_passages(
            run, recipe.corpus, recipe.seed, recipe.evaluate.tasks
        )
        known_item = None
        if KNOWN_ITEM in self.recipe.evaluate.tasks and held_out_passages is not None:
            from distill.generate.known_item.stage import make_known_item_task

            asked = recipe.evaluate.known_item
            known_item = make_known_item_task(
                run, asked, recipe.corpus, recipe.seed, passages, held_out_passages
            )
        held_out = make_held_out(run, recipe.corpus, recipe.seed)
        return CorpusStages(passages, held_out, held_out_passages, known_item)

    def generate(self) -> GenerateResult:
        """Make the queries: generate, parse, brainstorm, label and filter."""
        from distill.generate.brainstorm import make_brainstorm
        from distill.generate.filters.stage import FilterSettings, make_queries
        from distill.generate.labelled.triples import make_labelled
        from distill.generate.settings import WritingSettings
        from distill.train.data.sources import check_sources

        check_score_sources(self.recipe)
        run, recipe, corpus = self.run, self.recipe, self.make_corpus()
        check_sources(run.folder, recipe.train, recipe.generate, corpus.passages)
        queries, examples = None, []
        if corpus.passages is not None and recipe.teacher.document_vectors is not None:
            from distill.teacher.document_vectors import import_document_vectors

            import_document_vectors(
                run, recipe.teacher, recipe.retriever, corpus.passages, corpus.held_out_passages
            )
        if corpus.passages is not None and recipe.generate.from_passages:
            sources = self._make_query_sources(corpus.passages)
            filters, sets = FilterSettings.select(recipe), self._list_evaluation_sets(corpus)
            queries = make_queries(run, filters, corpus.passages, sources, self.llm, sets)
        if "brainstorm" in recipe.generate.methods:
            sets, writing = self._list_evaluation_sets(corpus), WritingSettings.select(recipe)
            examples.append(make_brainstorm(run, writing, recipe.retriever, self.llm, sets))
        if "labelled" in recipe.generate.methods:
            sets = self._list_evaluation_sets(corpus)
            examples.append(make_labelled(run, recipe.generate, recipe.seed, recipe.folder, sets))
        return GenerateResult(corpus, queries, examples, self._ask_held_out(corpus, queries))

    def _list_evaluation_sets(self, corpus: CorpusStages) -> "list[EvaluationSet]":
        """List what the recipe evaluates on, which nothing that is written may repeat."""
        from distill.tasks.decontaminate import list_evaluation_sets

        recipe = self.recipe
        filters, own = recipe.generate.filters, recipe.own_corpus
        return list_evaluation_sets(recipe.evaluate, filters, own, recipe.seed, corpus.held_out)

    def _ask_held_out(self, corpus: CorpusStages, queries: Stage | None) -> Stage | None:
        """Write queries for the held-out passages, where the recipe evaluates on them."""
        from distill.corpus.held_out import JUDGED
        from distill.generate.held_out import make_held_out_queries
        from distill.generate.log.stage import LogSettings
        from distill.generate.settings import WritingSettings

        recipe = self.recipe
        if JUDGED not in recipe.evaluate.tasks or corpus.held_out_passages is None:
            return None
        if self.judge is not self.llm:
            self.llm.make_room()
        made = make_held_out_queries(
            self.run,
            recipe.evaluate.judged,
            WritingSettings.select(recipe),
            LogSettings.select(recipe) if recipe.holds_out_log else None,
            corpus.held_out_passages,
            queries,
            self.judge,
        )
        if self.judge is not self.llm:
            self.judge.close()
        return made

    def _make_query_sources(self, passages: Stage) -> list[Stage]:
        """Make the queries over passages before any filter. What users asked comes first: of equal
        queries the first is kept."""
        from distill.generate.free.stage import make_free_queries
        from distill.generate.log.stage import LogSettings, make_log_queries
        from distill.generate.passages.generations import make_generations
        from distill.generate.passages.parsed import make_parsed
        from distill.generate.settings import WritingSettings

        run, recipe, sources = self.run, self.recipe, []
        if "log" in recipe.generate.methods:
            log, min_relevance = LogSettings.select(recipe), recipe.relabel.min_relevance
            sources.append(make_log_queries(run, log, min_relevance))
        if recipe.generate.writes_queries:
            writing = WritingSettings.select(recipe)
            generations = make_generations(run, writing, passages, self.llm)
            sources.append(make_parsed(run, writing, generations))
        if recipe.generate.free_methods:
            sources.append(make_free_queries(run, recipe.generate, recipe.seed, passages))
        return sources

    def relabel(self) -> TrainingExamples:
        """Make the corpus and all examples."""
        from distill.pipeline.weigh_rankers import settle_rankers

        with processes.let_main_go_first():
            corpus, queries, examples, _ = self.generate()
        self._close_writing_llm()
        if corpus.passages is None or queries is None:
            self.llm.close()
            return TrainingExamples(corpus, examples, None)
        passages, llm = corpus.passages, self.judging_llm
        with processes.let_main_go_first():
            last = Round(settle_rankers(self.run, self.recipe, passages, queries, llm, self.judged))
        for number in range(1, self.recipe.relabel.rounds):
            last = self._finish_round(number, last, passages, queries, examples)
            if last.repeated is not None:
                break
        with processes.let_main_go_first():
            labels, chosen = self._label(self.run, last.recipe, last.teacher, passages, queries)
        self.judging_llm.close()
        return TrainingExamples(corpus, [chosen, *examples], labels, last.earlier, last.repeated)

    def _label(
        self, run: Run, recipe: Recipe, teacher: Teacher | None, passages: Stage, queries: Stage
    ) -> tuple[Stage, Stage]:
        """Relabel in the run of the job or of a round; the labels and the examples."""
        from distill.relabel.rankers.passes import RankerSettings
        from distill.relabel.stages import relabel

        rankers, llm = RankerSettings.select(recipe), self.judging_llm
        return relabel(run, rankers, recipe.seed, passages, queries, llm, self.judged, teacher)

    def _close_writing_llm(self) -> None:
        """Close the LLM that wrote queries, unless it judges candidates as well."""
        if self.judging_llm is not self.llm:
            self.llm.close()

    def train_judge(self) -> tuple[Stage, Stage | None]:
        """Train the judge from labels of its own or from those of relabelling, and its evaluation;
        no student."""
        from distill.evaluate.rerank import evaluate_judge
        from distill.pipeline.teach_judge import teach_judge
        from distill.train.judge.base import JudgeTraining, check_encoder
        from distill.train.judge.stage import make_judge

        run, recipe = self.run, self.recipe
        training = JudgeTraining.select(recipe)
        check_encoder(training.judge, training.encoder)
        corpus, queries, _, _ = self.generate()
        if corpus.passages is None or queries is None:
            raise UserError(
                f"recipe {recipe.name}",
                "has no queries of passages, whose labels teach a judge",
                "name a corpus, and methods of generate.methods that ask about its passages",
            )
        if recipe.trains_judge:
            self._close_writing_llm()
            llm = self.judging_llm
            judge = teach_judge(run, recipe, corpus.passages, queries, llm, self.judged)
        else:
            labels = self.relabel().labels
            assert labels is not None
            run.workers.dismiss_all()
            judge = make_judge(run, training, corpus.passages, queries, labels)
        self.judging_llm.close()
        return judge, evaluate_judge(run, recipe, judge, corpus.held_out, corpus.known_item)

    def _finish_round(
        self, number: int, last: Round, passages: Stage, queries: Stage, examples: list[Stage]
    ) -> Round:
        """Relabel and train in a run of its own inside this one, `round-N`; what the next round
        begins with: the recipe with the student that came of it as retriever, which is told each
        query's task as it was in training. Where training made no better query encoder
        (`train.keep: best`), the next begins as this one did, and would train the same again unless
        this one chose by other rules (`first_round`)."""
        recipe = last.recipe
        of_seeds = number == 1 and recipe.relabel.first_round == "seed"
        rule = recipe.relabel.keep_seeds() if of_seeds else recipe.relabel
        train = recipe.train.model_copy(update={"interpolation": 1.0})  # at the end, once
        alone = recipe.student.model_copy(update={"add_static": None})  # likewise
        here = recipe.model_copy(update={"relabel": rule, "train": train, "student": alone})
        with open_inner_run(self.run, str(number)) as run:
            with processes.let_main_go_first():
                labels, chosen = self._label(run, here, last.teacher, passages, queries)
            self.judging_llm.close()
            learnt = [chosen, *examples]
            _, trained = make_student(run, here, passages, learnt, labels, last.earlier)
        if recipe.student.route == "query" and is_start_best(trained):
            return last if of_seeds else last._replace(repeated=trained)
        student = {
            "model": str(trained.folder),
            "query_template": "{query}",
            "max_tokens": recipe.student.max_tokens,
            "base_url": None,
            "query_prompt": "",
            "document_prompt": "",
            "bidirectional": None,
            "append_eos": None,
            "known_as": None,
        }
        retriever = recipe.retriever.model_copy(update=student)
        earlier = trained if recipe.student.route == "query" else None
        return Round(recipe.model_copy(update={"retriever": retriever}), earlier)

    def score_teacher(self) -> Stage:
        """Compute the teachers' scores of all examples."""
        from distill.teacher.scores import make_teacher_scores

        return make_teacher_scores(self.run, self.recipe.teacher, self.relabel().stages)

    def train_student(self) -> tuple[CorpusStages, Stage, Stage]:
        """Make the corpus, the untrained base and the student. Of several processes (`accelerate
        launch`) the first makes what comes before the student, and all train it."""
        corpus, examples, labels, earlier, repeated = self.relabel()
        base, student = make_student(
            self.run, self.recipe, corpus.passages, examples, labels, earlier, repeated
        )
        return corpus, base, student

    def evaluate(self) -> Stage:
        """Train the student if it is not there, and compare it with base and teacher."""
        from distill.evaluate.stage import evaluate_run

        corpus, base, student = self.train_student()
        with processes.let_main_go_first():
            judged = self._judge_held_out(base, student)
            self.run.workers.dismiss_all()
            self._evaluate_judge(corpus)
            return evaluate_run(
                self.run,
                self.recipe,
                base,
                student,
                corpus.held_out,
                corpus.passages,
                judged,
                corpus.known_item,
            )

    def _evaluate_judge(self, corpus: CorpusStages) -> None:
        """Compare the recipe's judge, where it trains one, with the retriever's order."""
        if not self.recipe.trains_judge or not (self.run.folder / "judge").is_dir():
            return
        from distill.evaluate.rerank import evaluate_judge
        from distill.store.stage import open_stage

        judge = open_stage(self.run.folder / "judge")
        evaluate_judge(self.run, self.recipe, judge, corpus.held_out, corpus.known_item)

    def _judge_held_out(self, base: Stage, student: Stage) -> Stage | None:
        """Make the judged pool, where the recipe evaluates on it."""
        from distill.evaluate.judged.pool import PoolInputs, PoolSettings, make_judged_pool
        from distill.evaluate.models.run_models import RunModelSettings, load_run_models
        from distill.evaluate.stage import RESULTS_FOLDER

        corpus, _, _, queries = self.generate()
        if corpus.passages is None or corpus.held_out_passages is None or queries is None:
            return None
        folders = {"base": base.folder, "student": student.folder}
        opened = RunModelSettings.select(self.recipe)
        made = make_judged_pool(
            self.run,
            PoolSettings.select(self.recipe),
            PoolInputs(corpus.passages, corpus.held_out_passages, queries),
            lambda: load_run_models(opened, folders, self.run),
            self.judge,
            self.run.folder / RESULTS_FOLDER,
        )
        self.judge.close()
        return made


def _open_cluster(recipe: Recipe, run: Run) -> Workers:
    from distill.workers.ray_pool import ClusterSettings
    from distill.workers.ray_team import RayWorkers

    copies = recipe.execution.make_copy_source(recipe.store)
    settings = ClusterSettings(**recipe.execution.cluster, copies=copies)
    return RayWorkers(settings, run.folder, lambda: run.mirror.copy_for_workers())
