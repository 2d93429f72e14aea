"""What a tuned ensemble file says about where its settings come from."""

from typing import Annotated, Any

from pydantic import Field

from sartorius.config.reading import FrozenSettings

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class TunedSource(FrozenSettings):
    """One model and view whose cached predictions were searched on."""

    source: str = Field(description="`member/view`.")
    weights_sha256: tuple[str, ...] = Field(
        description="SHA-256 of the model's weights; several where each fold was predicted by its own model."
    )
    inference: tuple[dict[str, Any], ...] = Field(
        description="Settings of the model that say what it finds, one mapping for each of the weights."
    )
    predictions_sha256: str = Field(description="SHA-256 over the cached files of all images.")
    images_sha256: str = Field(
        default="",
        description="The first 12 digits of the SHA-256 of each image's cached file, in ascending order of the images.",
    )


class TunedScore(FrozenSettings):
    """Competition mAP over the images, and how it comes about."""

    total: Share = Field(description="Mean over all images.")
    low: Share = Field(description="Lower end of the 95 % bootstrap interval over images.")
    high: Share = Field(description="Upper end of it.")
    per_type: dict[str, Share] = Field(description="Mean over the images of each true cell type.")


class TunedGain(FrozenSettings):
    """How much better the settings found out of fold are than those of the file that was tuned, on the same images."""

    difference: float
    low: float = Field(description="Lower end of the 95 % paired bootstrap interval over images.")
    high: float = Field(description="Upper end of it.")


class TunedRecord(FrozenSettings):
    """What a search for settings was run on, and what it gave."""

    ensemble: str = Field(description="The ensemble file that was tuned.")
    command: str = Field(description="The command that wrote this file.")
    package_version: str
    settings_sha256: str = Field(
        description="SHA-256 of fusion, clean-up and weights of votes as found, so that a later change shows."
    )
    truth_sha256: str = Field(description="SHA-256 of the file of true cells.")
    folds_sha256: str = Field(description="SHA-256 of the file of folds.")
    images: Count = Field(description="Images that were searched on.")
    left_out: Count = Field(
        description="Cached images left out because a model of the ensemble was trained on them."
    )
    trained_on: str = Field(description="How it is known that no model was trained on the images.")
    parts: tuple[Count, ...] = Field(
        description="Images in each part; the settings of one part are searched on all others."
    )
    parts_from: str = Field(
        description="What the parts are: the folds of the file, or a seeded split of one fold."
    )
    searched: tuple[str, ...] = Field(description="The settings that were searched.")
    trials: Count = Field(description="Optuna trials of each search: one for each cell type and part.")
    seed: Count
    untuned: TunedScore = Field(description="With the settings of the file that was tuned.")
    in_fold: TunedScore = Field(
        description="With the settings of this file, on the very images they were searched on: too good to be true."
    )
    out_of_fold: TunedScore = Field(
        description="Each image with settings that were searched without its part: the figure to report."
    )
    gain: TunedGain
    sources: tuple[TunedSource, ...]
    searched_before: str = Field(
        default="",
        description="Digests, as `images_sha256`, of the predictions that the ensemble that was tuned had been searched on.",
    )
