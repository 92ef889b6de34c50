"""The towers of NPA and the model that trains them."""

from tfrs_npa.models.news_encoder import NewsEncoder
from tfrs_npa.models.npa import NPA
from tfrs_npa.models.user_encoder import UserEncoder

__all__ = ["NPA", "NewsEncoder", "UserEncoder"]
