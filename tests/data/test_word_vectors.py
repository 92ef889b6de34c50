import numpy as np
import pytest

from tfrs_npa.data.word_vectors import WordVectors

GLOVE = ", 0.5 -1 2e-1\ncafé 1 2 3\n. . . 4 5 6\ncafé 9 9 9\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_glove_text(tmp_path):
    vectors = WordVectors.from_text(write(tmp_path / "glove.txt", GLOVE))
    assert vectors.words == [",", "café", ". . ."]
    assert vectors.dim == 3 and len(vectors) == 3 and "café" in vectors
    assert vectors.vectors.dtype == np.float32
    np.testing.assert_allclose(vectors.vectors, [[0.5, -1, 0.2], [1, 2, 3], [4, 5, 6]])


def test_word2vec_text(tmp_path):
    # word2vec's own tool leaves a blank at the end of each line.
    path = write(tmp_path / "w2v.txt", "2 3\nnew_york 1 2 3 \n7 4 5 6 \n")
    vectors = WordVectors.from_text(path)
    assert vectors.words == ["new_york", "7"]
    np.testing.assert_array_equal(vectors.vectors, [[1, 2, 3], [4, 5, 6]])


def test_only_the_words_wanted(tmp_path):
    path = write(tmp_path / "glove.txt", GLOVE)
    vectors = WordVectors.from_text(path, words={"café", "tea"})
    assert vectors.words == ["café"]
    np.testing.assert_array_equal(vectors.vectors, [[1, 2, 3]])
    with pytest.raises(ValueError, match="no vector for any of the words"):
        WordVectors.from_text(path, words={"tea"})


def test_many_rows(tmp_path):
    expected = np.random.default_rng(0).normal(size=(5000, 4)).astype(np.float32)
    lines = [f"w{i} " + " ".join(map(str, row)) for i, row in enumerate(expected)]
    vectors = WordVectors.from_text(write(tmp_path / "glove.txt", "\n".join(lines)))
    np.testing.assert_array_equal(vectors.vectors, expected)
    assert vectors.words[4321] == "w4321"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\nb 1\n", "v.txt:2: expected a word and 2 finite numbers, got 'b 1'"),
        ("a 1 2\nb 1 x\n", "v.txt:2: expected a word and 2 finite numbers"),
        ("a 1 2\nb 1 nan\n", "v.txt:2: "),
        ("a 1 2\n\n", "v.txt:2: "),
        ("2 2\na 1 2\nb 1\n", "v.txt:3: "),
        ("3 2\na 1 2\nb 1 2\n", "v.txt:1: promises 3 words, but 2 follow"),
        ("5 2\n", "v.txt:1: promises 5 words, but 0 follow"),
        ("", "v.txt:1: no word vectors"),
        ("word\n", "v.txt:1: no word vectors"),
    ],
)
def test_malformed_files(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        WordVectors.from_text(write(tmp_path / "v.txt", text))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.txt"):
        WordVectors.from_text(tmp_path / "nowhere.txt")


def test_npy_with_a_word_list(tmp_path):
    np.save(tmp_path / "v.npy", np.arange(6.0).reshape(2, 3))
    words = write(tmp_path / "words.txt", "café\ntea\n")
    vectors = WordVectors.from_npy(tmp_path / "v.npy", words)
    assert vectors.words == ["café", "tea"] and vectors.vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors.vectors, [[0, 1, 2], [3, 4, 5]])


def test_npy_that_does_not_fit_its_words(tmp_path):
    np.save(tmp_path / "v.npy", np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"words.txt has 3 words.*\(2, 3\)"):
        WordVectors.from_npy(tmp_path / "v.npy", write(tmp_path / "words.txt", "a\nb\nc\n"))
    with pytest.raises(ValueError, match="words.txt:2: 'a' is on line 1 already"):
        WordVectors.from_npy(tmp_path / "v.npy", write(tmp_path / "words.txt", "a\na\n"))
    (tmp_path / "words.txt").write_bytes(b"\xef\xbb\xbfa\n\xff\n")
    with pytest.raises(ValueError, match="words.txt:2: not UTF-8"):
        WordVectors.from_npy(tmp_path / "v.npy", tmp_path / "words.txt")
    np.save(tmp_path / "flat.npy", np.zeros(2))
    with pytest.raises(ValueError, match="2 words"):
        WordVectors.from_npy(tmp_path / "flat.npy", write(tmp_path / "words.txt", "a\nb\n"))


def test_shape_is_checked():
    with pytest.raises(ValueError, match=r"2 distinct words.*\(3, 4\)"):
        WordVectors(["a", "b"], np.zeros((3, 4)))
    with pytest.raises(ValueError, match="1 distinct words"):
        WordVectors(["a", "a"], np.zeros((2, 4)))


def test_coverage():
    vectors = WordVectors(["a", "b"], np.eye(2))
    assert vectors.coverage(["a", "a", "c", "b"]) == 0.75
    assert vectors.coverage([]) == 0.0


def test_known_words_keep_their_vectors_and_missing_ones_look_like_them():
    generator = np.random.default_rng(1)
    mean, deviation = np.array([1.0, -2.0, 0.0]), np.array([0.1, 2.0, 1.0])
    known = [f"known{i}" for i in range(4000)]
    unused = [f"unused{i}" for i in range(4000)]
    rows = np.concatenate([generator.normal(mean, deviation, (4000, 3)), np.full((4000, 3), 99.0)])
    vectors = WordVectors(known + unused, rows)
    missing = [f"missing{i}" for i in range(4000)]
    matrix = vectors.matrix(missing + known, seed=3)
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix[4000:], rows[:4000].astype(np.float32))
    # Five standard errors of a mean and of a deviation over 4,000 draws.
    error = 5 * deviation / np.sqrt(4000)
    assert (np.abs(matrix[:4000].mean(axis=0) - rows[:4000].mean(axis=0)) < error).all()
    assert (np.abs(matrix[:4000].std(axis=0) - rows[:4000].std(axis=0)) < error).all()
    assert len(np.unique(matrix[:4000, 0])) > 3900


def test_draws_depend_on_the_seed_alone():
    vectors = WordVectors(["a", "b"], np.eye(2))
    words = ["x", "a", "b", "y"]
    np.testing.assert_array_equal(vectors.matrix(words, 1), vectors.matrix(words, 1))
    assert (vectors.matrix(words, 1)[0] != vectors.matrix(words, 2)[0]).all()


def test_vectors_of_other_words_are_an_error():
    with pytest.raises(ValueError, match="none of 2 words has a vector"):
        WordVectors(["a"], np.eye(1)).matrix(["x", "y"], seed=0)


def test_read_takes_what_the_command_line_names(tmp_path):
    text = write(tmp_path / "glove.txt", GLOVE)
    np.save(tmp_path / "vectors.npy", np.eye(2))
    words = write(tmp_path / "words.txt", "cat\ndog\n")
    assert WordVectors.read(None) is None
    assert WordVectors.read(text).words == [",", "café", ". . ."]
    assert WordVectors.read(tmp_path / "vectors.npy", words).words == ["cat", "dog"]
