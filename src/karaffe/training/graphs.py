"""Many small trainings side by side on one GPU: a step is the replay of a CUDA graph.

A step of a small network is some hundred kernels that take microseconds each: launched one by one they leave the GPU
idle. Here whole steps (crops, losses, gradients, Adam, running mean) are recorded once and replayed, every training on
a stream of its own. What a step does is what :class:`karaffe.training.base.Training` does; between two log lines the
host only hands over where the crops lie and what the rates are.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from karaffe.errors import ArgumentError, KaraffeError
from karaffe.training.base import learning_rate
from karaffe.training.module import SRTraining
from karaffe.training.run import Run

# Steps in one graph: enough that launching it costs nothing beside running it.
STEPS_A_REPLAY = 10
IN_FLIGHT = 3
WARM_UP = 3


class GraphedTraining:
    """One training whose steps are replayed.

    Args:
        training: of a network for super-resolution, whose sampler cuts its batches on the device.
        run: where it logs and saves; a state that is there is taken up.
        device: a CUDA device, or the CPU, where the same steps are executed one by one (for tests).

    Raises:
        ArgumentError: ``log_every`` is no multiple of the steps in one graph; or as when a run is taken up.
    """

    def __init__(self, training: SRTraining, run: Run, device: torch.device) -> None:
        if training.rhythm.log_every % STEPS_A_REPLAY:
            raise ArgumentError(
                f"log_every must be a multiple of {STEPS_A_REPLAY}, the steps in a graph; "
                f"got {training.rhythm.log_every}"
            )
        self.training, self.device = training.to(device), device
        self.sampler = training.sampler
        self.sampler.use(device)
        training.begin(run)
        training.mean = {key: value.to(device) for key, value in training.mean.items()}
        self.done = training.start_step
        self.chunk = training.rhythm.log_every
        self.optimizer = training.adam = self._optimizer(training.adam)
        self.factors = (1, self.sampler.store.scale)
        self.walks = [torch.zeros(self.chunk, self.sampler.batch, 3, dtype=torch.int64, device=device) for _ in "st"]
        self.rates, self.losses = torch.zeros(self.chunk, device=device), torch.zeros(self.chunk, device=device)
        self.shares = torch.ones(self.chunk, device=device)
        self.cursor = torch.zeros(1, dtype=torch.int64, device=device)
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.replay: Callable[[], None] = self._captured() if self.stream else self._steps
        self.flying: deque[torch.cuda.Event] = deque()
        self.left, self.stop = 0, self.done

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.done >= self.training.settings.steps

    def advance(self) -> bool:
        """Launch what can be launched without waiting; say whether all steps up to the next log line are computed.

        Only a few launches of a training are ever queued: a full queue would block the host, and with it the others.
        """
        while self.flying and self.flying[0].query():
            self.flying.popleft()
        if self.left and len(self.flying) < IN_FLIGHT:
            with torch.cuda.stream(self.stream):
                self.replay()
                self.left -= 1
                if self.stream:
                    event = torch.cuda.Event()
                    event.record(self.stream)
                    self.flying.append(event)
        return not self.left and not self.flying

    def prepare(self) -> None:
        """Hand over where the crops of the next steps lie, up to a log line, and what the rates are."""
        settings, store = self.training.settings, self.sampler.store
        self.stop = min(self.done + self.chunk, settings.steps)
        steps = range(self.done, self.done + self.chunk)
        # Steps of the last graph beyond the last step have no rate and no share in the mean: no weight changes.
        rates = [learning_rate(settings, step) if step < self.stop else 0.0 for step in steps]
        shares = [1 - min(settings.ema, (step + 1) / (step + 10)) if step < self.stop else 0.0 for step in steps]
        with torch.cuda.stream(self.stream):
            crops = self.sampler.crops(torch.arange(steps.start, steps.stop, device=self.device))
            for walks, factor in zip(self.walks, self.factors, strict=True):
                walks.copy_(store.walks(crops, self.sampler.patch, factor))
            self.rates.copy_(torch.tensor(rates))
            self.shares.copy_(torch.tensor(shares))
            self.cursor.zero_()
        self.left = math.ceil((self.stop - self.done) / STEPS_A_REPLAY)

    def collect(self) -> None:
        """Take the losses of the steps that were prepared last; log, measure and save what is due.

        Raises:
            TrainingError: a loss that is not finite.
        """
        with torch.cuda.stream(self.stream):
            losses = self.losses[: self.stop - self.done].tolist()
            for offset, loss in enumerate(losses):
                if not math.isfinite(loss):
                    self.training.diverged(self.done + offset, loss)
            self.training.losses, self.done = losses, self.stop
            if self.done % self.chunk == 0:
                self.training.account(self.done)
            if self.finished:
                self.training.finish()

    def end_here(self) -> None:
        """Make the steps that were prepared last the final ones."""
        self.training.settings = self.training.settings.model_copy(update={"steps": self.stop})

    def remember(self) -> Callable[[], None]:
        """Return what puts weights, running mean and moments back to what they are now."""
        tensors = [*self.training.network.state_dict().values(), *self.training.mean.values()]
        before = [t.clone() for t in tensors]
        moments = {p: {k: v.clone() for k, v in s.items()} for p, s in self.optimizer.state.items()}

        def restore() -> None:
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
            for parameter, state in self.optimizer.state.items():
                for key, value in state.items():
                    old = moments.get(parameter, {}).get(key)
                    value.zero_() if old is None else value.copy_(old)
            if self.stream:
                torch.cuda.synchronize(self.device)

        return restore

    def _optimizer(self, adam: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Adam that reads its rate from the device, with the moments of ``adam``."""
        fast = self.device.type == "cuda"
        self.rate = torch.zeros((), device=self.device)
        options = {"capturable": True, "fused": True} if fast else {}
        optimizer = torch.optim.Adam(self.training.network.parameters(), lr=self.rate, betas=(0.9, 0.99), **options)
        for parameter, state in adam.state.items():
            optimizer.state[parameter] = {key: value.to(self.device) for key, value in state.items()}
        return optimizer

    def _steps(self) -> None:
        for _ in range(STEPS_A_REPLAY):
            self._step()

    def _step(self) -> None:
        training = self.training
        source, target = (
            self.sampler.store.follow(walks.index_select(0, self.cursor)[0], self.sampler.patch, factor)
            for walks, factor in zip(self.walks, self.factors, strict=True)
        )
        self.rate.copy_(self.rates.index_select(0, self.cursor)[0])
        self.optimizer.zero_grad(set_to_none=True)
        half = training.trainer_options.get("precision") == "bf16-mixed"
        # Casts are not cached: a graph would read casts of weights that are no longer the weights.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
            loss = training.loss(source, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(training.network.parameters(), training.settings.clip, foreach=True)
        self.optimizer.step()
        self._update_mean(self.shares.index_select(0, self.cursor)[0])
        self.losses.index_copy_(0, self.cursor, loss.detach()[None])
        self.cursor.add_(1).clamp_(max=self.chunk - 1)

    @torch.no_grad()
    def _update_mean(self, share: Tensor) -> None:
        values = self.training.plain_weights()
        means = [self.training.mean[key] for key in values]
        differences = torch._foreach_sub(list(values.values()), means)
        torch._foreach_mul_(differences, share)
        torch._foreach_add_(means, differences)

    def _captured(self) -> Callable[[], None]:
        """Record the steps, and put back what trying them out has changed."""
        restore = self.remember()
        assert self.stream is not None
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            for _ in range(WARM_UP):
                self._step()
        self.stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self._steps()
        restore()
        return graph.replay


def train_together(
    trainings: Sequence[GraphedTraining],
    *,
    between: Callable[[GraphedTraining], None] | None = None,
    deadline: float = math.inf,
) -> None:
    """Advance all trainings until each is finished; each at its own pace.

    Args:
        trainings: of one device.
        between: called with a training after each of its log lines; it may change the number of steps.
        deadline: of ``time.perf_counter()``; those that are not finished then end where they are.

    Raises:
        KaraffeError: what stopped a training, a loss that is not finite for one; the others are finished first.
    """
    stopped: list[KaraffeError] = []
    active = [t for t in trainings if not t.finished]
    for training in active:
        training.prepare()
    while active:
        for training in list(active):
            if not training.advance():
                continue
            try:
                if time.perf_counter() > deadline:
                    training.end_here()
                training.collect()
            except KaraffeError as error:
                stopped.append(error)
                active.remove(training)
                continue
            if between:
                between(training)
            if training.finished:
                active.remove(training)
            else:
                training.prepare()
    if stopped:
        raise stopped[0]
