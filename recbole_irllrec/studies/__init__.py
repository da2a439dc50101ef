"""Studies of a model on a data set.

`study.py` says what a study is and carries it out by `benchmark.conductor`; `all.py` names those that there are, which
are the modules beside it; `words.py` says what a difference is worth.
"""
