"""Every format and every hiding place in a table: what became of each file of the generated media corpus.

Exits with 1 when the canary was missed in a file that shows it to someone, or when a clean file was flagged.

    python evaluation/media_table.py                 # full size: minutes
    python evaluation/media_table.py --small --only webp
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from collections import Counter

import suite  # noqa: F401
from decoders import inline_decoder, process_decoder
from machine import print_header
from support.media.corpus import FULL, SMALL, Expected, MediaFile, corpus
from support.media.judging import MediaJudge, is_flagged

from lemmy_safety.records import Assessment, ItemStatus, Sample

_COLUMNS = "{:<26.26} {:<48.48} {:<18} {:<11} {:>9} {:>6} {:>8}  {:<34} {}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="the sizes of the test suite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="files of which 'form, place' contains this")
    parser.add_argument("--inline", action="store_true", help="decode in this process instead of a worker")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # the table says which files are flagged
    print_header("Media corpus", vars(options))
    print(
        "\n" + _COLUMNS.format("form", "place", "kind", "status", "frames", "of", "ms", "canary found in", "anomalies")
    )
    wrong: list[str] = []
    outcomes: Counter[tuple[Expected, bool]] = Counter()
    times: list[float] = []
    with inline_decoder() if options.inline else process_decoder() as decoder:
        judge = MediaJudge(decoder)
        judge("warm-up", next(corpus(SMALL)).data)  # the worker starts and loads its libraries
        for file in corpus(SMALL if options.small else FULL, options.seed, only=options.only):
            started = time.perf_counter()
            sample = judge.examine(file.name, file.data)
            took_ms = (time.perf_counter() - started) * 1000
            result = judge.judge(file.name, sample)
            times.append(took_ms)
            outcomes[file.expected, is_flagged(result)] += 1
            print(_row(file, sample, result, took_ms), flush=True)
            if file.expected is Expected.FOUND and not is_flagged(result):
                wrong.append(f"missed: {file.name}")
            if file.expected is Expected.CLEAR and is_flagged(result):
                wrong.append(f"FLAGGED: {file.name}")
    _print_summary(outcomes, times, wrong)
    return 1 if wrong else 0


def _row(file: MediaFile, sample: Sample, result: Assessment, took_ms: float) -> str:
    info = result.info
    anomalies = "; ".join(str(one.kind) for one in info.anomalies) if info else result.reason
    return _COLUMNS.format(
        file.form,
        file.place,
        info.media_type if info else "-",
        result.status,
        len(sample.frames),
        info.frame_count if info else "-",
        f"{took_ms:.1f}",
        _where(file, result),
        anomalies,
    )


def _where(file: MediaFile, result: Assessment) -> str:
    if result.status is ItemStatus.CHECKED and result.verdict:
        for finding in result.verdict.findings:
            if finding.label == "canary":
                second = "" if finding.at_s is None else f", second {finding.at_s:.2f}"
                view = f", {finding.view}" if finding.view else ""
                return f"frame {finding.frame}{second}{view}"
    return "-" if file.expected is Expected.CLEAR else "NOT FOUND"


def _print_summary(outcomes: Counter[tuple[Expected, bool]], times: list[float], wrong: list[str]) -> None:
    print(f"\ncanary to be seen: {outcomes[Expected.FOUND, True]} found, {outcomes[Expected.FOUND, False]} missed")
    seen, unseen = outcomes[Expected.UNSEEN, True], outcomes[Expected.UNSEEN, False]
    print(f"canary in what no viewer shows: {seen} found all the same, {unseen} not")
    print(f"clean twins: {outcomes[Expected.CLEAR, False]} not flagged, {outcomes[Expected.CLEAR, True]} flagged")
    if times:
        print(f"examining: median {statistics.median(times):.1f} ms, worst {max(times):.0f} ms, {len(times)} files")
    print("\n".join(wrong))


if __name__ == "__main__":
    sys.exit(main())
