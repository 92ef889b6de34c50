"""YAML from elsewhere: hyper-parameters, npa.yaml of Recommenders, spaces of searches, `--set`."""

from __future__ import annotations

import os

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrs_npa.cli import main
from tfrs_npa.config import FIELD_TYPES, NPAConfig
from tfrs_npa.search.space import SearchSpace

CAMPAIGN = settings.get_profile("campaign")
READERS = [NPAConfig.from_yaml, SearchSpace.from_yaml]
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi")
)
DIGITS = {"decimal": "9" * 5000, "hexadecimal": "0x" + "f" * 6000, "base sixty": "59:" * 400 + "5"}
TEXTS = {
    "aliases that expand to gigabytes": LAUGHS,
    "an alias of itself": "a: &a [*a]\n",
    "an anchor": "dropout: &x 0.1\n",
    "deep lists": "[" * 50_000,
    "deep mappings": "{a: " * 20_000,
    "tag int": 'seed: !!int ""\n',
    "tag bool": "seed: !!bool x\n",
    "tag timestamp": "seed: !!timestamp x\n",
    "tag python": "seed: !!python/object/apply:os.system [echo]\n",
    "no month": "seed: 2000-13-01\n",
    "a float in base sixty": f"dropout: {'59:' * 400}59.0\n",
    "a list as key": "? [a]\n: 1\n",
    "a list": "[1, 2]\n",
    "a zero byte": "a: \x00\n",
    "too long": "a: b\n" * 100_000,
    "two documents": "a: 1\n---\nb: 2\n",
    "a number as key": "1: 2\n",
    "a long key": f"{'x' * 10**5}: 1\n",
    "a long list": f"dropout: [{'1, ' * 50_000}1]\n",
    "sections of npa.yaml": "data: {title_size: {a: 1}}\n",
    "a section that is a list": "model: [1]\n",
    "a long key of npa.yaml": f"model: {{{'x' * 10**5}: 1}}\n",
    **{f"{name} digits": f"seed: {digits}\n" for name, digits in DIGITS.items()},
    **{f"{name} as a rate": f"learning_rate: {digits}\n" for name, digits in DIGITS.items()},
}
SPACES = {
    "a preset that is a list": "preset: [a]\n",
    "others that are a list": "others: [a]\n",
    "a number as field": "space: {1: 2}\n",
    "a step that is too small": "space: {dropout: {min: 0, max: 0.5, step: 1.0e-300}}\n",
    "a factor of nearly one": "space: {num_filters: {min: 1, max: 9, step: 1, sampling: log}}\n",
    "a step of many digits": f"space: {{dropout: {{min: 0, max: 0.5, step: {'9' * 400}}}}}\n",
    "an absurd range": "space: {title_length: {min: 1, max: 100000000000}}\n",
    "a sampling that is a list": "space: {dropout: {min: 0, max: 0.5, sampling: [1]}}\n",
    "a choice of lists": "space: {dropout: [[1]]}\n",
    "a long choice": f"space: {{seed: [{', '.join(map(str, range(20_000)))}, 1]}}\n",
    "a key that is a number": "space: {dropout: {1: 2, min: 0}}\n",
}


@pytest.mark.parametrize("reader", READERS, ids=["configuration", "space"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_texts(reader, text, tmp_path, attempt):
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    assert attempt(lambda: reader(path), path)


@pytest.mark.parametrize("text", SPACES.values(), ids=SPACES)
def test_spaces(text, tmp_path, attempt):
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    assert attempt(lambda: SearchSpace.from_yaml(path), path)


@pytest.mark.parametrize("reader", READERS, ids=["configuration", "space"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)])
def test_what_is_no_file(reader, make, tmp_path, attempt):
    path = tmp_path / "x.yaml"
    make(path)
    assert attempt(lambda: reader(path), path)


@pytest.mark.parametrize("name", [name for name, type_ in FIELD_TYPES.items() if type_ is int])
@pytest.mark.parametrize(
    "value", ["1000000000000", "1.0e+30", "0x" + "f" * 6000, "-1", ".nan"], ids=len
)
def test_absurd_sizes(name, value, tmp_path, attempt):
    path = tmp_path / "x.yaml"
    path.write_text(f"{name}: {value}\n")
    message = attempt(lambda: NPAConfig.from_yaml(path), path)
    assert message.startswith(f"{path}: {name} is ")


@pytest.mark.parametrize(
    "value",
    ["dropout=" + "[" * 5000, "dropout=*x", "seed=" + "9" * 5000, "title_length=1000000000", "x"]
    + ["x" * 10**5 + "=1", "seed=!!int ''"],
    ids="deep alias digits size nothing long tag".split(),
)
def test_the_option_set(value, tmp_path, capsys):
    """It is read before TensorFlow is imported, and before the data is looked for."""
    code = main(["train", "--data", str(tmp_path), "--run", str(tmp_path / "r"), "--set", value])
    error = capsys.readouterr().err
    assert code == 2 and error.startswith("tfrs-npa: error: ") and error.count("\n") == 1
    assert len(error) <= 520


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.dates()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=6,
)
# Those of npa.yaml of Recommenders are in sections.
KNOWN = {*FIELD_TYPES, "preset", "others", "space", "data", "info", "model", "train"}
NAMES = st.sampled_from([*FIELD_TYPES, "preset", "others", "space", "data", "model"])
RANGES = st.dictionaries(st.sampled_from(["min", "max", "step", "sampling"]), SCALARS)
FILES = st.dictionaries(NAMES | st.text(max_size=4), VALUES, max_size=4) | st.fixed_dictionaries(
    {"space": st.dictionaries(st.sampled_from(list(FIELD_TYPES)), VALUES | RANGES, max_size=3)}
)


def is_mapping(path):
    """Whether a file is what PyYAML takes for a mapping, or is empty; raises if it is not YAML."""
    found = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    return found is None or isinstance(found, dict)


@CAMPAIGN
@given(values=FILES, reader=st.sampled_from(READERS))
def test_values_of_any_kind(values, reader, tmp_path_factory, attempt):
    path = tmp_path_factory.getbasetemp() / "values.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    message = attempt(lambda: reader(path), path)
    assert message or values.keys() <= KNOWN


@CAMPAIGN
@given(
    text=st.text(st.sampled_from("{}[]:,-#&*!|>'\"%@`?~ \n\ta1.e+_0x"), max_size=60)
    | st.text(max_size=20),
    reader=st.sampled_from(READERS),
)
def test_texts_near_yaml(text, reader, tmp_path_factory, attempt):
    path = tmp_path_factory.getbasetemp() / "text.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert attempt(lambda: reader(path), path) or is_mapping(path)


@CAMPAIGN
@given(content=st.binary(max_size=60), reader=st.sampled_from(READERS))
def test_bytes(content, reader, tmp_path_factory, attempt):
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(content)
    assert attempt(lambda: reader(path), path) or is_mapping(path)
