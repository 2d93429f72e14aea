"""The endless stream of training pictures, in which a picture depends on the run's seed and its position alone.

Position 0 is the first picture of the first step. A run that was stopped goes on at the position where it was, and
processes and accumulated parts divide the positions of a step between them: the pictures are the same either way.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from sartorius.config import ModelSettings
from sartorius.detectron.mapper import TrainingImage, TrainingMapper
from sartorius.detectron.packing import packed, unpacked
from sartorius.detectron.pasting import Paster
from sartorius.errors import UserError


class Place(NamedTuple):
    """One picture to make: its position in the stream and the number of the image it is made of."""

    position: int
    image: int


@dataclass(frozen=True)
class Division:
    """How the pictures of a step are divided.

    batch: pictures of a step over all processes. parts: accumulated one after the other. processes, rank: how many
    processes share each part, and which one this is.
    """

    batch: int
    parts: int = 1
    processes: int = 1
    rank: int = 0

    def __post_init__(self) -> None:
        if self.batch % (self.parts * self.processes):
            raise UserError(
                f"batch_size {self.batch} cannot be divided evenly by {self.processes} processes and "
                f"accumulation {self.parts}; choose a multiple of {self.parts * self.processes}"
            )

    @property
    def of_process(self) -> int:
        """Pictures of a step that this process sees."""
        return self.batch // self.processes

    def of_step(self, places: Sequence[Place]) -> Iterator[list[Place]]:
        """The pictures of this process in each part of a step, part by part."""
        size = self.batch // (self.parts * self.processes)
        for part in range(self.parts):
            start = (part * self.processes + self.rank) * size
            yield list(places[start : start + size])


def drawn_images(repeats: NDArray[np.float32], seed: int) -> Iterator[int]:
    """Numbers of images without end: epoch after epoch in random order, an image as often as its repeats say.

    repeats: (N,) mean number of times in an epoch; 1.5 is once or twice, by chance.
    """
    whole, part = np.floor(repeats).astype(np.int64), repeats - np.floor(repeats)
    epoch = 0
    while True:
        rng = np.random.default_rng([seed, epoch])
        epoch_images = np.repeat(np.arange(len(repeats)), whole + (rng.random(len(repeats)) < part))
        yield from rng.permutation(epoch_images).tolist()
        epoch += 1


class PartSampler(Sampler[list[Place]]):
    """The pictures of each part of each step from `first_step` on, for one process."""

    def __init__(self, repeats: NDArray[np.float32], seed: int, division: Division, first_step: int) -> None:
        self._repeats = repeats
        self._seed = seed
        self._division = division
        self._first = first_step * division.batch

    def __iter__(self) -> Iterator[list[Place]]:
        drawn = enumerate(drawn_images(self._repeats, self._seed))
        places = (Place(position, image) for position, image in islice(drawn, self._first, None))
        while True:
            yield from self._division.of_step(list(islice(places, self._division.batch)))


class Pictures(Dataset[dict[str, Any]]):
    """Training pictures by place: the image mapped with the seed of the position."""

    def __init__(self, images: Sequence[TrainingImage], settings: ModelSettings, seed: int) -> None:
        self._images = images
        self._mapper = TrainingMapper(settings)
        self._paster = Paster(images, settings.paste_share) if settings.paste_share else None
        self._seed = seed

    def __getitem__(self, place: Place) -> dict[str, Any]:
        seed = picture_seed(self._seed, place.position)
        image = self._images[place.image]
        if self._paster:
            image = self._paster(image, np.random.default_rng([seed, 1]))
        return self._mapper(image, seed)


def picture_seed(seed: int, position: int) -> int:
    """What everything random about the picture at a position of the stream comes from."""
    return int(np.random.SeedSequence([seed, position]).generate_state(1)[0])


def on_device(
    pictures: Pictures, sampler: PartSampler, workers: int, device: torch.device
) -> Iterator[list[dict[str, Any]]]:
    """Endless lists of pictures, one for each part of each step, made ahead by `workers` processes."""
    loader = DataLoader(
        pictures,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=packed,
        pin_memory=device.type == "cuda",  # what lies in pinned memory travels while the GPU computes
    )
    return (unpacked(pack, device) for pack in loader)
