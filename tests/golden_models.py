"""The golden cases of the published code's other models: each as a model of ours with that case's draws."""

import re
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from conftest import TinyDataset
from recbole.config import Config
from torch import nn

from recbole_irllrec import zoo
from recbole_irllrec.model.graph import Values, with_entries

_ENCODERS = {"lightgcn": "", "sgl": "SGL", "simgcl": "SimGCL", "dccf": "DCCF", "bigcf": "BIGCF"}
_ALIGNMENTS = {"": "", "plus": "RLMRecCon", "gene": "RLMRecGen", "int": "IRLLRec"}

# golden weight -> our setting
_SETTINGS = {
    "reg_weight": "reg_weight",
    "cl_weight": "ssl_weight",
    "temperature": "ssl_tau",
    "cl_temperature": "ssl_tau",
    "eps": "eps",
    "cen_weight": "prototype_weight",
    "kd_weight": "profile_weight",
    "kd_temperature": "profile_temperature",
    "kd_int_weight": "pairwise_weight",
    "kd_int_temperature": "pairwise_temperature",
    "mask_ratio": "mask_ratio",
    "recon_weight": "reconstruction_weight",
    "re_temperature": "reconstruction_temperature",
    "tau": "softmax_temperature",
}
# golden loss -> the terms of ours
TERMS = {
    "bpr_loss": "ranking",
    "mf_loss": "ranking",
    "ssm_loss": "ranking",
    "reg_loss": "regularization",
    "cl_loss": "contrast",
    "cen_loss": "prototypes",
    "kd_loss": "profile",
    "kd_int_loss": "pairwise",
    "recon_loss": "reconstruction",
}
# golden parameter -> ours
_PARAMETERS = {
    "user_embeds": "user_embedding.weight",
    "item_embeds": "item_embedding.weight",
    "mask_token": "alignment.mask_token",
    "int_mlp": "alignment.intent_tower",
}


class Case:
    """A case's arrays, and the model of ours that computes them."""

    def __init__(self, path: Path):
        self.name = path.stem
        with np.load(path) as file:
            self.values = dict(file)
        self.model = self._model()

    def __getitem__(self, name: str) -> np.ndarray:
        return self.values[name]

    def tensor(self, name: str) -> torch.Tensor:
        return torch.tensor(self.values[name])

    @property
    def n_users(self) -> int:
        return int(self["n_users"])

    def starting_with(self, prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): v for name, v in self.values.items() if name.startswith(prefix)}

    def model_name(self) -> str:
        if self.name.startswith("alpharec"):
            return "AlphaRec"
        encoder, alignment = re.match(r"(lightgcn|simgcl|sgl|dccf|bigcf)(?:_(plus|gene|int))?", self.name).groups()
        return _ALIGNMENTS[alignment or ""] + _ENCODERS[encoder]

    def batch(self) -> dict[str, torch.Tensor]:
        negatives = self.tensor("neg_item") + 1
        if negatives.dim() > 1:
            negatives = negatives[:, 0]
        return {"user_id": self.tensor("user") + 1, "item_id": self.tensor("pos_item") + 1, "neg_item_id": negatives}

    def parameter(self, golden: str) -> torch.Tensor:
        """Ours, without the padding rows."""
        found = dict(self.model.named_parameters())[self._our_name(golden)]
        return found[1:] if golden.endswith("_embeds") else found

    def gradient(self, golden: str) -> torch.Tensor:
        found = dict(self.model.named_parameters())[self._our_name(golden)].grad
        return found[1:] if golden.endswith("_embeds") else found

    # ---- the model -------------------------------------------------------------------------------------------------

    def _our_name(self, golden: str) -> str:
        head, _, rest = golden.partition(".")
        if head in ("logit_scale", "itm_head", "itm_mlp"):
            return f"unused.{golden.replace('.', '_')}"
        if head == "mlp":
            name = self.model_name()
            head = (
                "tower"
                if name == "AlphaRec"
                else "alignment.decoder"
                if name.startswith("RLMRecGen")
                else "alignment.profile_tower"
            )
        elif head in ("user_intent", "item_intent"):
            owner = "" if self.model_name().endswith(("DCCF", "BIGCF")) else "alignment."
            head = f"{owner}{head.removesuffix('intent')}prototypes"
        else:
            head = _PARAMETERS[head]
        return ".".join(filter(None, [head, rest]))

    def _model(self):
        name = self.model_name()
        known = set(zoo.find(name).settings.names())
        settings = {
            "embedding_size": int(self["embedding_size"]),
            "n_layers": int(self["n_layers"]),
            "n_intents": int(self.values.get("n_intents", 1)),
            **{_SETTINGS[k]: float(v) for k, v in self.starting_with("weight.").items() if k in _SETTINGS},
        }
        if name == "AlphaRec":
            settings["softmax_negatives"] = self["neg_item"].shape[1]
        settings = {key: value for key, value in settings.items() if key in known}
        config = Config(model=name, dataset="untuned", config_dict={"preset": "published", **settings})
        n_items = int(self["n_items"])
        texts = {
            kind: np.concatenate([self[name] for name in names if name in self.values])
            for kind, names in (
                ("profile", ("user_profile", "item_profile")),
                ("intent", ("user_intent_text", "item_intent_text")),
            )
            if names[1] in self.values
        }
        texts |= {f"{kind}_present": np.ones(len(values), dtype=bool) for kind, values in list(texts.items())}
        dataset = TinyDataset(self["train_user"], self["train_item"], self.n_users, n_items, texts)
        model = zoo.find(name).load()(config, dataset).double()
        self.model = model
        self._add_what_nothing_uses()
        if name == "AlphaRec":  # made of float32 sums
            model.texts = model._texts(config, dataset, np.float64)
        with torch.no_grad():
            for golden, value in self.starting_with("param.").items():
                self.parameter(golden).copy_(torch.tensor(value))
        self._give_draws()
        return model

    def _add_what_nothing_uses(self):
        """The published model penalises parameters of its that no loss sees."""
        unused = {
            name.replace(".", "_"): nn.Parameter(torch.tensor(value))
            for name, value in self.starting_with("param.").items()
            if name.partition(".")[0] in ("logit_scale", "itm_head", "itm_mlp")
        }
        if unused:
            self.model.unused = nn.ParameterDict(unused)

    def _give_draws(self):
        model = self.model
        if "kept.train.to_user" in self.values:
            model.draw_matrix = lambda: self._kept("train")
        elif hasattr(model, "draw_matrix"):
            model.draw_matrix = lambda: None
        if "kept.view1.to_user" in self.values:
            # both are drawn anew in each step
            views = chain.from_iterable(iter(lambda: ("view1", "view2"), None))
            model.draw_view = lambda: [self._kept(next(views))] * model.n_layers
        if "noise.view1" in self.values:
            noise = torch.cat([self.tensor("noise.view1"), self.tensor("noise.view2")])
            drawn = chain.from_iterable(iter(lambda: noise, None))
            model.draw_noise = lambda like: next(drawn)
        elif "noise.train" in self.values:
            model.draw_noise = lambda like: self.tensor("noise.train")
        if "masked_nodes" in self.values:
            model.alignment.draw_hidden = lambda: self.tensor("masked_nodes").sort().values
        if self.model_name() == "AlphaRec":
            model.draw_negatives = lambda n: self.tensor("neg_item") + self.n_users

    def _kept(self, view: str) -> Values:
        """The matrix that has the kept entries alone."""
        graph = self.model.graph
        edge = {pair: n for n, pair in enumerate(zip(graph.heads.tolist(), graph.tails.tolist(), strict=True))}
        pairs = list(zip(self["train_user"].tolist(), (self["train_item"] + self.n_users).tolist(), strict=True))
        kept = torch.zeros(len(graph.col), dtype=torch.bool)
        for e in self[f"kept.{view}.to_user"]:
            kept[edge[pairs[e]]] = True
        for e in self[f"kept.{view}.to_item"]:
            kept[len(edge) + graph.by_user[edge[pairs[e]]]] = True
        return with_entries(graph, kept)
