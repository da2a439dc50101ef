"""What RecBole 1.2.1 needs on current versions of numpy and SciPy."""

import recbole.config.configurator
import scipy.sparse


def restore_numpy_aliases() -> None:
    """Evaluation uses ``np.float`` and the like, which RecBole restores only when a ``Config`` is made.

    A model that is loaded in a fresh process makes none. Can go when RecBole no longer uses the aliases.
    """
    recbole.config.configurator.Config.compatibility_settings(None)


def restore_dok_update() -> None:
    """LightGCN, NGCF, GCMC, SpectralCF, NCL, KGIN and MCCLK fill their graph through ``dok_matrix._update``.

    SciPy has dropped it. Can go when RecBole builds its graphs otherwise.
    """
    if not hasattr(scipy.sparse.dok_matrix, "_update"):
        scipy.sparse.dok_matrix._update = lambda matrix, entries: matrix._dict.update(entries)
