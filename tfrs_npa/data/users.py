"""User ids to indices."""

from __future__ import annotations

from tfrs_npa.data.columns import text_columns
from tfrs_npa.data.string_index import StringIndex

UNKNOWN_USER = 0
"""Index of every user who is not in a `UserIndex`."""


class UserIndex(StringIndex):
    """Users and their indices: 0 is the unknown user, others from 1 on in order of appearance.

    The empty id is an anonymous visitor, and so the unknown user too.

    >>> users = UserIndex().adapt([{"user_id": "U8"}, {"user_id": "U3"}, {"user_id": "U8"}])
    >>> users.index(["U3", "U99", "U8"]).tolist()
    [2, 0, 1]
    """

    def adapt(self, behaviors) -> UserIndex:
        """Replaces all users by those of `behaviors`.

        Args:
            behaviors: A `tf.data.Dataset` or iterable of dicts, or a dict of columns, with the
                string feature `user_id`.

        Returns:
            The index itself.

        Raises:
            ValueError: if `user_id` is missing or not a string.
        """
        self.clear()
        return self.extend(behaviors)

    def extend(self, behaviors) -> UserIndex:
        """Adds the new users of `behaviors`; the indices of the others stay.

        Args, Returns, Raises: as `adapt`.
        """
        for (user_ids,) in text_columns(behaviors, ["user_id"], "behaviors"):
            for user_id in dict.fromkeys(user_ids):
                if user_id not in ("", *self.specials):
                    self.add(user_id)
        return self

    @property
    def ids(self) -> list[str]:
        """All user ids by index: `ids[0]` is `"[UNK]"`."""
        return self.strings
