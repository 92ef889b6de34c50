import pytest
import tensorflow as tf

from tfrs_npa.data.vocabulary import Vocabulary


def test_graph_and_eager_agree():
    titles = tf.constant(["Déjà vu, AGAIN?", "", "x|y"])
    vocabulary = Vocabulary.from_words(["vu", "x", "déjà"])
    eager = vocabulary.encode(titles)
    graph = tf.function(vocabulary.encode, input_signature=[tf.TensorSpec([None], tf.string)])
    assert eager.dtype == tf.int32
    assert eager.to_list() == [[4, 2, 1, 1, 1], [], [3, 1, 1]] == graph(titles).to_list()


def test_numbers():
    vocabulary = Vocabulary.from_words(["b", "a", "b"])
    assert vocabulary.words == ["", "[UNK]", "b", "a"]
    assert len(vocabulary) == 4
    assert vocabulary.index(["a", "", "zzz", "[UNK]"]).tolist() == [3, 0, 1, 1]


@pytest.mark.parametrize("word", ["", "[UNK]", "two words", "no\u00a0break", "line\n"])
def test_what_no_title_can_match_is_refused(word):
    with pytest.raises(ValueError, match="not a word"):
        Vocabulary.from_words(["fine", word])


def test_saves_and_loads(tmp_path):
    vocabulary = Vocabulary.from_words(["café", ",", "日"])
    vocabulary.save(tmp_path / "words.txt")
    assert (tmp_path / "words.txt").read_text(encoding="utf-8") == "café\n,\n日\n"
    loaded = Vocabulary.load(tmp_path / "words.txt", "unicode")
    assert loaded == vocabulary
    assert loaded.encode(["Café, 日!"]).to_list() == [[2, 3, 4, 1]]


def test_the_tokenizer_is_part_of_it(tmp_path):
    vocabulary = Vocabulary.from_words(["日", "本", "日本"], "mind")
    assert vocabulary.encode(["日本 日"]).to_list() == [[4, 2]]
    assert Vocabulary.from_words(["日", "本", "日本"]).encode(["日本 日"]).to_list() == [[2, 3, 2]]
    vocabulary.save(tmp_path / "words.txt")
    assert Vocabulary.load(tmp_path / "words.txt", "unicode") != vocabulary
    # A file alone is of a version that knew no other tokenizer.
    assert Vocabulary.load(tmp_path / "words.txt") == vocabulary
    with pytest.raises(ValueError, match="one of unicode, mind, whitespace"):
        Vocabulary("words")
