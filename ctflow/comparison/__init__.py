"""Corrections compared on rows that they were not fitted on, and which of them to take."""
