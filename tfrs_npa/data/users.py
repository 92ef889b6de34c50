"""User ids to numbers."""

from __future__ import annotations

from tfrs_npa.data.sources import text_columns
from tfrs_npa.data.string_index import StringIndex


class UserIndex(StringIndex):
    """Users and their numbers: 0 is the unknown user, others from 1 on in order of arrival.

    The empty id is an anonymous visitor and so the unknown user too.

    >>> users = UserIndex().adapt([{"user_id": "U8"}, {"user_id": "U3"}, {"user_id": "U8"}])
    >>> users.index(["U3", "U99", "U8"]).tolist()
    [2, 0, 1]
    """

    def adapt(self, behaviors) -> UserIndex:
        """Forgets all users and adds those of `behaviors`.

        Args:
            behaviors: a `tf.data.Dataset` or iterable of dicts, or a dict of columns, with the
                string feature `user_id`.

        Returns:
            The index itself.

        Raises:
            ValueError: if `user_id` is missing or not a string.
        """
        self.clear()
        return self.extend(behaviors)

    def extend(self, behaviors) -> UserIndex:
        """Adds the users of `behaviors` that are new; the numbers of the others stay.

        Args, Returns, Raises: as `adapt`.
        """
        for (user_ids,) in text_columns(behaviors, ["user_id"], "behaviors"):
            for user_id in dict.fromkeys(user_ids):
                if user_id not in ("", *self.specials):
                    self.add(user_id)
        return self

    @property
    def ids(self) -> list[str]:
        """All user ids by number: `ids[0]` is `"[UNK]"`."""
        return self.strings
