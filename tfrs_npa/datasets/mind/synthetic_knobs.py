"""Every constant of the synthetic world, with the range it may have."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any


def _number(default: float, least: float = 0.0, most: float = math.inf) -> Any:
    return dataclasses.field(default=default, metadata={"least": least, "most": most})


def _share(default: float) -> Any:
    return _number(default, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class WorldKnobs:
    """What a `SyntheticWorld` is like; the module `synthetic` describes how it works.

    A share lies between 0 and 1. A log-normal quantity has two knobs: its median, and the standard
    deviation of its logarithm ("sigma"). The numbers of words, subjects and names are those of a
    site of 26,000 articles; a site with fewer articles has fewer (words by Heaps' law), so that
    small worlds can be learned too.

    >>> WorldKnobs(new_candidates=0.3, drift=0.0).new_candidates
    0.3

    Attributes:
        vocabulary: Number of content words; not all of them occur in titles.
        vocabulary_growth: Exponent of Heaps' law, words ~ articles ** vocabulary_growth.
        function_words: Number of words without content, such as articles and prepositions.
        general_words: Share of the content words that belong to no topic.
        category_words: Share of the content words that the subjects of a category have in common.
        name_words: Share of the content words that belong to name groups.
        zipf: Exponent of Zipf's law within the words of a subject, category or name group.
        late_words: Share of the words of subjects and names that are coined during the log.
        categories: Number of categories.
        subjects: Number of subjects (MIND's subcategories).
        names: Number of name groups: people, places, teams.
        latent_dim: Dimensions of the space in which subjects lie.
        subject_spread: Distance of subjects from their category, which has distance 1 from 0.
        size_sigma: Sigma of the sizes of categories, subjects and name groups.
        drift: Standard deviation of a day's change of a subject's log popularity.
        title_median: Median number of words of a title.
        title_sigma: Sigma of the number of words of a title.
        title_min: Fewest words of a title.
        title_max: Most words of a title.
        function_share: Share of a title's words that are function words.
        random_share: Share of a title's words that are drawn from all content words.
        sibling_share: Share of the topic words that are the category's, not the subject's own.
        second_subject: Share of articles with a second subject.
        second_weight: Weight of the second subject, in the title's words and in the affinity.
        topic_left_out: Share of titles whose topic words are replaced by general ones.
        named: Share of titles that mention a name.
        two_name_words: Share of those mentions that take two words.
        name_at_home: Share of mentions whose group belongs to the article's category.
        hook_words: Number of general words that attract or repel clicks.
        hook_appeal: Standard deviation of a hook word's log odds of a click.
        appealing_words: Share of the other content words that have some appeal.
        word_appeal: Standard deviation of the log odds of such a word.
        article_appeal: Standard deviation of an article's appeal that its title does not show.
        old_articles: Share of the articles from before the first training day.
        days_before: Number of days before the log on which those were published.
        popularity_sigma: Sigma of an article's popularity, which decides how often it is shown.
        popularity_appeal: Log odds of a click for each unit of log popularity.
        freshness_days: Articles are shown with weight exp(-age / freshness_days).
        age_appeal: Log odds of a click for each day of age; negative: new articles are preferred.
        categories_of_user: Most categories that a user's subjects come from.
        subjects_of_user: Most subjects of a user.
        names_of_user: Most name groups of a user.
        taste_by_size: Exponent of the size of a subject or name group in its chance to be liked;
            below 1, small topics have more readers per article than large ones.
        taste_concentration: Concentration of the Dirichlet weights of a user's subjects and names.
        names_alpha: Both parameters of the Beta distribution of how much names, rather than
            subjects, count for a user; small: all or nothing.
        affinity_kappa: A user of subject s likes subject t by exp(kappa (cosine(s, t) - 1)).
        affinity_names: How much a user of a name group likes the others of its category.
        strength: Exponent of the affinity in the odds of a click.
        crowding: Exponent of the mean affinity of all users to an article, by which the odds of a
            click are divided: with 1, a topic is about as large in what is shown as in clicks.
        indifference: Affinity of everyone to everything.
        liked_words: Number of single words that a user likes or dislikes.
        word_liking: Standard deviation of their log odds of a click.
        drifting_users: Share of users whose interests changed halfway through their history.
        new_interests: Weight of the interests that changed.
        new_users: Share of users who come only after training.
        new_user_impressions: Share of the impressions after training that are theirs.
        activity_sigma: Sigma of a user's number of visits.
        empty_history: Share of users without a history.
        history_median: Median number of clicks in a history.
        history_sigma: Sigma of the number of clicks in a history.
        history_max: Most clicks in a history.
        history_repeats: Share of repeated clicks that stay in a history.
        habitual: Share of the clicks in histories on a favourite category, whatever the article.
        arbitrary: Share of all clicks that are on any article.
        new_candidates: Share of the candidates after training that are new: neither shown in
            training nor in a history of its users.
        candidates_median: Median number of candidates.
        candidates_sigma: Sigma of the number of candidates.
        candidates_max: Most candidates; the fewest are 2.
        extra_clicks: Mean number of clicks after the first (Poisson).
        training_days: Days of the training split; validation and test are the two days after it.
        corpus_sentences: Most sentences that word vectors are made from.
        corpus_per_article: Most sentences for each article of the site, for small worlds.
        vector_own: Share of a word vector's squared length that topics do not explain, since words
            have meanings and uses of their own.
        vector_min_count: How often a word has to occur in the corpus to have a vector.

    Raises:
        ValueError: if a knob is out of its range; the message names it.
    """

    # Language.
    vocabulary: int = _number(21_000, 1_000)
    vocabulary_growth: float = _share(0.6)
    function_words: int = _number(200, 10, 800)
    general_words: float = _share(0.07)
    category_words: float = _share(0.12)
    name_words: float = _share(0.12)
    zipf: float = _number(0.9)
    late_words: float = _share(0.12)
    # Topics.
    categories: int = _number(17, 1)
    subjects: int = _number(260, 2)
    names: int = _number(60, 1)
    latent_dim: int = _number(24, 2)
    subject_spread: float = _number(0.6)
    size_sigma: float = _number(0.8)
    drift: float = _number(0.15)
    # Titles.
    title_median: float = _number(10.5, 1)
    title_sigma: float = _number(0.33)
    title_min: int = _number(3, 1)
    title_max: int = _number(30, 2)
    function_share: float = _share(0.3)
    random_share: float = _share(0.1)
    sibling_share: float = _share(0.3)
    second_subject: float = _share(0.25)
    second_weight: float = _share(0.35)
    topic_left_out: float = _share(0.05)
    named: float = _share(0.55)
    two_name_words: float = _share(0.5)
    name_at_home: float = _share(0.6)
    # Appeal.
    hook_words: int = _number(40)
    hook_appeal: float = _number(0.4)
    appealing_words: float = _share(0.3)
    word_appeal: float = _number(0.1)
    article_appeal: float = _number(0.2)
    # Articles.
    old_articles: float = _number(0.45, 0.05, 0.95)
    days_before: int = _number(28, 1)
    popularity_sigma: float = _number(1.0)
    popularity_appeal: float = _number(0.35, -math.inf)
    freshness_days: float = _number(1.2, 0.1)
    age_appeal: float = _number(-0.03, -math.inf)
    # Users.
    categories_of_user: int = _number(5, 1)
    subjects_of_user: int = _number(6, 1)
    names_of_user: int = _number(3, 1)
    taste_by_size: float = _share(0.5)
    taste_concentration: float = _number(1.0, 0.01)
    names_alpha: float = _number(1.0, 0.01)
    affinity_kappa: float = _number(8.0)
    affinity_names: float = _share(0.1)
    strength: float = _number(1.5)
    crowding: float = _share(1.0)
    indifference: float = _number(0.005, 1e-6)
    liked_words: int = _number(10)
    word_liking: float = _number(0.5)
    drifting_users: float = _share(0.3)
    new_interests: float = _share(0.5)
    new_users: float = _number(0.3, 0.01, 0.9)
    new_user_impressions: float = _share(0.5)
    activity_sigma: float = _number(0.7)
    # Histories.
    empty_history: float = _share(0.03)
    history_median: float = _number(15, 1)
    history_sigma: float = _number(1.0)
    history_max: int = _number(400, 1)
    history_repeats: float = _share(0.1)
    habitual: float = _share(0.1)
    arbitrary: float = _share(0.15)
    # Impressions.
    new_candidates: float = _share(0.6)
    candidates_median: float = _number(24, 2)
    candidates_sigma: float = _number(0.93)
    candidates_max: int = _number(300, 2)
    extra_clicks: float = _number(0.5)
    training_days: int = _number(6, 1)
    # Word vectors.
    corpus_sentences: int = _number(120_000, 1)
    corpus_per_article: int = _number(40, 1)
    vector_own: float = _share(0.8)
    vector_min_count: int = _number(3, 1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            whole = isinstance(field.default, int)
            least, most = field.metadata["least"], field.metadata["most"]
            kind = numbers.Integral if whole else numbers.Real
            if isinstance(value, bool) or not isinstance(value, kind):
                expected = "an integer" if whole else "a number"
                raise ValueError(f"{field.name} is {value!r}; expected {expected}")
            if not (least <= value <= most and math.isfinite(value)):
                expected = f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}"
                raise ValueError(f"{field.name} is {value}; expected {expected}")
        _at_most(self, 1.0, "general_words", "category_words", "name_words")
        _at_most(self, 1.0, "function_share", "random_share")
        _at_most(self, 0.99, "habitual", "arbitrary")  # some clicks need a reason
        if self.title_min > self.title_max:
            raise ValueError(f"title_min is {self.title_min}; title_max only {self.title_max}")


def _at_most(knobs: WorldKnobs, most: float, *names: str) -> None:
    total = sum(getattr(knobs, name) for name in names)
    if total > most:
        raise ValueError(f"{' + '.join(names)} is {total:g}; expected at most {most:g}")
