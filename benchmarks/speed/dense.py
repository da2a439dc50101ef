"""IRLLRec written straight from its formulas, every matrix held whole: what the model is measured against.

Nothing here is meant to be fast: all texts go through the towers at each step, translation alignment holds N x N
similarities, a batch's lists keep their repeats, the adjacency is COO.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def tower(n_in: int, d: int) -> nn.Sequential:
    """[n, n_in] -> [n, d]."""
    hidden = (n_in + d) // 2
    return nn.Sequential(nn.Linear(n_in, hidden), nn.LeakyReLU(0.01), nn.Linear(hidden, d))


class DenseIRLLRec(nn.Module):
    """IRLLRec with the published settings' terms (BPR, layers summed, intents matched on the text side).

    Args:
        users, items: [E] 0-based interactions, each once, arrays.
        n_users, n_items: how many there are.
        profile, intent: [N, width] embedded texts, users first.
        settings: those of `recbole_irllrec.settings.Settings`.
    """

    def __init__(self, users, items, n_users: int, n_items: int, profile: Tensor, intent: Tensor, settings):
        super().__init__()
        self.n_users, self.n_nodes, self.settings = n_users, n_users + n_items, settings
        d, self.profile_text, self.intent_text = settings.embedding_size, profile, intent
        self.user_embedding = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n_users, d)))
        self.item_embedding = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n_items, d)))
        self.user_prototypes = nn.Parameter(nn.init.xavier_uniform_(torch.empty(d, settings.n_intents)))
        self.item_prototypes = nn.Parameter(nn.init.xavier_uniform_(torch.empty(d, settings.n_intents)))
        self.profile_tower = tower(profile.shape[1], d)
        self.intent_tower = tower(intent.shape[1], d)
        self.teacher_tower = copy.deepcopy(self.intent_tower).requires_grad_(False)
        user, item = (torch.as_tensor(ids, device=profile.device) for ids in (users, items + n_users))
        self.head, self.tail = torch.cat([user, item]), torch.cat([item, user])
        degree = torch.bincount(self.head, minlength=self.n_nodes).float()
        self.adjacency = torch.sparse_coo_tensor(
            torch.stack([self.head, self.tail]),
            (degree[self.head] * degree[self.tail]).rsqrt(),
            (self.n_nodes, self.n_nodes),
            check_invariants=False,
        ).coalesce()
        self.to(profile.device)

    def loss_terms(self, batch: tuple[Tensor, Tensor, Tensor], noise: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """The weighted loss terms.

        Args:
            batch: [B] nodes of users, of their positive and of their negative items.
            noise: [N, d] each, ε and ε' of translation alignment.
        """
        s = self.settings
        user, positive, negative = batch
        terms = {"regularization": s.reg_weight * sum(p.square().sum() for p in self.parameters())}
        with torch.no_grad():
            for slow, fast in zip(self.teacher_tower.parameters(), self.intent_tower.parameters(), strict=True):
                slow.mul_(s.teacher_momentum).add_(fast, alpha=1 - s.teacher_momentum)
            z_teacher = self.teacher_tower(self.intent_text)
        p, z = self.profile_tower(self.profile_text), self.intent_tower(self.intent_text)
        layers = [torch.cat([self.user_embedding, self.item_embedding])]
        for _ in range(s.n_layers):
            layers.append(torch.sparse.mm(self.adjacency, layers[-1]))
        final = torch.stack(layers).sum(dim=0)
        revealed = torch.stack([self.gathered(layer) for layer in layers[:-1]]).mean(dim=0)

        user_e, positive_e, negative_e = final[user], final[positive], final[negative]
        terms["ranking"] = F.softplus((user_e * negative_e).sum(dim=1) - (user_e * positive_e).sum(dim=1)).mean()
        batch = user, positive, negative
        terms["profile"] = s.profile_weight * self.align(final, p, s.profile_temperature, *batch)
        terms["pairwise"] = s.pairwise_weight * self.align(revealed, z, s.pairwise_temperature, *batch)
        a, b = (F.normalize(x + x * e) for x, e in zip((z, final), noise, strict=True))
        similarity = (a @ b.T).exp()
        share = (a * b).sum(dim=1).exp() / (similarity.sum(dim=1) + 1e-8)
        terms["translation"] = s.translation_weight * -(share + 1e-8).log().mean()
        distilled = -(z_teacher.softmax(dim=1) * z.log_softmax(dim=1)).sum(dim=1).mean()
        terms["matching"] = s.matching_weight * (0.4 * terms["translation"] + 0.6 * distilled)
        return terms

    def gathered(self, layer: Tensor) -> Tensor:
        """[N, d] -> [N, d]: each node's neighbours, averaged by how alike their intents are."""
        user, item = layer[: self.n_users], layer[self.n_users :]
        described = torch.cat(
            [
                (user @ self.user_prototypes).softmax(dim=1) @ self.user_prototypes.T,
                (item @ self.item_prototypes).softmax(dim=1) @ self.item_prototypes.T,
            ]
        )
        weight = (F.cosine_similarity(described[self.head], described[self.tail]) + 1) / 2
        total = weight.new_zeros(self.n_nodes).index_add(0, self.head, weight)
        weight = weight / total[self.head]
        return torch.zeros_like(layer).index_add(0, self.head, weight[:, None] * layer[self.tail])

    def align(self, base: Tensor, text: Tensor, temperature: float, user, positive, negative) -> Tensor:
        """The batch's users against all users' texts, its items against the batch's own lists, repeats and all."""
        total = info_nce(base[user], text[user], text[: self.n_users], temperature)
        for items in (positive, negative):
            total = total + info_nce(base[items], text[items], text[items], temperature)
        return total / len(user)


def info_nce(x: Tensor, y: Tensor, candidates: Tensor, temperature: float) -> Tensor:
    """Σ −x̂·ŷ/τ + log Σ exp(x̂·ŷ'/τ), [B, d], [B, d], [m, d]."""
    x, y, candidates = (v / (1e-8 + v.square().sum(dim=1, keepdim=True)).sqrt() for v in (x, y, candidates))
    return (-(x * y).sum(dim=1) / temperature + (x @ candidates.T / temperature).exp().sum(dim=1).log()).sum()
