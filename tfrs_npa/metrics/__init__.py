"""Ranking quality per impression, and its mean over a stream of impressions."""

from tfrs_npa.metrics.impression_metrics import ImpressionMetrics
from tfrs_npa.metrics.ranking import ranking_metrics

__all__ = ["ImpressionMetrics", "ranking_metrics"]
