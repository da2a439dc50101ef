"""Sweeps on Ray Tune.

``space``: what is drawn. ``search``: in which order. ``trial``: what runs on a worker. ``records``: what is found.
``sweep``: brings them together; read it first. ``report`` and ``page``: what is written in the end.
"""
