"""Keras layers of NPA."""

from tfrs_npa.layers.personalized_attention import PersonalizedAttention
from tfrs_npa.layers.user_embedding import UserEmbedding

__all__ = ["PersonalizedAttention", "UserEmbedding"]
