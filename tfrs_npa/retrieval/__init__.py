"""The best articles of a catalogue for a user."""

from tfrs_npa.retrieval.personalized_top_k import PersonalizedTopK
from tfrs_npa.retrieval.reranking import Reranker
from tfrs_npa.retrieval.two_stage import TwoStageTopK

__all__ = ["PersonalizedTopK", "Reranker", "TwoStageTopK"]
