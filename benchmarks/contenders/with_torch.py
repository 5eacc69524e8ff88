"""PyTorch: the plain loop of its tutorials, and the same with torch.compile and the fused Adam."""

from collections.abc import Callable

import torch

from benchmarks.contenders import HIDDEN, LEARNING_RATE
from benchmarks.contenders.data import COLUMNS, Data, auc
from benchmarks.contenders.watch import Watch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def eager(data: Data, batch: int) -> Callable[[Watch, int], None]:
    model = _model()
    return _loop(data, batch, model, model, torch.optim.Adam(model.parameters(), LEARNING_RATE))


def compiled(data: Data, batch: int) -> Callable[[Watch, int], None]:
    model = _model()
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, fused=True)
    return _loop(data, batch, model, torch.compile(model), optimizer)


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(COLUMNS, HIDDEN[0]),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN[0], HIDDEN[1]),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN[1], 1),
    )
    return model.to(DEVICE)


def _loop(
    data: Data, batch: int, plain: torch.nn.Module, model: Callable, optimizer: torch.optim.Optimizer
) -> Callable[[Watch, int], None]:
    x, y = torch.from_numpy(data.x).to(DEVICE), torch.from_numpy(data.y).to(DEVICE)
    loss_of = torch.nn.BCEWithLogitsLoss()

    def score() -> float:
        with torch.no_grad():
            outputs = plain(torch.from_numpy(data.validation_x).to(DEVICE))
        return auc(data.validation_y, outputs[:, 0].cpu().numpy())

    def run(watch: Watch, limit: int) -> None:
        rows, stop = min(limit, len(y)), False
        while not stop:
            total = torch.zeros((), device=DEVICE)
            for picked in torch.randperm(rows, device=DEVICE).split(batch):
                optimizer.zero_grad()
                loss = loss_of(model(x[picked])[:, 0], y[picked])
                loss.backward()
                optimizer.step()
                total += loss.detach()
                if watch.first_loss is None:
                    loss.item()
                    watch.loss()
            stop = watch.epoch(score)

    return run
