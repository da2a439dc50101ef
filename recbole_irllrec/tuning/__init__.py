"""Sweeps on Ray Tune.

``plan``: what a sweep is to do. ``search``: which settings are drawn, in which order. ``trial``: what runs on a worker.
``records``: what is found; ``recorder`` keeps it. ``sweep``: brings them together; read it first. ``report`` and
``page``: what is written in the end. The runs themselves are those of `recbole_irllrec.runs`.
"""
