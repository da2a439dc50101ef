"""Pipelines that make data sets and texts for IRLLRec."""
