"""Threads that ask while another one indexes: they see the old index or the new one, whole."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import pathlib
import resource
import threading
import time

import numpy as np
import pytest

import tfrs_npa

THREADS, REFRESHES = 8, 200
MEGABYTE = 2**20
GONE, COMING = ["N3", "N8", "N20"], ["A1", "A4", "A5", "A9"]


@contextlib.contextmanager
def asking(ask):
    """Has threads call a function again and again meanwhile; yields the list of its results."""
    answers, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            answers.append(ask())

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(work) for _ in range(THREADS)]
        try:
            yield answers
        finally:
            stop.set()
    for future in futures:
        future.result()


def memory():
    """The memory of this process, in bytes."""
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def equal(answer, other):
    """Whether two answers are equal, but for the order in which numbers were added."""
    return np.array_equal(answer[1], other[1]) and np.allclose(answer[0], other[0], 1e-5, 1e-5)


def same(answers, others):
    """Whether all of these answers are equal to the others."""
    return all(equal(*pair) for pair in zip(answers, others, strict=True))


def asked(index, queries):
    """Asks in each of the ways; returns scores and ids of each."""
    half = {name: rows[:3] for name, rows in queries.items()}
    found = [
        index(queries, k=30),
        index.query_with_exclusions(half, [["N1", "A4"]] * 3, k=7, exclude_history=True),
        index(half, k=4, candidates=["N3", "N5", "N7", "N8", "A9", "A1"]),
    ]
    return [tuple(part.numpy() for part in answer) for answer in found]


def counted(answers, states):
    """Counts the answers that are those of one state alone; all are those of one or the other."""
    counts = [0] * len(states)
    for answer in answers:
        for way, part in enumerate(answer):
            matches = [equal(part, state[way]) for state in states]
            assert any(matches)
            counts[matches.index(True)] += matches.count(True) == 1
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_refresh(dtype, make_model, make_news, queries):
    model = make_model()
    queries = queries | {"history": [["A1", *row] for row in queries["history"]]}
    index = tfrs_npa.PersonalizedTopK(model, dtype=dtype).index()
    news = make_news(1, 10, "A")
    coming = {name: [column[int(id[1:])] for id in COMING] for name, column in news.items()}
    old = {"news_id": GONE, "title": [model.catalog.titles[2 + int(id[1:])] for id in GONE]}
    index.refresh(coming)  # histories know them from now on
    states = [asked(index.refresh(withdraw=COMING), queries)]
    states.append(asked(index.refresh(coming, withdraw=GONE), queries))
    with asking(lambda: asked(index, queries)) as answers:
        for step in range(REFRESHES):
            changes = (coming, GONE) if step % 2 else (old, COMING)
            index.refresh(changes[0], withdraw=changes[1])
            if step == REFRESHES // 4:
                gc.collect()
                early = memory()
    gc.collect()
    assert memory() - early < 64 * MEGABYTE
    assert min(counted(answers, states)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("layer", [tfrs_npa.PersonalizedTopK, tfrs_npa.TwoStageTopK])
def test_index(layer, make_model, make_news, queries):
    """Also of another layer of the same model, which has the same articles."""
    model = make_model()
    every, index, other = make_news(0, 40), layer(model), layer(model).index()
    some = {name: column[:34] for name, column in every.items()}
    index.index_from_dataset(some)
    states = [asked(index, queries)]
    states.append(asked(index.index(), queries))
    expected = asked(other, queries)
    with asking(lambda: (asked(index, queries), asked(other, queries))) as answers:
        for step in range(20):
            index.index_from_dataset(some) if step % 2 else index.index()
    assert min(counted([answer for answer, _ in answers], states)) > 0
    assert all(same(answer, expected) for _, answer in answers)
    if layer is tfrs_npa.TwoStageTopK:
        assert len(index._untracked.retrieval.variables) == 2


@pytest.mark.slow
def test_catalogue_that_grows(make_model, make_news):
    """Clicks with a title count the same before and after their article comes."""
    model = make_model()
    index, other = (tfrs_npa.PersonalizedTopK(model).index() for _ in range(2))
    news = make_news(2, 30, "F")
    queries = {"user_id": ["U1", "U3"], "history": [["F3", "N1"], ["N9", "F20", "F29"]]}
    titles = dict(zip(*news.values())) | {"N1": "", "N9": ""}
    queries["history_titles"] = [[titles[id] for id in row] for row in queries["history"]]

    def ask():
        candidates = [f"N{i}" for i in range(20)]
        found = [layer(queries, k=9, candidates=candidates) for layer in (index, other)]
        return [tuple(part.numpy() for part in answer) for answer in found]

    expected = ask()
    with asking(ask) as answers:
        for row in range(0, 30, 2):
            index.refresh({name: column[row : row + 1] for name, column in news.items()})
            model.add_articles({name: column[row + 1 : row + 2] for name, column in news.items()})
    assert len(model.catalog) == 2 + 40 + 30 and index.num_articles == 40 + 15
    assert answers and all(same(answer, expected) for answer in answers)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mmr", "calibrated"])
def test_reranked(method, make_model, make_news, queries):
    """The pool is as large as the index that is asked."""
    model = make_model()
    index = tfrs_npa.PersonalizedTopK(model).index()
    vectors = np.eye(42, dtype=np.float32)
    reranker = tfrs_npa.retrieval.Reranker(
        index, model.catalog, method, 0.5, vectors, np.arange(42) % 5, pool=100
    )
    news = make_news(1, 30, "A")
    withdraw = [f"N{i}" for i in range(20)]
    old = {"news_id": withdraw, "title": model.catalog.titles[2:22]}
    with asking(lambda: reranker(queries, k=5)) as answers:
        for row in range(30):
            index.refresh({name: column[row : row + 1] for name, column in news.items()}, withdraw)
            index.refresh(old)
    assert answers and all(ids.shape == (6, 5) and b"" not in ids for _, ids in answers)


class Stopped(Exception):
    """What a test raises while titles are encoded."""


@pytest.mark.slow
@pytest.mark.parametrize("layer", [tfrs_npa.PersonalizedTopK, tfrs_npa.TwoStageTopK])
def test_nobody_waits_while_titles_are_encoded_and_nothing_changes_if_that_fails(
    layer, make_model, make_news, queries, monkeypatch
):
    model = make_model()
    index = layer(model).index()
    before, news = asked(index, queries), make_news(1, 9, "A")
    encoding, go_on = threading.Event(), threading.Event()
    own = index._untracked if layer is tfrs_npa.TwoStageTopK else index._untracked.blocks._untracked
    name = "average" if layer is tfrs_npa.TwoStageTopK else "encode"

    def encode(*args):
        encoding.set()
        assert go_on.wait(60)
        raise Stopped

    monkeypatch.setattr(own, name, encode)
    change = index.refresh if layer is tfrs_npa.PersonalizedTopK else index.index_from_dataset
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(change, news)
        assert encoding.wait(60)
        assert same(asked(index, queries), before) and index.num_articles == 40
        go_on.set()
        with pytest.raises(Stopped):
            future.result()
    assert same(asked(index, queries), before) and index.num_articles == 40
    assert "A1" not in model.catalog.ids
    monkeypatch.undo()
    change(news)
    assert index.num_articles == (49 if layer is tfrs_npa.PersonalizedTopK else 9)


@pytest.mark.slow
def test_catalogue_extended_meanwhile(make_model, make_news, queries, monkeypatch):
    model = make_model()
    index = tfrs_npa.PersonalizedTopK(model).index()
    before, blocks = asked(index, queries), index._untracked.blocks
    prepare = blocks.prepare

    def prepare_slowly(*args):
        model.catalog.extend(make_news(3, 2, "B"))
        return prepare(*args)

    monkeypatch.setattr(blocks, "prepare", prepare_slowly)
    with pytest.raises(ValueError, match="catalogue got articles while others were encoded"):
        index.refresh(make_news(1, 9, "A"), withdraw=["N1"])
    monkeypatch.undo()
    assert same(asked(index, queries), before)
    index.refresh(make_news(1, 9, "A"), withdraw=["N1"])
    assert index.num_articles == 48 and model.catalog.ids[42:46] == ["B0", "B1", "A0", "A1"]


def test_the_first_answer_is_of_one_thread_alone(make_model, queries, monkeypatch):
    """Ops of TensorFlow are not safe for threads before they have seen the types of arguments."""
    index = tfrs_npa.PersonalizedTopK(make_model(), k=2).index()
    start, together, inside, most = threading.Barrier(4), threading.Barrier(4), [], []

    def first_answer(*_):
        inside.append(None)
        most.append(len(inside))
        time.sleep(0.2)  # so that the others have come
        inside.pop()

    def ask(_):
        start.wait(10)
        index(queries)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        monkeypatch.setattr(index, "_answer", first_answer)
        list(pool.map(ask, range(4)))
        assert most == [1, 1, 1, 1]
        # From now on they need not wait for each other.
        monkeypatch.setattr(index, "_answer", lambda *_: together.wait(10))
        list(pool.map(ask, range(4)))
