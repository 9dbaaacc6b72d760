"""Compares rankfold's zero-shot log-likelihoods with lm-evaluation-harness', row by row, and the accuracies made of them.

    pip install lm-eval==0.4.13 accelerate peft torch transformers
    python bench/peers/lm-eval-compare.py assets/pequod-5m piqa/test.jsonl lambada/test.jsonl [--limit 50]

Task files hold prepared rows, {"context", "choices", "label"} or {"context_options", "continuation", "label"}, in a folder
named after the task; a row with one choice is scored as LAMBADA is. Exits with 1 when a likelihood differs by more than 1e-3.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-3
METRICS = {"acc": "acc", "accStderr": "acc_stderr", "accNorm": "acc_norm", "accNormStderr": "acc_norm_stderr", "perplexity": "perplexity"}


def task_config(name: str, file: Path, row: dict) -> dict:
    config = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(file)}}, "test_split": "test"}
    metrics = ["acc", "acc_norm"]
    if "context_options" in row:
        config |= {"output_type": "multiple_choice", "doc_to_text": "label", "doc_to_choice": "context_options", "doc_to_target": "continuation"}
    elif len(row["choices"]) == 1:
        config |= {"output_type": "loglikelihood", "doc_to_text": "context", "doc_to_target": "{{' ' + choices[0]}}"}
        metrics = ["acc", "perplexity"]
    else:
        config |= {"output_type": "multiple_choice", "doc_to_text": "context", "doc_to_choice": "choices", "doc_to_target": "label"}
    return config | {"metric_list": [{"metric": metric} for metric in metrics]}


def first_rows(file: Path, limit: int, folder: Path) -> Path:
    """The same rows for both, in a folder that keeps the task's name."""
    rows = [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()][:limit]
    copy = folder / file.parent.name / file.name
    copy.parent.mkdir()
    copy.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return copy


def harness(model, tasks: dict[str, Path], folder: Path) -> dict:
    import lm_eval
    from lm_eval.tasks import TaskManager

    for name, file in tasks.items():
        with open(file, encoding="utf-8") as rows:
            (folder / f"{name}.yaml").write_text(json.dumps(task_config(name, file, json.loads(rows.readline()))))
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return lm_eval.simple_evaluate(model, tasks=list(tasks), task_manager=manager, log_samples=True, bootstrap_iters=2)


def ours(path: str, file: Path) -> tuple[list, dict]:
    rows = subprocess.run(["node", "bench/peers/task-likelihoods.mjs", path, file], cwd=ROOT, check=True, capture_output=True, text=True)
    command = ["node", "bin/rankfold.js", "evaluate", path, "--tasks", file, "--json", "--quiet"]
    score = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(rows.stdout), json.loads(score.stdout)["tasks"][0]


def compare(name: str, samples: list, rows: list) -> bool:
    theirs = [[response[0] for response in sample["resps"]] for sample in sorted(samples, key=lambda sample: sample["doc_id"])]
    pairs = [(a, b) for row, other in zip(rows, theirs, strict=True) for a, b in zip(row, other, strict=True)]
    worst = max(abs(a[0] - float(b[0])) for a, b in pairs)
    choices = sum(place(row) == place(other) for row, other in zip(rows, theirs))
    greedy = sum(row[0][1] == other[0][1] for row, other in zip(rows, theirs) if len(row) == 1)
    same = f"{greedy} greedy answers" if len(rows[0]) == 1 else f"{choices} choices"
    print(f"{name}: {len(rows)} rows, {len(pairs)} log-likelihoods, largest difference {worst:.2e}, {same} the same")
    return worst <= TOLERANCE


def place(row: list) -> int:
    values = [float(each[0]) for each in row]
    return values.index(max(values))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("tasks", nargs="+", type=Path)
    parser.add_argument("--limit", type=int, default=50)
    parser.add_argument("--gguf", help="name of the GGUF file in MODEL, for a model in one")
    arguments = parser.parse_args()
    from lm_eval.models.huggingface import HFLM

    gguf = {"gguf_file": arguments.gguf} if arguments.gguf else {}
    model = HFLM(pretrained=arguments.model, dtype="float32", device="cpu", batch_size=8, **gguf)
    path = str(Path(arguments.model, arguments.gguf or "").resolve())
    fine = True
    with tempfile.TemporaryDirectory() as folder:
        tasks = {file.parent.name: first_rows(file, arguments.limit, Path(folder)) for file in arguments.tasks}
        result = harness(model, tasks, Path(folder))
        for name, file in tasks.items():
            rows, score = ours(path, file)
            fine &= compare(name, result["samples"][name], rows)
            theirs = result["results"][name]
            for key, metric in METRICS.items():
                if score[key] is not None and f"{metric},none" in theirs:
                    print(f"  {metric}: {score[key]:.6g}, the harness {theirs[f'{metric},none']}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
