"""Images a second of each encoder of the clip detector, its errors against fp32, and the ancestor's check beside them.

    python benchmarks/clip_encoders.py --device auto --work /path/for/weights

Random weights, the same for all; made in --work and kept there with the quantised models. Every rate is of one pass over
the same pictures after a warm-up; the ancestor's is taken before and after all others, to show what the machine varies by.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

import suite  # noqa: F401
import torch
from ancestor_check import AncestorCheck
from machine import print_header
from PIL import Image
from random_weights import random_checkpoint
from support.clip.pictures import sample_pictures

from lemmy_safety.detectors.clip.device import choose_device
from lemmy_safety.detectors.clip.encoders.half import HalfEncoder
from lemmy_safety.detectors.clip.encoders.openvino import has_openvino, load_openvino_encoder, make_openvino_model
from lemmy_safety.detectors.clip.encoders.reference import load_image_encoder
from lemmy_safety.detectors.clip.weights.find import weights_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from lemmy_safety.detectors.clip.encoders.base import PictureEncoder
    from lemmy_safety.detectors.clip.encoders.reference import ClipImageEncoder

MODEL = "ViT-L-14"
WORDS = 233


def main() -> None:
    options = parse()
    device = choose_device(options.device)
    batches = options.batches or ([1, 8, 32] if device == "cpu" else [1, 8, 64, 128, 256])
    count = options.pictures or (64 if device == "cpu" else 1024)
    print_header(
        "clip encoders",
        {"seed": options.seed, "device": describe(device), "pictures": count, "threads": torch.get_num_threads()},
    )
    weights = random_checkpoint(options.work, options.seed)
    pictures = list(sample_pictures(count, seed=options.seed))
    ancestor = AncestorCheck(weights, device)
    before = ancestor_rate(ancestor, pictures[: options.ancestor], device)
    reference = load_image_encoder(MODEL, weights, device=device)
    text = torch.nn.functional.normalize(
        torch.randn(WORDS, 768, generator=torch.Generator().manual_seed(options.seed)), dim=-1
    )
    prepared = reference.preparation.prepare(pictures)
    started = time.perf_counter()
    prepared.squares(range(count))
    print(f"preparing alone (cut, scale): {count / (time.perf_counter() - started):.1f} images/s")
    exact = reference.encode(prepared)
    print(f"{'encoder':16} {'batch':>5} {'images/s':>9} {'with preparing':>15} {'x ancestor':>11}  errors against fp32")
    for encoder in encoders(options.encoders, reference, weights, options.work):
        for batch in batches:
            if batch > count:
                continue
            encoder.batch_size = batch
            encoder.encode(prepared, range(batch))
            alone, features = rate(lambda encoder=encoder: encoder.encode(prepared), count)
            whole, _ = rate(lambda encoder=encoder: encoder.encode_images(pictures), count)
            print(
                f"{encoder.name:16} {batch:5} {alone:9.2f} {whole:15.2f} {whole / before:11.1f}  "
                f"{errors(features, exact, text)}",
                flush=True,
            )
    after = ancestor_rate(ancestor, pictures[: options.ancestor], device)
    print(f"ancestor's check: {before:.2f} images/s before, {after:.2f} after")
    reference.close()


def encoders(names: list[str], reference: ClipImageEncoder, weights: Path, work: Path) -> Iterator[PictureEncoder]:
    if "torch-fp32" in names:
        yield reference
    for precision in ("bf16", "fp16"):
        # fp16 is imitated on most CPUs, at a hundredth of the speed.
        if f"torch-{precision}" in names and (precision == "bf16" or reference.device != "cpu"):
            yield HalfEncoder(reference.visual, reference.preparation, precision=precision, device=reference.device)
    if reference.device != "cpu" or not has_openvino():
        return
    for precision in ("bf16", "int8"):
        if f"openvino-{precision}" in names:
            started = time.perf_counter()
            folder = make_openvino_model(
                MODEL, weights, precision=precision, weights_digest=weights_digest(weights), cache_dir=work
            )
            print(f"openvino-{precision}: made or found in {time.perf_counter() - started:.0f} s")
            yield load_openvino_encoder(folder, reference.preparation, precision=precision)


def rate(work: Callable[[], torch.Tensor], count: int) -> tuple[float, torch.Tensor]:
    started = time.perf_counter()
    features = work()
    return count / (time.perf_counter() - started), features


def ancestor_rate(ancestor: AncestorCheck, pictures: list[np.ndarray], device: str) -> float:
    images = [Image.fromarray(picture) for picture in pictures]
    ancestor.check(images[0].copy())
    started = time.perf_counter()
    for image in images:
        ancestor.check(image)
    if device == "cuda":
        torch.cuda.synchronize()
    return len(images) / (time.perf_counter() - started)


def errors(features: torch.Tensor, exact: torch.Tensor, text: torch.Tensor) -> str:
    difference = features - exact
    similarities = (difference @ text.T).abs().amax(dim=1)
    return (
        f"feature max {difference.abs().max():.5f}, length max {difference.norm(dim=-1).max():.5f}, "
        f"similarity median {similarities.median():.5f} max {similarities.max():.5f}"
    )


def describe(device: str) -> str:
    return f"{device} ({torch.cuda.get_device_name()})" if device == "cuda" else device


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cuda, mps, xpu or cpu")
    parser.add_argument("--work", type=Path, required=True, help="folder for weights and quantised models (2 GB)")
    parser.add_argument("--pictures", type=int, default=0, help="0: 64 on a CPU, 1024 elsewhere")
    parser.add_argument("--ancestor", type=int, default=16, help="pictures for the ancestor's check")
    parser.add_argument("--batches", type=int, nargs="*", help="batch sizes")
    parser.add_argument(
        "--encoders",
        nargs="*",
        default=["torch-fp32", "torch-bf16", "torch-fp16", "openvino-bf16", "openvino-int8"],
    )
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
