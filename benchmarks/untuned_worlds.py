"""Compares NPA with what needs no training, on made-up sites that nothing was tuned on.

Each site is one of the family of `mind/synthetic`, with a seed and knobs of its own. On each, with
pretrained word vectors and without, the recipe is trained with several seeds: with personalised
attention and, to save time only without pretrained vectors, with vanilla attention (one query for
everyone) and none (the mean). A training is that of `tfrs-npa train`: two epochs, of which that
with the best AUC on the validation impressions counts, epoch 0 included.

Beside them: the untrained model, the baselines that every report has, and a logistic regression and
gradient boosting (scikit-learn) on the same titles. Their rows are the clicked candidates of the
training impressions and 4 others of each; their features are the vector of the candidate's title,
its product with the mean of the clicked titles', element by element, and the cosine and the density
ratio of the baselines.

Metrics are AUCs of the test impressions. Those of NPA are means over the seeds of the training.
Differences are of the same impressions, with 95 % intervals of the bootstrap over impressions.

It resumes after an interruption: trainings that are in `--folder` are not repeated.
"""

from __future__ import annotations

import csv
import itertools
import json
import pathlib
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import results_file
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tfrs_npa
from tfrs_npa._files import atomic_file
from tfrs_npa.cli.messages import import_tensorflow
from tfrs_npa.config import NPAConfig
from tfrs_npa.settings import TrainingSettings

if TYPE_CHECKING:
    from tfrs_npa.data.catalog import NewsCatalog
    from tfrs_npa.data.impressions import Impressions
    from tfrs_npa.runs.baselines import Baselines

WORLDS: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    # Seed, knobs, sizes. As `mind/synthetic`, drawn with another seed.
    "like-synthetic": (101, {}, {}),
    # Broad tastes and weak reasons to click; titles that say less.
    "weak": (
        102,
        {"strength": 1.0, "arbitrary": 0.25, "random_share": 0.15, "hook_appeal": 0.3},
        {},
    ),
    # Narrow tastes, hardly any appeal of titles to everyone, fast change.
    "narrow": (
        103,
        {
            "affinity_kappa": 8.0,
            "subjects_of_user": 8,
            "hook_appeal": 0.15,
            "word_appeal": 0.05,
            "drift": 0.3,
            "new_candidates": 0.75,
        },
        {},
    ),
    # Few users who come often, as in the data of the paper (Wu et al., KDD 2019, section 4.1). What
    # counts for one is the subject, for another a name.
    "regulars": (
        105,
        {"new_users": 0.1, "new_user_impressions": 0.1, "names_alpha": 0.2, "named": 0.7},
        {"users": 700},
    ),
}
KINDS = ("personalized", "vanilla", "mean")
VECTORS = {"pretrained": KINDS[:1], "none": KINDS}
"""Kinds of attention compared with pretrained word vectors, and without."""
NEGATIVES = 4
DIM = 300
"""Dimensions of the pretrained word vectors."""
CLASSIFIERS = {
    "logistic regression": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=1e-3)),
    "gradient boosting": lambda: HistGradientBoostingClassifier(random_state=0),
}


def world_folder(folder: pathlib.Path, name: str, sizes: dict[str, Any]) -> pathlib.Path:
    """Writes a world into `folder`, if it is not there, and returns its own folder."""
    from tfrs_npa.datasets.mind import SyntheticWorld, WorldKnobs

    path = folder / name
    if not (path / "world.json").exists():
        seed, knobs, own = WORLDS[name]
        print(f"writing {name}", file=sys.stderr)
        world = SyntheticWorld(WorldKnobs(**knobs), seed=seed, **(own | sizes))
        world.write(path, word_vector_dim=DIM)
    return path


def config_of(preset: str, vectors: str, kind: str, seed: int) -> NPAConfig:
    config = NPAConfig() if preset == "full" else NPAConfig.preset(preset)
    if vectors == "pretrained":
        config = config.replace(word_embedding_dim=DIM)
    return config.replace(word_attention=kind, news_attention=kind, seed=seed)


def npa(run: pathlib.Path, config: NPAConfig, settings: TrainingSettings) -> dict[str, Any]:
    """Trains a run, if it is not there.

    Returns:
        `auc` of each test impression with both labels, `untrained`, the same of the model before
        training, `val_auc` of each epoch from 0 on, and `cpu_seconds` of training and evaluation.
    """
    from tfrs_npa.data.splits import load_splits
    from tfrs_npa.runs.evaluation import model_values
    from tfrs_npa.runs.train import train

    kept = run.with_suffix(".json")
    if not kept.exists():
        started = time.process_time()
        train(run, settings, config, overwrite=True)
        seconds = time.process_time() - started
        catalog, splits = load_splits(settings)
        untrained = tfrs_npa.NPA(config, catalog, splits.users)
        untrained.compile()
        with (run / "history.csv").open(newline="", encoding="utf-8") as file:
            val_auc = [float(row["val_auc"]) for row in csv.DictReader(file)]
        values = {
            "auc": _aucs(model_values(tfrs_npa.load_run(run), splits.test)).tolist(),
            "untrained": _aucs(model_values(untrained, splits.test)).tolist(),
            "val_auc": val_auc,
            "cpu_seconds": seconds,
        }
        with atomic_file(kept) as temporary:
            temporary.write_text(json.dumps(values), encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def _aucs(values):
    return values["auc"][values["scored"]].astype(np.float64)


def without_npa(settings: TrainingSettings, dim: int) -> dict[str, np.ndarray]:
    """Returns the test AUCs of baselines and classifiers by name, `[impressions]`."""
    from tfrs_npa.data.splits import load_splits
    from tfrs_npa.metrics.impression_values import impression_values
    from tfrs_npa.runs.baselines import Baselines
    from tfrs_npa.runs.evaluation import baseline_values

    catalog, splits = load_splits(settings)
    baselines = Baselines.of_training(splits.train, catalog, dim)
    found = baseline_values(baselines, splits.test, catalog)
    result = {name.replace("_", " "): _aucs(values) for name, values in found.items()}
    x, is_click = _sampled(splits.train, catalog, baselines)
    test = splits.test.take(slice(None))
    shown = np.arange(len(test.candidate_values))
    features = _features(test, catalog, baselines, shown)
    for name, make in CLASSIFIERS.items():
        classifier = make().fit(x, is_click)
        scores = classifier.predict_proba(features)[:, 1].astype(np.float32)
        result[name] = _aucs(impression_values(test.clicked, scores, test.candidate_splits))
    return result


def _sampled(impressions: Impressions, catalog: NewsCatalog, baselines: Baselines):
    """Returns features `[rows, ...]` and labels `[rows]` of clicks, and of others of the lists."""
    packed = impressions.take(slice(None))
    generator = np.random.default_rng(0)
    chosen = []
    for first, last in zip(packed.candidate_splits[:-1], packed.candidate_splits[1:]):
        is_click = packed.clicked[first:last] == 1
        others = first + np.flatnonzero(~is_click)
        number = min(len(others), NEGATIVES * np.count_nonzero(is_click))
        chosen += [first + np.flatnonzero(is_click), generator.choice(others, number, False)]
    rows = np.concatenate(chosen)
    return _features(packed, catalog, baselines, rows), packed.clicked[rows] == 1


def _features(packed: Impressions, catalog: NewsCatalog, baselines: Baselines, rows: np.ndarray):
    """Returns the features of the candidates at `rows` of `candidate_values`."""
    from tfrs_npa.runs.baselines import title_vectors

    titles = title_vectors(catalog, baselines.word_vectors)
    scores = dict(baselines.scores(packed, catalog))
    columns = [scores["cosine"][rows, np.newaxis], scores["density_ratio"][rows, np.newaxis]]
    users = np.zeros([len(packed), titles.shape[1]], np.float32)
    for row in range(len(packed)):
        clicks = packed.history_values[packed.history_splits[row] : packed.history_splits[row + 1]]
        if len(clicks):
            users[row] = titles[clicks[-50:]].mean(axis=0)
    owners = np.searchsorted(packed.candidate_splits, rows, side="right") - 1
    shown = titles[packed.candidate_values[rows]]
    return np.concatenate([*columns, shown, shown * users[owners]], axis=1)


def compared(name: str, values: np.ndarray, other: np.ndarray) -> list[str]:
    """Returns a row of the table of differences."""
    from tfrs_npa.metrics.significance import mean_interval, within_noise

    low, high = mean_interval(values - other)
    verdict = "within noise" if within_noise([low, high]) else "above" if low > 0 else "below"
    return [name, f"{np.mean(values - other):+.4f}", f"{low:+.4f} to {high:+.4f}", verdict]


def main() -> None:
    parser = results_file.result_parser(__doc__)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("runs/untuned-worlds"))
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--vectors", nargs="+", choices=VECTORS, default=list(VECTORS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="default: as described above")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--preset", choices=["small", "full"], default="small")
    parser.add_argument("--epochs", type=int, default=TrainingSettings.epochs)
    sizes = parser.add_argument_group("size of the worlds (default: that of mind/synthetic)")
    sizes.add_argument("--users", type=int)
    sizes.add_argument("--articles", type=int)
    sizes.add_argument("--impressions", type=int, nargs=3, metavar=("TRAIN", "VALID", "TEST"))
    args = parser.parse_args()
    import_tensorflow()
    from tfrs_npa.metrics.significance import mean_interval

    size = {
        name: tuple(value) if isinstance(value, list) else value
        for name in ("users", "articles", "impressions")
        if (value := getattr(args, name)) is not None
    }
    tables, summary = [], []
    pooled: dict[tuple[str, str], list[np.ndarray]] = {}
    for name in args.worlds:
        world = world_folder(args.folder, name, size)
        for vectors in args.vectors:
            kinds = args.kinds or VECTORS[vectors]
            path = str(world / "word_vectors.txt") if vectors == "pretrained" else None
            settings = TrainingSettings(str(world), word_vectors=path, epochs=args.epochs)
            found = {}
            for kind in kinds:
                runs = []
                for seed in args.seeds:
                    config = config_of(args.preset, vectors, kind, seed)
                    run = args.folder / f"{name}-{vectors}-{args.preset}-{kind}-{seed}"
                    print(run.name, file=sys.stderr)
                    runs.append(npa(run, config, settings))
                found[kind] = runs
            others = without_npa(settings, config.word_embedding_dim)
            best = found[kinds[0]]
            others |= {"untrained NPA": np.mean([run["untrained"] for run in best], axis=0)}
            aucs = {k: np.mean([run["auc"] for run in runs], axis=0) for k, runs in found.items()}
            rows = []
            for title, value in [*others.items(), *((f"NPA, {k}", v) for k, v in aucs.items())]:
                low, high = mean_interval(value)
                rows.append([title, f"{value.mean():.4f}", f"{low:.4f} to {high:.4f}"])
            title = f"{name}, word vectors: {vectors}"
            tables.append(results_file.table(title, ["", "AUC", "95 %"], rows))
            results_file.show(tables[-1])
            own = aucs[kinds[0]]
            rows = [compared(f"{kinds[0]} - {other}", own, o) for other, o in others.items()]
            for one, other in itertools.combinations(kinds, 2):
                rows.append(compared(f"{one} - {other}", aucs[one], aucs[other]))
                pooled.setdefault((one, other), []).append(aucs[one] - aucs[other])
            tables.append(
                results_file.table(f"{title}: differences", ["", "AUC", "95 %", ""], rows)
            )
            results_file.show(tables[-1])
            seconds = np.mean([run["cpu_seconds"] for run in best])
            summary.append(
                results_file.measurement(
                    f"{title}: AUC above the best that is not NPA",
                    float(own.mean() - max(value.mean() for value in others.values())),
                    target=0.0,
                )
            )
            print(f"{seconds:.0f} CPU seconds for a training with its evaluations\n", flush=True)
    if pooled:
        rows = []
        for (one, other), differences in pooled.items():
            rows.append(compared(f"{one} - {other}", np.concatenate(differences), np.zeros(1)))
        title = "All of them together: differences"
        tables.append(results_file.table(title, ["", "AUC", "95 %", ""], rows))
        results_file.show(tables[-1])
    results_file.write(
        args.json,
        title="Sites that nothing was tuned on",
        about=results_file.about(__doc__),
        tables=tables,
        measurements=summary,
    )


if __name__ == "__main__":
    main()
