"""Settings: ranges, misspellings, presets, and that they reach IRLLRec alone."""

from importlib.resources import files

import pytest
import yaml
from recbole.config import Config
from recbole.utils.argument_list import training_arguments

from recbole_irllrec import IRLLRecError, zoo


@pytest.mark.parametrize(
    "name, value",
    [
        ("profile_weight", -1),
        ("pairwise_weight", -0.1),
        ("translation_weight", float("nan")),
        ("matching_weight", -1e-9),
        ("reg_weight", -1),
        ("profile_temperature", 0),
        ("pairwise_temperature", -0.2),
        ("softmax_temperature", 0),
        ("n_layers", 0),
        ("n_intents", 0),
        ("embedding_size", 0),
        ("softmax_negatives", 0),
        ("softmax_negatives", "most"),
        ("item_bias", "large"),
        ("edge_dropout", 1.0),
        ("min_text_coverage", 1.5),
        ("teacher_momentum", 2),
        ("fusion", "product"),
        ("ranking_loss", "hinge"),
        ("layer_aggregation", "max"),
        ("user_text", "median"),
        ("preset", "unpublished"),
        ("profile_weight", "heavy"),
    ],
)
def test_an_impossible_value_is_refused_in_one_sentence(name, value, irllrec_config):
    with pytest.raises(IRLLRecError) as refusal:
        irllrec_config(**{name: value})
    message = str(refusal.value)
    assert name in message and "config_dict" in message and "\n" not in message


@pytest.mark.parametrize("wrong, right", [("profil_weight", "profile_weight"), ("n_layer", "n_layers")])
def test_a_misspelt_setting_is_refused(wrong, right, irllrec_config):
    with pytest.raises(IRLLRecError, match=f"no setting {wrong} .*did you mean {right}"):
        irllrec_config(**{wrong: 1})


def test_a_misspelling_on_the_command_line_and_in_a_file(irllrec_config, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["run_recbole", "--pairwise_temperatur=0.3"])
    with pytest.raises(IRLLRecError, match="on the command line"):
        irllrec_config()
    monkeypatch.setattr("sys.argv", ["run_recbole"])
    (tmp_path / "mine.yaml").write_text("matching_wieght: 0.1\n")
    with pytest.raises(IRLLRecError, match=r"mine\.yaml"):
        Config(model="IRLLRec", dataset="ml-100k", config_file_list=["mine.yaml"])


def test_a_shared_file_may_hold_other_models_settings(irllrec_config):
    irllrec_config(mlp_hidden_size=[64, 32], ssl_tau=0.2, my_own_note="kept", inter_matrix_type="01")


@pytest.mark.parametrize("model", zoo.models(), ids=lambda model: model.name)
def test_the_property_files_tell_of_every_setting(model):
    """A part's files hold each of its settings once; a model's own hold the rest, and what differs there."""

    def read(path):
        file = files("recbole_irllrec.properties").joinpath(path)
        return list(yaml.safe_load(file.read_text())) if file.is_file() else []

    shared = [name for part in model.settings.parts() for name in read(f"settings/{part}.yaml")]
    assert len(shared) == len(set(shared))
    own = [name for each in (*model.inherits, model.name) for name in read(f"model/{each}.yaml")]
    assert set(shared) | set(own) - set(training_arguments) == set(model.settings.names())


@pytest.mark.parametrize(
    "dataset, pairwise, regularisation",
    [
        ("amazon-book", 2e-2, 1e-7),
        ("Amazon_Books", 2e-2, 1e-7),
        ("yelp2018", 1e-2, 1e-7),
        ("amazon-movie", 3e-2, 1e-6),
        ("something-else", 2e-2, 1e-7),
    ],
)
def test_published_preset_by_dataset(dataset, pairwise, regularisation):
    config = Config(model="IRLLRec", dataset=dataset, config_dict={"preset": "published"})
    assert config["pairwise_weight"] == pairwise and config["reg_weight"] == regularisation
    assert (config["embedding_size"], config["n_layers"], config["n_intents"]) == (32, 3, 128)
    assert (config["layer_aggregation"], config["fusion"], config["ranking_loss"]) == ("sum", "text", "bpr")
    assert (config["train_batch_size"], config["stopping_step"], config["eval_step"]) == (4096, 4, 3)


def test_the_users_own_settings_lie_above_the_preset():
    config = Config(model="IRLLRec", dataset="yelp", config_dict={"preset": "published", "embedding_size": 64})
    assert config["embedding_size"] == 64 and config["pairwise_weight"] == 1e-2


def test_our_settings_reach_no_other_model():
    config = Config(model="LightGCN", dataset="yelp", config_dict={"preset": "published"})
    assert config["embedding_size"] == 64 and config["train_batch_size"] == 2048
    assert "profile_weight" not in config and "n_intents" not in config
