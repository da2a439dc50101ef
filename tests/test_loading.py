"""Commands see the data set as a run does."""

from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_irllrec.data.loading import load_config, split_datasets


def test_the_split_is_that_of_a_run():
    config = load_config("ml-100k", settings={"seed": 7})
    init_seed(7, True)  # as RecBole's run_recbole, first thing
    (expected, *_) = create_dataset(config).build()
    for _ in range(2):  # whatever was drawn before
        (train, *_) = split_datasets(config)
        assert (train.inter_feat["user_id"] == expected.inter_feat["user_id"]).all()
        assert (train.inter_feat["item_id"] == expected.inter_feat["item_id"]).all()
