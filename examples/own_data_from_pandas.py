"""Data of your own, from pandas data frames.

A news site has a table of articles and a log with a line for each article that was shown. The
history of an impression is not in the log: it consists of the user's earlier clicks. `behaviors_of`
turns the log into the data set that NPA reads.

Without files, the articles and the log are taken from `--data` as a stand-in.
"""

from __future__ import annotations

import argparse
import collections
import pathlib

import pandas as pd
import tensorflow as tf

import tfrs_npa

LOG = ["impression_id", "user_id", "time", "news_id", "clicked"]


def behaviors_of(log: pd.DataFrame) -> tf.data.Dataset:
    """Turns a log into the data set of impressions that NPA reads.

    Args:
        log: The columns `impression_id`, `user_id`, `time`, `news_id` and `clicked` (1 or 0), a
            line for each article that was shown.

    Returns:
        An element for each impression, by time, with the user's earlier clicks as `history`.
    """
    impressions = []
    clicks = collections.defaultdict(list)
    # Each line of an impression may have its own time, such as that of the click.
    start = log.groupby("impression_id")["time"].transform("min")
    ordered = log.assign(start=start).sort_values(["start", "impression_id"], kind="stable")
    for impression_id, shown in ordered.groupby("impression_id", sort=False):
        user = shown["user_id"].iloc[0]
        impressions.append(
            {
                "impression_id": impression_id,
                "user_id": user,
                "history": list(clicks[user]),
                "candidates": {
                    "news_id": shown["news_id"].tolist(),
                    "clicked": shown["clicked"].tolist(),
                },
            }
        )
        clicks[user] += shown.loc[shown["clicked"] == 1, "news_id"].tolist()
    text, number = tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int64)
    return tf.data.Dataset.from_generator(
        lambda: iter(impressions),
        output_signature={
            "impression_id": tf.TensorSpec([], tf.int64),
            "user_id": tf.TensorSpec([], tf.string),
            "history": text,
            "candidates": {"news_id": text, "clicked": number},
        },
    )


def split_by_time(log: pd.DataFrame, share: float) -> tuple[pd.Timestamp, pd.Series]:
    """Returns which lines of the log are among the first `share` of its time, and its end."""
    end = log["time"].quantile(share)
    return end, log["time"] <= end


def stand_in(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the articles and the log of a data set, as a news site would have them."""
    data = tfrs_npa.load_mind(name)
    articles, lines = [], []
    for split in ("train", "validation"):
        for row in data.news[split].as_numpy_iterator():
            articles.append((row["news_id"].decode(), row["title"].decode()))
        for row in data.behaviors[split].as_numpy_iterator():
            shown = row["candidates"]
            for news_id, clicked in zip(shown["news_id"], shown["clicked"], strict=True):
                # Ids of impressions start over in each split.
                impression_id = int(row["impression_id"]) + (split == "validation") * 10**9
                line = (impression_id, row["user_id"].decode(), int(row["time"]), news_id.decode())
                lines.append((*line, int(clicked)))
    articles = pd.DataFrame(articles, columns=["news_id", "title"]).drop_duplicates("news_id")
    log = pd.DataFrame(lines, columns=LOG)
    return articles, log.assign(time=pd.to_datetime(log["time"], unit="s"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--articles", type=pathlib.Path, help="CSV with news_id and title")
    parser.add_argument("--log", type=pathlib.Path, help=f"CSV with {', '.join(LOG)}")
    parser.add_argument("--data", default="mind/synthetic", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=3, help="default: %(default)s")
    args = parser.parse_args()
    if (args.articles is None) != (args.log is None):
        parser.error("--articles and --log go together")

    if args.log is None:
        articles, log = stand_in(args.data)
    else:
        articles = pd.read_csv(args.articles, dtype=str, keep_default_na=False)
        log = pd.read_csv(args.log, dtype={"user_id": str, "news_id": str}, parse_dates=["time"])

    end, early = split_by_time(log, 0.8)
    config = tfrs_npa.NPAConfig.preset("small")
    # The words are those of the titles shown in training; the other articles need no training.
    seen = articles["news_id"].isin(log.loc[early, "news_id"])
    catalog = tfrs_npa.NewsCatalog().adapt(articles[seen]).extend(articles)
    users = tfrs_npa.UserIndex().adapt(log[early])
    # Histories come from the whole log; then the impressions are split.
    behaviors = tfrs_npa.Impressions.from_dataset(behaviors_of(log), catalog, users)
    last = set(log.loc[~early, "impression_id"])
    later = pd.Series(behaviors.impression_id).isin(last).to_numpy()
    train = tfrs_npa.training_batches(behaviors.take(~later), catalog, users, config)
    valid = tfrs_npa.impression_batches(behaviors.take(later), catalog, users, config)

    tf.keras.utils.set_random_seed(config.seed)
    model = tfrs_npa.NPA(config, catalog, users)
    model.compile(optimizer=tfrs_npa.default_optimizer(config, len(train) * args.epochs))
    model.fit(train, epochs=args.epochs, verbose=2)
    metrics = model.evaluate(valid, verbose=0, return_dict=True)
    print(f"AUC {metrics['auc']:.4f} on {later.sum():,} impressions after {end:%Y-%m-%d %H:%M}")


if __name__ == "__main__":
    main()
