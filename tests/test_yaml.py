"""Reading YAML from elsewhere; tests/campaign/test_configuration.py has what is hostile."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tfrs_npa._yaml import LONGEST_FILE, parse_yaml, read_yaml

# PyYAML writes U+0085 as it is, which is a line break in YAML 1.1.
TEXT = st.text(st.characters(exclude_characters="\x85", exclude_categories=["Cs"]), max_size=5)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)


@given(PLAIN)
def test_what_is_written_without_aliases_is_read(values):
    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

    assert parse_yaml(yaml.dump(values, Dumper=Dumper, allow_unicode=True), "x") == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: &x 2", "x.yaml is not YAML: line 2 has an alias; write the value out"),
        ("a: *x", "x.yaml is not YAML: line 1 has an alias; write the value out"),
        ("a: !!str 1", "x.yaml is not YAML: line 1 has a tag, "),
        ("[" * 17 + "]" * 17, "x.yaml is not YAML: line 1 is nested 17 levels deep"),
        ("a: b: c", "x.yaml is not YAML: mapping values are not allowed here in line 1"),
        ("a: [1\nb: 2", "x.yaml is not YAML: expected ',' or ']', but got ':' in line 2"),
        ("a: 2000-13-01", "x.yaml is not YAML: month must be in 1..12"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(ValueError) as caught:
        parse_yaml(text, "x.yaml")
    assert str(caught.value).startswith(message)


def test_a_file_is_of_a_size_that_is_read(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n" + b"#" * (LONGEST_FILE - 8))
    assert read_yaml(path) == {"a": 1}
    path.write_bytes(b"a: 1\n" + b"#" * LONGEST_FILE)
    with pytest.raises(ValueError, match="x.yaml has more than 262,144 bytes"):
        read_yaml(path)
    with pytest.raises(FileNotFoundError, match="none"):
        read_yaml(tmp_path / "none")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_first_byte_that_is_not_utf_8_is_named(tmp_path, mark):
    path = tmp_path / "x.yaml"
    path.write_bytes(mark + b"a: \xff")
    with pytest.raises(ValueError, match=f"x.yaml is not YAML: not UTF-8 at byte {len(mark) + 3}"):
        read_yaml(path)
