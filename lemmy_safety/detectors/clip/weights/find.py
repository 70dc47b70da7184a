"""Finds the file with a CLIP model's weights: the one the admin named, a cache, or the model hub.

Never opens the file's tensors (``checkpoint.py`` does) and never returns without weights.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemmy_safety.detectors.clip.weights.network import why_unreachable
from lemmy_safety.errors import WeightsInvalid, WeightsMissing
from lemmy_safety.foreign import first_line, foreign

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

logger = logging.getLogger(__name__)

PRETRAINED = {"ViT-L-14": "openai", "ViT-H-14": "laion2b_s32b_b79k"}
"""Which training of an architecture to use: the two that horde_safety names (``horde_safety.interrogate``)."""

#: Names that open_clip itself uses on the hub, safetensors first: it can hold only tensors.
_HUB_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_MIB = 1 << 20


def pretrained_config(model: str) -> dict[str, Any]:
    """open_clip's description of the weights meant for ``model`` (mean, std, quick_gelu, hf_hub); empty if none."""
    import open_clip  # noqa: PLC0415 - takes seconds; PRETRAINED is asked for without it

    tag = PRETRAINED.get(model)
    return dict(open_clip.get_pretrained_cfg(model, tag)) if tag else {}


def find_weights(model: str, configured: Path | None, *, caches: Sequence[Path] = (), fetch: bool = True) -> Path:
    """The weights file for ``model``.

    ``configured`` is a file or a prepared folder. Without it, searches the hub's cache and ``caches`` (further folders
    in
    the hub's layout), then downloads the file into the hub's cache, with progress on a terminal, unless ``fetch`` is
    False.

    :raises WeightsMissing: there is none and it cannot be fetched.
    :raises WeightsInvalid: the folder holds several files and no name shows which is meant.
    """
    if configured is not None:
        path = configured.expanduser()
        if os.path.isdir(path):  # noqa: PTH112 - Path's own fails on a name that is too long
            return _in_folder(model, path)
        if not os.path.isfile(path):  # noqa: PTH113 - as above
            raise WeightsMissing(f"The weights file {path} for CLIP {model} does not exist.", hint=ways_out(model))
        return path
    repo = hub_repo(model)
    if repo is None:
        raise WeightsMissing(f"open_clip knows no weights for CLIP {model}.", hint="Set CLIP_WEIGHTS to a file.")
    found = _in_hub_caches(repo, [None, *caches]) or _own_archive(model, caches)
    if found is None and not fetch:
        raise WeightsMissing(f"The weights of CLIP {model} are not on this machine.", hint=ways_out(model))
    return found or _download(model, repo)


def hub_repo(model: str) -> str | None:
    """The repository on the model hub that holds the weights, such as ``owner/name``."""
    return str(pretrained_config(model).get("hf_hub", "")).strip("/") or None


def ways_out(model: str) -> str:
    """The three ways to get weights onto a machine, as the hint of every error about missing ones."""
    repo = hub_repo(model)
    source = f" ({_HUB_NAMES[0]} of huggingface.co/{repo})" if repo else ""
    return (
        "Three ways out: (1) connect this machine to the network once and run 'lemmy-safety doctor', which fetches "
        f"them; (2) set CLIP_WEIGHTS=/path/to/file{source}; (3) put that file into a folder on another machine, copy "
        "the folder here and set CLIP_WEIGHTS=/path/to/folder."
    )


def weights_digest(path: Path) -> str:
    """A fingerprint of a weights file, quick enough for every start: 64 hex digits.

    Hashing all of 1.7 GB takes seconds. This one covers the size and the first and last MiB, which hold the index of
    a safetensors file (the directory of a zip) and the first and last tensors. Two trainings of one architecture
    differ in every tensor, so it distinguishes them; it is not a defence against a forger, who could equally replace the
    cache it guards.

    :raises WeightsInvalid: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            digest.update(size.to_bytes(8, "big"))
            for start in (0, max(0, size - _MIB)):
                file.seek(start)
                digest.update(file.read(_MIB))
    except OSError as error:
        raise WeightsInvalid(f"The weights file {path} cannot be read: {foreign(error)}.") from error
    return digest.hexdigest()


def _in_folder(model: str, folder: Path) -> Path:
    """The weights in a prepared folder: named as on the hub, OpenAI's archive, a hub cache, or the only file."""
    repo = hub_repo(model)
    if repo is not None and (found := _in_hub_caches(repo, [folder, folder / "hub"])):
        return found
    named = [folder / name for name in (*_HUB_NAMES, f"{model}.pt")]
    snapshots = [path for name in _HUB_NAMES for path in sorted(folder.glob(f"snapshots/*/{name}"))]
    for path in (*named, *snapshots):
        if path.is_file():
            return path
    candidates = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())
    if not candidates:
        raise WeightsMissing(f"The folder {folder} holds no weights for CLIP {model}.", hint=ways_out(model))
    if len(candidates) > 1:
        raise WeightsInvalid(
            f"The folder {folder} holds several weights files: {', '.join(path.name for path in candidates)}.",
            hint=f"Set CLIP_WEIGHTS to the one for {model}.",
        )
    return candidates[0]


def _in_hub_caches(repo: str, caches: Iterable[Path | None]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - slow to import, needed on this path only

    for cache in caches:
        for name in _HUB_NAMES:
            found = try_to_load_from_cache(repo, name, cache_dir=cache)
            if isinstance(found, str):
                return Path(found)
    return None


def _own_archive(model: str, caches: Iterable[Path]) -> Path | None:
    """OpenAI's archive as open_clip 2 named it in horde_safety's folder: users of the legacy tool have it."""
    return next((path for cache in caches if (path := cache / f"{model}.pt").is_file()), None)


def _download(model: str, repo: str) -> Path:
    from huggingface_hub import hf_hub_download, hf_hub_url  # noqa: PLC0415
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError  # noqa: PLC0415

    reason = why_unreachable(hf_hub_url(repo, _HUB_NAMES[0]))
    if reason is not None:
        raise WeightsMissing(
            f"The weights of CLIP {model} are not on this machine, and the model hub cannot be reached ({reason}).",
            hint=ways_out(model),
        )
    logger.info("Fetching the weights of CLIP %s from %s; this happens once.", model, repo)
    failure: Exception | None = None
    for name in _HUB_NAMES:
        try:
            return Path(hf_hub_download(repo, name))
        except LocalEntryNotFoundError as error:
            failure = error
            break
        except EntryNotFoundError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the hub's HTTP library, and so its errors, differ between versions
            failure = error
            break
    raise WeightsMissing(
        f"The weights of CLIP {model} could not be fetched from the model hub ({first_line(failure)}).",
        hint=ways_out(model),
    ) from failure
