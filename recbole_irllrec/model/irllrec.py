"""IRLLRec as a RecBole model: LightGCN that wears the alignment."""

from .wearing import AlignedEncoder


class IRLLRec(AlignedEncoder):
    """Intent Representation Learning with Large Language Model for Recommendation (Wang et al., SIGIR 2025).

    LightGCN whose embeddings are aligned, in training, with the embeddings of texts about users and items. Scores use
    the graph embeddings alone, so texts cost nothing when serving.

    Args:
        config: a RecBole ``Config``; the settings are those of `settings.schemas.IRLLRecSettings`.
        dataset: the training dataset. It gives the interactions and, where an alignment weight is above zero,
            ``node_texts(config, kinds)`` (see ``recbole_irllrec.data.IRLLRecDataset``).

    Raises:
        IRLLRecError: a setting or a text is refused; the sentence says which and what to do.
    """
