"""Commands see the data set as a run does."""

from pathlib import Path

import pytest
from recbole.data import create_dataset
from recbole.utils import init_seed
from text_files import write_dataset

from recbole_irllrec import IRLLRecError
from recbole_irllrec.data.loading import load_config, split_datasets
from recbole_irllrec.settings.files import settings_files


def test_the_split_is_that_of_a_run(small):
    config = load_config("small", settings={"seed": 7, **small})
    init_seed(7, True)  # as RecBole's run_recbole, first thing
    (expected, *_) = create_dataset(config).build()
    for _ in range(2):  # whatever was drawn before
        (train, *_) = split_datasets(config)
        assert (train.inter_feat["user_id"] == expected.inter_feat["user_id"]).all()
        assert (train.inter_feat["item_id"] == expected.inter_feat["item_id"]).all()


def test_a_data_sets_own_settings_are_read_and_run_nothing():
    own = write_dataset(Path("dataset"))
    evaluated = "open('canary', 'w')"
    (own / "tiny.yaml").write_text(f'data_path: elsewhere\nreg_weight: 1e-3\nnote: "{evaluated}"\n')
    config = load_config("tiny")
    assert (config["note"], config["reg_weight"], config["data_path"]) == (evaluated, 1e-3, "dataset/tiny")
    assert not Path("canary").exists()
    assert load_config("tiny", config_files="")["note"] is None
    assert load_config("tiny", Path("dataset"), settings={"reg_weight": 0.1})["reg_weight"] == 0.1


def test_files_that_hold_no_settings():
    for name, content in {"empty": "", "comment": "# nothing\n", "null": "~", "some": "seed: 3\n"}.items():
        Path(f"{name}.yaml").write_text(content)
    assert load_config("ml-100k", config_files="empty.yaml some.yaml comment.yaml null.yaml")["seed"] == 3
    for content in (b"- seed\n", b"seed\n", b"a: b: c\n", b"\xff", b"when: 2020-99-99\n"):
        Path("bad.yaml").write_bytes(content)
        with pytest.raises(IRLLRecError, match=r"^bad\.yaml holds no settings in YAML: mend or remove it\.$"):
            settings_files([Path("bad.yaml")])
