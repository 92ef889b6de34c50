"""The space of a search: the hyper-parameters it tries, and those it leaves alone."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from tfrs_npa._quoting import did_you_mean, quoted
from tfrs_npa._yaml import read_yaml
from tfrs_npa.config import ATTENTION_FORMS, FIELD_TYPES, PRESETS, SCHEDULES, NPAConfig

if TYPE_CHECKING:
    import keras_tuner

DEFAULT_SPACE: Mapping[str, Any] = {
    # Architecture.
    "attention": list(ATTENTION_FORMS),
    "title_length": {"min": 10, "max": 30, "step": 5},
    "history_length": {"min": 10, "max": 50, "step": 10},
    "user_embedding_dim": {"min": 16, "max": 128, "step": 2, "sampling": "log"},
    "num_filters": {"min": 64, "max": 512, "step": 2, "sampling": "log"},
    "window_size": [1, 3, 5],
    "attention_dim": {"min": 16, "max": 256, "step": 2, "sampling": "log"},
    "mask_padding": [True, False],
    # Regularisation.
    "dropout": {"min": 0.0, "max": 0.4},
    "user_dropout": {"min": 0.0, "max": 0.8},
    # Optimisation.
    "negatives_per_positive": {"min": 1, "max": 8},
    "learning_rate": {"min": 3e-4, "max": 1e-2, "sampling": "log"},
    "table_learning_rate": {"min": 1e-3, "max": 3e-2, "sampling": "log"},
    "schedule": list(SCHEDULES),
    "batch_size": {"min": 32, "max": 256, "step": 2, "sampling": "log"},
}

_OTHERS = ("searched", "pinned")
_RANGE = ("min", "max", "step", "sampling")
_SAMPLING = ("linear", "log")
_MOST_VALUES = 100_000
_SECTIONS = ("preset", "others", "space")


class SearchSpace:
    """The configurations that a search may try.

    Unless `fields` says otherwise, the fields of `DEFAULT_SPACE` are searched: of the architecture
    (attention form, masking, lengths of titles and histories, sizes of users, filters, window and
    attention), of the regularisation (`dropout`, `user_dropout`) and of the optimisation (learning
    rates, schedule, batch size, negatives). Any field of `NPAConfig` can be searched.

    A field is

    - pinned by a value: `128`;
    - a choice, by a list of values: `[64, 128, 256]`;
    - a range, by a mapping: `{"min": 1e-4, "max": 1e-2, "sampling": "log"}`. Both ends belong to
      it, and its numbers are whole if those of the field are. With a `step` there is nothing
      between `min`, `min + step` and so on, or, where `sampling` is `"log"`, between `min`,
      `min * step` and so on, but for the value of `base`, which KerasTuner tries first.

    >>> space = SearchSpace({"num_filters": [64, 128], "dropout": 0.2}, others="pinned")
    >>> space.config(keras_tuner.HyperParameters()).dropout
    0.2

    Args:
        fields: Fields by name, on top of the default space; None: the default space as it is.
        base: The start of a search: the values of fields that are not searched, and the default of
            those that are, if it is in their range. None: `NPAConfig()`.
        others: Whether the fields of the default space that are not in `fields` are `"searched"`,
            or `"pinned"` to their values in `base`.

    Attributes:
        base: `base` with the pinned values of `fields`.
        fields: The searched fields, in the order of `NPAConfig`.

    Raises:
        ValueError: if a field is not known, or is not one of the three; if a range is upside down;
            if `NPAConfig` refuses a value.
    """

    def __init__(
        self,
        fields: Mapping[str, Any] | None = None,
        base: NPAConfig | None = None,
        *,
        others: str = "searched",
    ):
        if others not in _OTHERS:
            raise ValueError(
                f"others is {quoted(others)}; it has to be one of {', '.join(_OTHERS)}"
            )
        wanted = dict(DEFAULT_SPACE if others == "searched" else {}) | dict(fields or {})
        # Raises for a name that is not a field.
        NPAConfig.from_dict({name: None for name in wanted if name not in FIELD_TYPES})
        wanted = {
            name: [choice] if not isinstance(choice, Mapping | list | tuple) else choice
            for name, choice in wanted.items()
        }
        pinned = {
            name: choice[0]
            for name, choice in wanted.items()
            if not isinstance(choice, Mapping) and len(choice) == 1
        }
        # Together, because some values need others.
        self.base = (base or NPAConfig()).replace(**pinned)
        self.fields: dict[str, Any] = {}
        for name in FIELD_TYPES:
            if name not in wanted or name in pinned:
                continue
            choice = wanted[name]
            check = self._range if isinstance(choice, Mapping) else self._choice
            self.fields[name] = check(name, choice)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SearchSpace)
            and self.base == other.base
            and self.fields == other.fields
        )

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], base: NPAConfig | None = None) -> SearchSpace:
        """Reads a space from a file.

            preset: small        # where the search starts; left out: NPAConfig()
            others: pinned       # or searched, which is the default
            space:
              dropout: 0.1                                            # pinned
              num_filters: [64, 128, 256]                             # a choice
              learning_rate: {min: 1.0e-4, max: 1.0e-2, sampling: log}  # a range

        Args:
            path: The file.
            base: Where the search starts, whatever the file says; None: as it says.

        Raises:
            ValueError: if the file is malformed; names file and field.
            FileNotFoundError: if there is no such file.
        """
        sections = read_yaml(path)
        try:
            return cls._from_sections({} if sections is None else sections, base)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def _from_sections(cls, sections: Any, base: NPAConfig | None) -> SearchSpace:
        expected = f"the file holds {', '.join(_SECTIONS)}"
        if not isinstance(sections, Mapping):
            raise ValueError(f"{expected}; not {quoted(sections)}")
        for name in sections:
            if name in FIELD_TYPES:
                raise ValueError(f"{name} belongs below `space:`, indented")
            if name not in _SECTIONS:
                hint = did_you_mean(name, _SECTIONS)
                raise ValueError(f"{quoted(name)} is not known: {expected}{hint}")
        fields = sections.get("space")
        if not isinstance(fields, Mapping | None):
            raise ValueError(f"space has to hold `field: values` lines; it holds {quoted(fields)}")
        preset = sections.get("preset")
        if base is None and preset is not None:
            base = NPAConfig.preset(preset)
        return cls(fields, base, others=sections.get("others", "searched"))

    def to_yaml(self) -> str:
        """Returns text that `from_yaml` reads.

        A file can name a preset as the start, and no other configuration. The space that is read
        from it has the same configurations; the defaults of its fields are the same if they are
        those of `NPAConfig()` or of a preset.
        """
        values = self.base.to_dict()
        starts = {None: NPAConfig()} | {name: NPAConfig.preset(name) for name in PRESETS}
        preset = next(
            (
                preset
                for preset, start in starts.items()
                if all(getattr(start, name) == values[name] for name in self.fields)
            ),
            None,
        )
        pinned = {
            name: value
            for name, value in values.items()
            if name not in self.fields and value != getattr(starts[preset], name)
        }
        sections: dict[str, Any] = {} if preset is None else {"preset": preset}
        sections |= {"others": "pinned", "space": pinned | self.fields}
        return yaml.safe_dump(sections, sort_keys=False)

    def config(self, hp: keras_tuner.HyperParameters) -> NPAConfig:
        """Declares the searched fields, and returns the configuration to try.

        Args:
            hp: A `keras_tuner.HyperParameters`. The hyper-parameters are named like the fields.
        """
        values = {name: self._declare(hp, name) for name in self.fields}
        # A grid of whole numbers holds floats in KerasTuner, where its steps are factors.
        return self.base.replace(
            **{name: FIELD_TYPES[name](value) for name, value in values.items()}
        )

    def _declare(self, hp: keras_tuner.HyperParameters, name: str) -> Any:
        spec, default = self.fields[name], getattr(self.base, name)
        if isinstance(spec, list):
            if FIELD_TYPES[name] is bool:
                return hp.Boolean(name, default=default)
            return hp.Choice(name, spec, default=default if default in spec else None)
        low, high = spec["min"], spec["max"]
        declare = hp.Int if FIELD_TYPES[name] is int else hp.Float
        return declare(
            name,
            min_value=low,
            max_value=high,
            step=spec.get("step"),
            sampling=spec.get("sampling", "linear"),
            default=default if default is not None and low <= default <= high else low,
        )

    def _choice(self, name: str, values: list[Any]) -> list[Any]:
        if not values:
            raise ValueError(f"{name} is an empty list; give it values to choose from")
        values = [self._value(name, value) for value in values]
        if len(set(values)) < len(values):
            raise ValueError(f"{name} has the same value twice: {quoted(values)}")
        if None in values[1:] or values[0] is None and len(values) > 1:
            raise ValueError(
                f"{name} is {quoted(values)}: KerasTuner cannot choose between null and numbers; "
                "pin it to null, or leave null out"
            )
        return values

    def _range(self, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        for key in spec:
            if key not in _RANGE:
                hint = did_you_mean(key, _RANGE)
                raise ValueError(
                    f"{name}: a range has {', '.join(_RANGE)}, not {quoted(key)}{hint}"
                )
        if "min" not in spec or "max" not in spec:
            raise ValueError(f"{name}: a range needs min and max; it is {quoted(dict(spec))}")
        if FIELD_TYPES[name] not in (int, float):
            raise ValueError(f"{name} is not a number: give a list of values, not min and max")
        low, high = (self._value(name, spec[key]) for key in ("min", "max"))
        if low is None or high is None or not low < high:
            raise ValueError(
                f"{name}: min is {low} and max is {high}; min has to be the smaller, and a single "
                f"value is written `{name}: {low}`"
            )
        checked = {"min": low, "max": high}
        sampling = spec.get("sampling", "linear")
        if sampling not in _SAMPLING:
            raise ValueError(
                f"{name}: sampling is {quoted(sampling)}; it has to be one of "
                f"{', '.join(_SAMPLING)}"
            )
        if sampling == "log" and low <= 0:
            raise ValueError(f"{name}: min is {low}; sampling log needs a min above 0")
        if spec.get("step") is not None:
            checked["step"] = self._step(name, spec["step"], low, high, sampling)
        if sampling == "log":
            checked["sampling"] = sampling
        return checked

    def _step(self, name: str, step: Any, low: float, high: float, sampling: str) -> int | float:
        type_ = FIELD_TYPES[name]
        least, most = (1, high / low) if sampling == "log" else (0, high - low)
        try:
            number = float(step)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not least < number <= most or type_ is int and number % 1:
            raise ValueError(
                f"{name}: step is {quoted(step)}; from {low} to {high} with sampling {sampling}, "
                f"it has to be of type {type_.__name__}, above {least} and at most {type_(most)}"
            )
        # KerasTuner makes a list of them.
        values = math.log(high / low, number) if sampling == "log" else (high - low) / number
        if values > _MOST_VALUES:
            raise ValueError(
                f"{name}: step is {number}; from {low} to {high} there are more than "
                f"{_MOST_VALUES:,} values with it: give a larger one, or none"
            )
        return type_(number)

    def _value(self, name: str, value: Any) -> Any:
        """The value in the field's type, if `NPAConfig` takes it."""
        return getattr(self.base.replace(**{name: value}), name)
