"""A pict-rs in memory, for moments that a real one reaches only in minutes, or by luck. Real ones: tests/e2e/test_purge.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lemmy_safety.pictrs.pictures.records import ORIGINAL, VARIANT, Alias, Found, Picture, Unresolved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lemmy_safety.pictrs.pictures.records import Resolution


@dataclass
class PretendedPictrs:
    """Its pictures by original, its files in a folder. ``removes``: whether a purge has an effect."""

    files: Path
    pictures: dict[str, Picture] = field(default_factory=dict)
    removes: bool = True
    error: Exception | None = None
    before_purge: Callable[[], None] = lambda: None
    asked: list[str] = field(default_factory=list)
    purged: list[str] = field(default_factory=list)

    def add(self, original: str, *aliases: str, sizes: tuple[str, ...] = (), origin: str | None = None) -> None:
        self.pictures[original] = Picture(
            sha256="ab" * 32,
            size=1,
            format="png",
            aliases=tuple(Alias(name=name, origin_url=origin) for name in aliases),
            original=original,
            created_at=None,
            variants={f"thumbnail/{number}/webp": key for number, key in enumerate(sizes)},
        )

    def also(self, original: str, *aliases: str) -> None:
        """The same bytes were uploaded again."""
        before = [alias.name for alias in self.pictures[original].aliases]
        self.add(original, *before, *aliases, sizes=tuple((self.pictures[original].variants or {}).values()))

    def aliases(self, alias: str) -> tuple[str, ...] | None:
        found = self._of(alias)
        return None if found is None else tuple(one.name for one in found.aliases)

    def identifier(self, alias: str) -> str | None:
        found = self._of(alias)
        return None if found is None else found.original

    def purge(self, alias: str) -> tuple[str, ...] | None:
        self.before_purge()
        found = self._of(alias)
        self.purged.append(alias)
        if found is None:
            return None
        if self.removes:
            self.forget(found.original)
        return tuple(one.name for one in found.aliases)

    def forget(self, original: str, *, files: bool = True) -> None:
        picture = self.pictures.pop(original)
        for key in (original, *(picture.variants or {}).values()):
            if files:
                (self.files / key).unlink(missing_ok=True)

    def by_keys(self, wanted: Mapping[str, str | None]) -> dict[str, Resolution]:
        return {key: self._by_key(key) for key in wanted}

    def by_alias(self, alias: str) -> Picture | None:
        return self._of(alias)

    def _by_key(self, key: str) -> Resolution:
        self._ask(key)
        for picture in self.pictures.values():
            if key == picture.original:
                return Found(picture=picture, part=ORIGINAL)
            for operation, size in (picture.variants or {}).items():
                if key == size:
                    return Found(picture=picture, part=VARIANT, operation=operation)
        return Unresolved(reason="no such picture")

    def _of(self, alias: str) -> Picture | None:
        self._ask(alias)
        return next((one for one in self.pictures.values() if alias in {name.name for name in one.aliases}), None)

    def _ask(self, about: str) -> None:
        self.asked.append(about)
        if self.error is not None:
            raise self.error
