import logging
import re
import warnings

import numpy as np
import pytest
import tensorflow as tf

import tfrs_npa.data.catalog
from tfrs_npa.data.catalog import NewsCatalog
from tfrs_npa.data.tokenizers import tokenize
from tfrs_npa.data.vocabulary import Vocabulary
from tfrs_npa.data.word_vectors import WordVectors

NEWS = {"news_id": ["N7", "N9", "N2"], "title": ["Café opens, again", "", "Again: opens"]}


def rows(columns):
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.fixture
def catalog():
    return NewsCatalog().adapt(NEWS)


class Frame:
    """What the catalogue needs of a pandas data frame."""

    def __init__(self, columns):
        self.columns = list(columns)
        self._data = columns

    def __contains__(self, name):
        return name in self._data

    def __iter__(self):
        return iter(self._data)

    def __getitem__(self, name):
        return np.array(self._data[name], object)


@pytest.mark.parametrize(
    "news",
    [
        NEWS,
        rows(NEWS),
        iter(rows(NEWS)),
        Frame(NEWS),
        tf.data.Dataset.from_tensor_slices(NEWS | {"category": ["a", "b", "c"]}),
        tf.data.Dataset.from_tensor_slices(NEWS).batch(2),
    ],
    ids=["columns", "rows", "iterator", "frame", "dataset", "batched"],
)
def test_adapt_takes_what_users_have(catalog, news):
    assert NewsCatalog().adapt(news) == catalog


def test_numbers(catalog):
    assert len(catalog) == 5
    assert catalog.ids == ["", "[UNK]", "N7", "N9", "N2"]
    assert catalog.titles == ["", "", "Café opens, again", "", "Again: opens"]
    assert catalog.index(["N2", "N1", "", "N7"]).tolist() == [4, 1, 0, 2]
    assert catalog.index(["N2"]).dtype == np.int32
    assert catalog.vocabulary.words == ["", "[UNK]", "café", "opens", ",", "again"]


def test_table_looks_up_in_a_graph(catalog):
    lookup = tf.function(lambda ids: catalog.table.lookup(ids))
    assert lookup(tf.constant([["N9", "N?"], ["", "N2"]])).numpy().tolist() == [[3, 1], [0, 4]]


def test_tokens_are_cut_and_padded_on_the_right(catalog):
    assert catalog.tokens(3).tolist() == [[0, 0, 0], [0, 0, 0], [2, 3, 4], [0, 0, 0], [5, 3, 0]]
    assert catalog.tokens(5)[2].tolist() == [2, 3, 4, 5, 0]
    assert catalog.tokens(5).dtype == np.int32
    assert catalog.token_values.tolist() == [2, 3, 4, 5, 5, 3]
    assert catalog.token_splits.tolist() == [0, 0, 0, 4, 4, 6]


def test_extend_adds_articles_and_leaves_the_words(catalog):
    words = list(catalog.vocabulary.words)
    before = catalog.tokens(4)
    assert catalog.extend({"news_id": ["N1"], "title": ["Opens never again"]}) is catalog
    assert catalog.vocabulary.words == words
    assert catalog.index(["N1", "N7"]).tolist() == [5, 2]
    np.testing.assert_array_equal(catalog.tokens(4)[:5], before)
    assert catalog.tokens(4)[5].tolist() == [3, 1, 5, 0]


def test_extend_in_parts_equals_extend_at_once(catalog):
    later = {"news_id": ["A", "B", "C"], "title": ["again", "", "café , new"]}
    at_once = NewsCatalog().adapt(NEWS).extend(later)
    for row in rows(later):
        catalog.extend([row])
    assert catalog == at_once
    np.testing.assert_array_equal(catalog.tokens(6), at_once.tokens(6))


def test_adapt_starts_afresh(catalog):
    other = {"news_id": ["X"], "title": ["other words"]}
    assert catalog.adapt(other) == NewsCatalog().adapt(other)
    assert catalog.tokens(2).tolist() == [[0, 0], [0, 0], [2, 3]]


def test_a_repeated_article_with_the_same_title_is_silent(catalog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        catalog.extend(NEWS)
    assert len(catalog) == 5


def test_a_repeated_article_keeps_its_first_title(catalog):
    changed = {"news_id": ["N7", "N2", "N7"], "title": ["Changed", "Again: opens", "Twice"]}
    with pytest.warns(UserWarning, match=r"1 articles came again.*N7"):
        catalog.extend(changed)
    assert catalog.titles[2] == "Café opens, again"
    assert len(catalog.titles) == len(catalog) == len(catalog.tokens(1)) == 5


def test_more_articles_than_one_chunk():
    ids = [f"N{i}" for i in range(20_000)]
    catalog = NewsCatalog().adapt({"news_id": ids, "title": [f"t{i % 7} x" for i in range(20_000)]})
    assert catalog.index(ids).tolist() == list(range(2, 20_002))
    assert catalog.tokens(2)[2:].tolist() == [[2 + i % 7 + (i % 7 > 0), 3] for i in range(20_000)]


def test_given_words_need_no_adapt():
    catalog = NewsCatalog(vocabulary=Vocabulary.from_words(["again", "café"])).extend(NEWS)
    assert catalog.tokens(2).tolist() == [[0, 0], [0, 0], [3, 1], [0, 0], [2, 1]]


@pytest.mark.parametrize(
    ("news", "message"),
    [
        ({"news_id": ["N1"]}, "news lacks the feature title; it has news_id"),
        ([{"news_id": "N1", "title": float("nan")}], "'title' of news must be a string, got nan"),
        ({"news_id": ["N1", "N2"], "title": ["a"]}, "differ in length"),
        ({"news_id": [""], "title": ["a"]}, "'' is reserved"),
        ({"news_id": ["[UNK]"], "title": ["a"]}, "reserved"),
        ({"news_id": [], "title": []}, "no articles"),
        (["N1"], "must hold dicts, got 'N1'"),
        (tf.data.Dataset.from_tensors({"title": "a"}), "news lacks the feature news_id"),
        (tf.data.Dataset.from_tensors("a"), "data set of dicts"),
        (tf.data.Dataset.from_tensors({"news_id": 1, "title": "a"}), "'news_id' of news must be"),
    ],
)
def test_bad_news(news, message):
    with pytest.raises(ValueError, match=message):
        NewsCatalog().adapt(news)


def test_extend_before_adapt():
    with pytest.raises(ValueError, match="call adapt"):
        NewsCatalog().extend(NEWS)
    with pytest.raises(ValueError, match="call adapt"):
        NewsCatalog().save("nowhere")


def test_saves_and_loads(catalog, tmp_path):
    catalog.extend({"news_id": ["N\t1"], "title": ['Tabs\t"quotes"\nand\u2028breaks \\ 日本語']})
    catalog.save(tmp_path / "catalog")
    loaded = NewsCatalog.load(tmp_path / "catalog")
    assert loaded == catalog
    np.testing.assert_array_equal(loaded.tokens(9), catalog.tokens(9))
    assert sorted(path.name for path in (tmp_path / "catalog").iterdir()) == [
        "articles.jsonl",
        "tokenizer.txt",
        "words.txt",
    ]
    assert loaded.extend({"news_id": ["N5"], "title": ["x"]}) != catalog


@pytest.mark.parametrize("line", ["not json", '{"news_id": "N1"}', "[]"])
def test_a_damaged_file_is_named(catalog, tmp_path, line):
    catalog.save(tmp_path)
    with (tmp_path / "articles.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match="articles.jsonl:4: "):
        NewsCatalog.load(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="words.txt"):
        NewsCatalog.load(tmp_path)


def test_words_with_a_vector_join_the_vocabulary():
    vectors = WordVectors(
        ["again", "later", "Cased", "new-york", "a b", "été", "!"],
        np.arange(14.0).reshape(7, 2),
    )
    catalog = NewsCatalog(vectors).adapt(NEWS)
    # The rest can never come out of a title: cased, or cut in two by the tokeniser.
    expected = ["", "[UNK]", "café", "opens", ",", "again", "later", "été", "!"]
    assert catalog.vocabulary.words == expected
    embeddings = catalog.word_embeddings(2, seed=0)
    assert embeddings.shape == (9, 2) and embeddings.dtype == np.float32
    np.testing.assert_array_equal(
        embeddings[[0, 5, 6, 7, 8]], [[0, 0], *vectors.vectors[[0, 1, 5, 6]]]
    )
    assert (embeddings[1:5] != 0).all()
    catalog.extend({"news_id": ["N1"], "title": ["Later, été!"]})
    assert catalog.tokens(4)[-1].tolist() == [6, 4, 7, 8]


TWO = ["N1", "N2"]
OWN_WORDS = [["New_York's", "Café", "日本語"], ["café"]]
RAGGED = {"news_id": TWO, "title": tf.ragged.constant(OWN_WORDS)}


@pytest.mark.parametrize(
    "news",
    [
        {"news_id": TWO, "title": OWN_WORDS},
        {"news_id": TWO, "title": [np.array(words, object) for words in OWN_WORDS]},
        RAGGED,
        rows({"news_id": TWO, "title": map(tuple, OWN_WORDS)}),
        tf.data.Dataset.from_tensor_slices(RAGGED),
        tf.data.Dataset.from_tensor_slices(RAGGED).batch(2),
        tf.data.Dataset.from_generator(
            lambda: iter(rows({"news_id": TWO, "title": OWN_WORDS})),
            output_signature={
                "news_id": tf.TensorSpec([], tf.string),
                "title": tf.TensorSpec([None], tf.string),
            },
        ),
    ],
    ids=["lists", "arrays", "ragged", "rows", "ragged set", "batched", "list feature"],
)
def test_own_words_are_taken_as_they_are(news, tmp_path):
    catalog = NewsCatalog().adapt(news)
    assert catalog.vocabulary.tokenizer == "whitespace"
    assert catalog.vocabulary.words[2:] == ["New_York's", "Café", "日本語", "café"]
    assert catalog.tokens(3)[2:].tolist() == [[2, 3, 4], [5, 0, 0]]
    assert catalog.titles[2:] == ["New_York's Café 日本語", "café"]
    catalog.extend({"news_id": ["N3", "N4"], "title": [["Café", "new"], []]})
    assert catalog.tokens(2)[4:].tolist() == [[3, 1], [0, 0]]
    catalog.save(tmp_path)
    loaded = NewsCatalog.load(tmp_path)
    assert loaded == catalog and loaded.tokens(3).tolist() == catalog.tokens(3).tolist()


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        (["New York"], "N2 (row 1, the first is 0): 'New York' is not a word"),
        (["[UNK]"], "N2 (row 1, the first is 0): '[UNK]' is not a word"),
        (["snow", ""], "N2 (row 1, the first is 0): '' is not a word"),
        (["snow", 5], "feature 'title' of news must be a string, got 5"),
    ],
)
def test_what_is_no_word(title, expected):
    with pytest.raises(ValueError, match=re.escape(expected)):
        NewsCatalog().adapt({"news_id": ["N1", "N2"], "title": [["snow"], title]})


def test_the_unknown_word_in_a_text():
    news = {"news_id": ["N1"], "title": ["snow [UNK]"]}
    vectors = WordVectors(["[UNK]", "rain"], np.ones((2, 2)))
    catalog = NewsCatalog(vectors, tokenizer="whitespace").adapt(news)
    assert catalog.vocabulary.words[2:] == ["snow", "rain"]
    larger = catalog.with_news({"news_id": ["N2"], "title": ["[UNK] fog"]})
    assert larger.vocabulary.words[2:] == ["snow", "rain", "fog"]
    assert larger.tokens(2)[2:].tolist() == [[2, 1], [1, 4]]


def test_titles_are_split_some_at_a_time(monkeypatch):
    """The words of all titles at once would need much memory."""
    expected = NewsCatalog().adapt(NEWS)
    larger = expected.with_news({"news_id": list("abc"), "title": ["d e", "", "d f"]})
    sizes = []

    def tokenize_some(titles, tokenizer):
        sizes.append(len(titles))
        return tokenize(titles, tokenizer)

    monkeypatch.setattr(tfrs_npa.data.catalog, "tokenize", tokenize_some)
    monkeypatch.setattr(tfrs_npa.data.catalog, "_CHUNK", 2)
    catalog = NewsCatalog().adapt(NEWS)
    assert catalog == expected
    assert catalog.with_news({"news_id": list("abc"), "title": ["d e", "", "d f"]}) == larger
    assert max(sizes) == 2


def test_vectors_of_titles_of_one_word():
    catalog = NewsCatalog().adapt({"news_id": ["N1", "N2"], "title": ["snow", "rain"]})
    vectors = catalog.title_vectors(3)
    assert vectors.shape == (4, 3) and vectors.dtype == np.float32 and not vectors.any()


def test_own_words_are_not_split_again(catalog):
    with pytest.raises(ValueError, match="the tokenizer unicode would split again; give them as"):
        catalog.extend({"news_id": ["N1"], "title": [["Café"]]})
    with pytest.raises(ValueError, match="the tokenizer mind would"):
        NewsCatalog(tokenizer="mind").adapt({"news_id": ["N1"], "title": [["Café"]]})


def test_the_tokenizer_is_a_choice(tmp_path):
    news = {"news_id": ["N1"], "title": ["日本"]}
    words = {name: NewsCatalog(tokenizer=name).adapt(news) for name in ("unicode", "mind")}
    assert words["unicode"].vocabulary.words[2:] == ["日", "本"]
    assert words["mind"].vocabulary.words[2:] == ["日本"]
    assert words["mind"].adapt(news) == words["mind"]
    with pytest.raises(ValueError, match="'words'; it has to be one of"):
        NewsCatalog(tokenizer="words")
    with pytest.raises(ValueError, match="of the tokenizer mind, not of unicode"):
        NewsCatalog(vocabulary=words["mind"].vocabulary, tokenizer="unicode")


def test_the_tokenizer_is_saved(catalog, tmp_path):
    catalog.save(tmp_path)
    file = tmp_path / "tokenizer.txt"
    assert NewsCatalog.load(tmp_path).vocabulary.tokenizer == file.read_text().strip() == "unicode"
    file.unlink()
    earlier = NewsCatalog.load(tmp_path)
    assert earlier.vocabulary.tokenizer == "mind" and earlier != catalog
    file.write_text("words\n")
    with pytest.raises(ValueError, match="tokenizer.txt:1: tokenizer is 'words'"):
        NewsCatalog.load(tmp_path)


def test_coverage_is_reported(caplog):
    with caplog.at_level(logging.INFO, logger="tfrs_npa"):
        catalog = NewsCatalog(WordVectors(["again"], np.ones((1, 2)))).adapt(NEWS)
    assert catalog.coverage == {"words": 1 / 4, "tokens": 2 / 6}
    assert "25.0 % of 4 title words, 33.3 % of 6 as they occur" in caplog.text
    assert NewsCatalog().adapt(NEWS).coverage is None


def test_word_embeddings_without_vectors(catalog):
    assert catalog.word_embeddings(300, seed=0) is None


def test_word_embeddings_of_another_dimension():
    catalog = NewsCatalog(WordVectors(["again"], np.ones((1, 2)))).adapt(NEWS)
    with pytest.raises(ValueError, match="have 2 dimensions, the model 300"):
        catalog.word_embeddings(300, seed=0)


def test_word_counts_are_those_of_adapt():
    news = {"news_id": ["N1", "N2"], "title": ["rain rain sun", "sun rain"]}
    catalog = NewsCatalog().adapt(news)
    rain, sun = (int(catalog.vocabulary.index(word)) for word in ("rain", "sun"))
    catalog.extend({"news_id": ["N3"], "title": ["sun sun sun unheard"]})
    counts = catalog.word_counts()
    assert (counts[rain], counts[sun]) == (3, 2) and counts.sum() == 5


def test_centred_word_vectors():
    """The mean over words as they occur is zero; what has no vector is zero."""
    words = WordVectors(["rain", "sun", "elsewhere"], np.array([[1.0, 4], [5, 0], [9, 9]]))
    news = {"news_id": ["N1", "N2"], "title": ["rain rain sun", "rain unheard"]}
    catalog = NewsCatalog(words).adapt(news)
    found = catalog.word_embeddings(2, seed=0, centered=True)
    # Three times rain and once sun.
    centred = np.array([[1.0, 4], [5, 0], [9, 9]]) - [2, 3]
    rows = [int(catalog.vocabulary.index(word)) for word in ("rain", "sun", "elsewhere")]
    # Turned as a whole: lengths and products stay.
    np.testing.assert_allclose(found[rows] @ found[rows].T, centred @ centred.T, rtol=1e-5)
    unheard = int(catalog.vocabulary.index("unheard"))
    assert not found[[0, 1, unheard]].any()
    assert catalog.word_embeddings(2, seed=0)[[1, unheard]].any(axis=1).all()


def test_centred_vectors_lie_on_their_principal_axes():
    """What a cut of the dimensions leaves is the most that tells words apart."""
    generator = np.random.default_rng(1)
    words = [f"w{i}" for i in range(60)]
    wide = generator.standard_normal((60, 3)) @ generator.standard_normal((3, 8))
    vectors = WordVectors(words, wide + 0.01 * generator.standard_normal((60, 8)))
    titles = [" ".join(generator.choice(words, 5)) for _ in range(50)]
    catalog = NewsCatalog(vectors).adapt({"news_id": list(map(str, range(50))), "title": titles})
    table = catalog.word_embeddings(8, seed=0, centered=True)
    tokens = table[catalog.token_values]
    moments = tokens.T @ tokens / len(tokens)
    np.testing.assert_allclose(moments, np.diag(np.diag(moments)), atol=1e-5)
    assert (np.diff(np.diag(moments)) <= 0).all()
    cut = table[:, :3]
    np.testing.assert_allclose(cut @ cut.T, table @ table.T, atol=0.05)


def test_centred_vectors_of_titles_are_those_of_cosine():
    """Function words, which all titles share, no longer decide which titles are alike."""
    generator = np.random.default_rng(0)
    topics = [[f"{topic}{i}" for i in range(8)] for topic in "ab"]
    titles = [" ".join(["the", "of", *generator.choice(topics[row % 2], 4)]) for row in range(200)]
    catalog = NewsCatalog().adapt({"news_id": [f"N{i}" for i in range(200)], "title": titles})

    def likeness(centered):
        table = catalog.word_embeddings(8, seed=0, from_titles=True, centered=centered)
        tokens = catalog.tokens(10)[2:]
        vectors = np.stack([table[row[row != 0]].mean(axis=0) for row in tokens])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = vectors @ vectors.T
        same = np.equal.outer(np.arange(200) % 2, np.arange(200) % 2)
        return cosines[same].mean() - cosines[~same].mean()

    assert likeness(True) > likeness(False)
    assert likeness(True) > 1
