"""Robust DivideMix: two networks divide the labels into clean and noisy by their losses, and mix both kinds.

    warm-up        bce(z, y'),   y' = y moved by .1 to where it hurts: y - .1 sign(z), cut to [0, 1]
    divide         w = P(the component with the lower mean | loss), two Gaussians over the losses of observed
                   rows under the other network
    labelled       w > .5:  target sharpen(w y + (1 - w) q)            q = own prediction
    unlabelled     the rest: target sharpen(mean of the two predictions)
    mix            x and target of each row with those of another, share max(b, 1 - b), b ~ Beta(4, 4)
    loss           mean over labelled of bce  +  knob ramp(epoch) mean over unlabelled of (sigmoid(z) - t)^2
    sharpen(t) = t^2 / (t^2 + (1 - t)^2)                               temperature .5

Li et al., "DivideMix: Learning with Noisy Labels as Semi-supervised Learning" (ICLR 2020), algorithm 1,
without augmentation, which frozen features do not have. "Robust" is the adversarial perturbation of labels
during warm-up; its own paper was not at hand, and the formula above is our reading of it. Predicts the mean
of the two.

Reference code: like all of it, it runs over whole batches, in which rows without feedback have no loss that
means anything. Here: the components are those of observed rows alone. Knob: weight of the unlabelled, 0, 5,
25 (the reference has 25).
"""

import torch
from benches.baselines.logged import Logged, Model, Tuning, grid
from benches.baselines.loop import bce, mlp, pose, seeded, train
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

GRID = grid((0.0, 5.0, 25.0))
WARM_UP, RAMP, PERTURBATION, CLEAN, BETA = 10, 16, 0.1, 0.5, 4.0


def perturbed(z: Tensor, y: Tensor) -> Tensor:
    """The label within .1 of y, inside [0, 1], under which bce(z, .) is largest. Shape [N]."""
    return (y - PERTURBATION * torch.sign(z)).clamp(0, 1)


def clean(losses: Tensor, seed: int) -> Tensor:
    """P(the component with the lower mean | loss) of each row. Shape [N]."""
    scaled = (losses - losses.min()) / (losses.max() - losses.min()).clamp_min(1e-12)
    column = scaled[:, None].double().numpy()
    found = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=seed).fit(column)
    return torch.from_numpy(found.predict_proba(column)[:, found.means_.argmin()]).to(losses.dtype)


def sharpen(t: Tensor) -> Tensor:
    """A probability at temperature .5. Shape of t."""
    return t.square() / (t.square() + (1 - t).square())


def fit(log: Logged, tuning: Tuning) -> Model:
    """Train on a log."""
    problem = pose(log, weighted=False)
    X, y, seen = problem.X, problem.y, problem.seen
    sure = torch.ones(2, len(X))  # w of each row for each network
    with seeded(log.seed):
        nets = nn.ModuleList([mlp(X.shape[1]), mlp(X.shape[1])])
        mixing = torch.distributions.Beta(BETA, BETA)

        def begin(epoch: int) -> None:
            if epoch >= WARM_UP:
                for mine, other in ((0, 1), (1, 0)):
                    sure[mine, seen] = clean(bce(nets[other](X[seen])[:, 0], y[seen]), log.seed)

        def step(rows: Tensor, epoch: int) -> Tensor:
            z = [net(X[rows])[:, 0] for net in nets]
            if epoch < WARM_UP:
                return sum(
                    (bce(side, perturbed(side.detach(), y[rows])).mean() for side in z), z[0].sum() * 0
                )
            q = [torch.sigmoid(side.detach()) for side in z]
            total = z[0].sum() * 0
            for mine in (0, 1):
                w = sure[mine, rows]
                labelled = w > CLEAN
                refined = torch.where(labelled, w * y[rows] + (1 - w) * q[mine], (q[0] + q[1]) / 2)
                target = sharpen(refined)
                share = float(mixing.sample())
                share, other = max(share, 1 - share), torch.randperm(len(rows))
                mixed = share * X[rows] + (1 - share) * X[rows][other]
                target = share * target + (1 - share) * target[other]
                side = nets[mine](mixed)[:, 0]
                fitted = (labelled * bce(side, target)).sum() / labelled.sum().clamp_min(1)
                guess = (~labelled * (torch.sigmoid(side) - target).square()).sum()
                ramp = min((epoch - WARM_UP) / RAMP, 1.0)
                total = total + fitted + tuning.knob * ramp * guess / (~labelled).sum().clamp_min(1)
            return total

        return train(
            nets,
            step,
            problem,
            tuning,
            rows=seen,
            begin=begin,
            warm_up=WARM_UP,
            read=lambda X: torch.stack([torch.sigmoid(net(X)[:, 0]) for net in nets]).mean(0),
        )
