"""Makes `off_policy.json`: values of a ranking by the Open Bandit Pipeline (Apache License 2.0).

Runs in an environment of its own, with `pip install --no-deps obp==0.4.1` and
`pip install numpy scipy scikit-learn pandas torch matplotlib seaborn pyyaml tqdm`:

    python tests/oracle/make_off_policy.py > tests/oracle/off_policy.json

Its rounds are our clicks: the propensity of a round is that of the position at which the article
was clicked, and its reward what the position is worth at which the ranking puts that article.
"""

import json
import sys

import numpy as np
from obp.ope import InverseProbabilityWeighting, SelfNormalizedInverseProbabilityWeighting


def main():
    generator = np.random.default_rng(5)
    lengths = generator.integers(1, 15, 40)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    propensity = (1 / np.arange(1, 16) ** 0.7).round(4)
    clicked = generator.random(splits[-1]) < 0.2
    scores = generator.random(splits[-1]).round(4)
    pscore, gains = [], {"clicks": [], "dcg_10": []}
    for first, end in zip(splits[:-1], splits[1:]):
        order = list(np.argsort(-scores[first:end]))
        for place in range(end - first):
            if clicked[first + place]:
                rank = order.index(place)
                pscore.append(propensity[place])
                gains["clicks"].append(propensity[rank])
                gains["dcg_10"].append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
    rounds = {
        "action": np.zeros(len(pscore), int),
        "pscore": np.array(pscore),
        "action_dist": np.ones((len(pscore), 1, 1)),
        "position": np.zeros(len(pscore), int),
    }
    ips, snips = InverseProbabilityWeighting(), SelfNormalizedInverseProbabilityWeighting()
    values = {}
    for worth, reward in gains.items():
        per_click = ips.estimate_policy_value(reward=np.array(reward), **rounds)
        values[worth] = {
            # Theirs is the mean over clicks, ours that over impressions.
            "ips": float(per_click * len(pscore) / len(lengths)),
            "snips": float(snips.estimate_policy_value(reward=np.array(reward), **rounds)),
        }
    json.dump(
        {
            "clicked": clicked.astype(int).tolist(),
            "splits": splits.tolist(),
            "scores": scores.tolist(),
            "propensity": propensity.tolist(),
            "values": values,
        },
        sys.stdout,
    )
    print()


if __name__ == "__main__":
    main()
