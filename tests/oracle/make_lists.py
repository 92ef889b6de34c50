"""Makes `lists.json`: measures of lists by LensKit, and by Informfully's Recommenders.

Runs in an environment of its own, with `pip install lenskit==2025.8.1 scikit-learn`, and
`cornac/metrics/diversity.py` of https://github.com/Informfully/Recommenders (Apache License 2.0),
which needs nothing else of that repository:

    python tests/oracle/make_lists.py diversity.py > tests/oracle/lists.json
"""

import importlib.util
import json
import sys

import numpy as np
from lenskit.data import ItemList
from lenskit.metrics import ListGini

ARTICLES, CATEGORIES, LISTS, K = 30, 5, 8, 5


def main(path):
    spec = importlib.util.spec_from_file_location("diversity", path)
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    generator = np.random.default_rng(15)
    pools = [
        generator.permutation(np.arange(1, ARTICLES))[: generator.integers(8, 14)]
        for _ in range(LISTS)
    ]
    # In the order of ids: two of their measures sort a list before they discount its ranks.
    lists = np.array([np.sort(generator.permutation(pool)[:K]) for pool in pools])
    histories = [generator.integers(1, ARTICLES, generator.integers(2, 9)) for _ in pools]
    category = generator.integers(1, CATEGORIES + 1, ARTICLES)
    category[0] = 0
    vectors = generator.normal(size=(ARTICLES, 4))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).round(6)
    vectors[0] = 0
    score = generator.uniform(-1, 1, ARTICLES).round(3)
    minority = generator.integers(0, 5, ARTICLES) / 4
    voices = [
        [],
        *(
            sorted(generator.integers(0, 6, generator.integers(1, 4)).tolist())
            for _ in range(1, ARTICLES)
        ),
    ]

    ids = range(1, ARTICLES)
    options = {"divergence_type": "JS", "discount": True}
    calibration = theirs.Calibration(
        {a: int(category[a]) for a in ids}, data_type="category", **options
    )
    activation = theirs.Activation({a: float(score[a]) for a in ids}, **options)
    representation = theirs.Representation({a: voices[a] for a in ids}, **options)
    alternative = theirs.AlternativeVoices(
        {a: np.array([minority[a], 1 - minority[a]]) for a in ids}, **options
    )
    fragmentation = theirs.Fragmentation({a: int(category[a]) for a in ids}, **options)
    diversity = theirs.ILD({a: vectors[a] for a in ids})
    of_categories = theirs.ILD({a: np.eye(CATEGORIES)[category[a] - 1] for a in ids})
    gini = ListGini(items=ARTICLES - 1)
    data = [gini.compute_list_data(ItemList(row), None) for row in lists]
    result = {
        "lists": lists.tolist(),
        "pools": [row.tolist() for row in pools],
        "histories": [row.tolist() for row in histories],
        "category": category.tolist(),
        "vectors": vectors.tolist(),
        "score": score.tolist(),
        "minority": minority.tolist(),
        "voices": voices,
        "gini": float(gini.global_aggregate(data)),
        "vector_diversity": [float(diversity.compute(row)) for row in lists],
        "category_diversity": [float(of_categories.compute(row)) for row in lists],
        "divergences": {
            # The latest click is at rank 1.
            "calibration": [
                float(calibration.compute(row, clicks[::-1]))
                for row, clicks in zip(lists, histories)
            ],
            "activation": [float(activation.compute(row, pool)) for row, pool in zip(lists, pools)],
            "representation": [
                float(representation.compute(row, pool)) for row, pool in zip(lists, pools)
            ],
            "alternative_voices": [
                float(alternative.compute(row, pool)) for row, pool in zip(lists, pools)
            ],
            "fragmentation": [float(fragmentation.compute(lists[0], [lists[1]]))],
        },
    }
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main(sys.argv[1])
