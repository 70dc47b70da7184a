"""Which fast encoders screen: those that this machine has, that work, and that save time."""

import pytest
import torch
from support.clip.fast_encoders import program, request_for

from lemmy_safety.detectors.clip.encoders import half
from lemmy_safety.detectors.clip.screen import choice
from lemmy_safety.detectors.clip.screen.choice import (
    automatic_stages,
    check_choice,
    open_stages,
    ready_stages,
)
from lemmy_safety.detectors.clip.screen.error_bound import ErrorBound
from lemmy_safety.errors import DeviceError, MissingExtra


def test_without_the_packages_openvino_names_its_extra(tiny, tmp_path, monkeypatch):
    """Asked for by name it is an error; ``auto`` does without."""
    monkeypatch.setattr(choice, "has_openvino", lambda: False)

    with pytest.raises(MissingExtra, match="OpenVINO"):
        check_choice("openvino-int8", "cpu")
    assert "openvino-int8" not in ready_stages("auto", "cpu", request_for(tiny, tmp_path))
    with pytest.raises(DeviceError, match="CPUs"):
        check_choice("openvino-int8", "cuda")
    for name in ("auto", "off", "torch-fp16"):
        check_choice(name, "cuda")


def test_a_model_that_cannot_be_made_is_left_out_and_told(tiny, tmp_path, monkeypatch, caplog):
    """Too little memory for quantising costs speed only."""
    program(monkeypatch, "import sys; sys.exit('4 GB are free')")
    monkeypatch.setattr(choice, "has_openvino", lambda: True)

    assert "openvino-int8" not in ready_stages("auto", "cpu", request_for(tiny, tmp_path))
    assert ready_stages("openvino-int8", "cpu", request_for(tiny, tmp_path)) == ()
    assert "4 GB are free" in caplog.text


def test_a_device_without_room_for_a_second_copy_does_without_it(tiny, tmp_path, monkeypatch, caplog):
    """The reference alone is slower, and no error."""

    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(choice, "HalfEncoder", fail)
    assert open_stages(("torch-bf16",), tiny.reference, request_for(tiny, tmp_path)) == []
    assert "No room for torch-bf16" in caplog.text


def test_auto_knows_what_each_machine_has(monkeypatch):
    """int8 before bf16 on CPUs, as far as they have them; half precision on accelerators."""
    for has_openvino, has_bf16, expected in (
        (True, True, ("openvino-int8", "torch-bf16")),
        (False, True, ("torch-bf16",)),
        (True, False, ("openvino-int8",)),
        (False, False, ()),
    ):
        monkeypatch.setattr(choice, "has_openvino", lambda answer=has_openvino: answer)
        monkeypatch.setattr(choice, "cpu_has_bf16", lambda answer=has_bf16: answer)
        assert automatic_stages("cpu") == expected
    assert {automatic_stages(device) for device in ("cuda", "mps", "xpu")} == {("torch-fp16",)}
    assert isinstance(half.cpu_has_bf16(), bool)
    assert {"auto", "off", *automatic_stages("cpu"), *automatic_stages("cuda")} <= set(choice.SCREENS)


def bounds(monkeypatch, **by_name):
    """Let the measurement say what a test wants."""
    monkeypatch.setattr(
        choice,
        "measure",
        lambda encoder, *_: ErrorBound(largest=by_name[encoder.name][0], checked=0, cost=by_name[encoder.name][1]),
    )


@pytest.mark.parametrize(
    ("measured", "kept"),
    [
        ({"torch-bf16": (0.001, 0.2), "torch-fp16": (0.0002, 0.5)}, ["torch-bf16", "torch-fp16"]),
        ({"torch-bf16": (0.001, 0.45), "torch-fp16": (0.0002, 0.5)}, ["torch-fp16"]),
        ({"torch-bf16": (0.001, 0.2), "torch-fp16": (0.0002, 0.9)}, ["torch-bf16"]),
        ({"torch-bf16": (0.05, 0.2), "torch-fp16": (0.0002, 0.5)}, ["torch-fp16"]),
        ({"torch-bf16": (0.001, 1.5), "torch-fp16": (0.0002, 1.5)}, []),
    ],
    ids=["both", "hardly faster", "second useless", "errs too much", "slower than the reference"],
)
def test_only_encoders_that_save_time_are_taken(tiny, tmp_path, monkeypatch, measured, kept):
    """Each must be clearly faster than what comes after it, and near enough to clear anything."""
    bounds(monkeypatch, **measured)
    stages = open_stages(("torch-bf16", "torch-fp16"), tiny.reference, request_for(tiny, tmp_path))
    assert [stage.encoder.name for stage in stages] == kept


def test_what_an_earlier_start_found_useless_is_not_even_loaded(tiny, tmp_path, monkeypatch):
    """The next start of such a machine spends neither the seconds nor the memory; who asks for it by name gets it."""
    bounds(monkeypatch, **{"torch-bf16": (0.001, 0.9)})
    request = request_for(tiny, tmp_path)
    assert open_stages(("torch-bf16",), tiny.reference, request) == []
    with monkeypatch.context() as patched:
        patched.setattr(choice, "_encoder", lambda *_: pytest.fail("loaded again"))
        assert open_stages(("torch-bf16",), tiny.reference, request) == []
    assert len(open_stages(("torch-bf16",), tiny.reference, request, only_useful=False)) == 1


def test_an_encoder_asked_for_by_name_is_taken_whatever_it_saves(tiny, tmp_path, monkeypatch):
    """Someone who names an encoder wants to see it work."""
    bounds(monkeypatch, **{"torch-fp16": (0.05, 5.0)})
    request = request_for(tiny, tmp_path)
    names = ready_stages("torch-fp16", "cpu", request)
    (stage,) = open_stages(names, tiny.reference, request, only_useful=False)
    assert stage.encoder.name == "torch-fp16"
    assert ready_stages("off", "cpu", request) == ()


def test_a_bound_is_measured_once_for_these_weights(tiny, tmp_path, monkeypatch):
    """The second start reads it; other weights or other words are measured again."""
    request = request_for(tiny, tmp_path)
    (stage,) = open_stages(("torch-bf16",), tiny.reference, request, only_useful=False)
    stage.bound.checked = 7
    stage.observe(2 * stage.bound.largest)
    monkeypatch.setattr(choice, "measure", lambda *_: pytest.fail("measured again"))
    (again,) = open_stages(("torch-bf16",), tiny.reference, request, only_useful=False)

    assert again.bound == stage.bound
    for changes in ({"weights_digest": "e" * 64}, {"directions_digest": "x" * 64}):
        with pytest.raises(pytest.fail.Exception):
            open_stages(("torch-bf16",), tiny.reference, request_for(tiny, tmp_path, **changes))


def test_an_encoder_that_cannot_be_measured_is_left_out(tiny, tmp_path, monkeypatch, caplog):
    """One that answers NaN to everything, or fails, does not screen; the reference works without."""
    (stage,) = open_stages(("torch-bf16",), tiny.reference, request_for(tiny, tmp_path), only_useful=False)
    with torch.no_grad():
        stage.encoder._visual.proj.fill_(float("nan"))
    monkeypatch.setattr(choice, "HalfEncoder", lambda *_, **__: stage.encoder)

    changed = request_for(tiny, tmp_path, weights_digest="f" * 64)
    assert open_stages(("torch-bf16",), tiny.reference, changed, only_useful=False) == []
    assert "not numbers" in caplog.text
