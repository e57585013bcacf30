"""Parts of the collections of DISTILL_DATA, for tests that need real texts but not many."""

import json
from pathlib import Path


def write_part(
    source: Path, folder: Path, queries: int, documents: int, split: str = "test"
) -> Path:
    """The first queries of the split, their documents, and as many others as are missing."""
    (folder / "qrels").mkdir(parents=True)
    header, *judged = (source / "qrels" / f"{split}.tsv").read_text().splitlines()
    asked = set(list(dict.fromkeys(row.split("\t")[0] for row in judged))[:queries])
    judged = [row for row in judged if row.split("\t")[0] in asked]
    wanted = {row.split("\t")[1] for row in judged}
    rows = [json.loads(line) for line in (source / "corpus.jsonl").read_text().splitlines()]
    rows = sorted(rows, key=lambda row: row["_id"] not in wanted)[:documents]
    texts = (json.loads(line) for line in (source / "queries.jsonl").read_text().splitlines())
    for name, part in (("corpus", rows), ("queries", [q for q in texts if q["_id"] in asked])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    (folder / "qrels" / f"{split}.tsv").write_text("\n".join([header, *judged]) + "\n")
    return folder


def write_small_data(data: Path, folder: Path) -> Path:
    """A folder like DISTILL_DATA, with a part of cacm and of xquad/en, and links to the rest."""
    write_part(data / "own/cacm", folder / "own/cacm", 20, 400)
    write_part(data / "own/xquad/en", folder / "own/xquad/en", 40, 60, "validation")
    for place in (data, data / "own", data / "own/xquad"):
        for entry in place.iterdir():
            link = folder / entry.relative_to(data)
            if not link.exists():
                link.symlink_to(entry.resolve())
    return folder
