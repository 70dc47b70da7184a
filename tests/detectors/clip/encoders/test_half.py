"""Half precision: near the reference within the measured bound, and a copy of its own."""

import pytest
import torch
from support.clip.fast_encoders import errors_beyond

from lemmy_safety.detectors.clip.encoders.half import HalfEncoder
from lemmy_safety.detectors.clip.screen.error_bound import measure


@pytest.mark.parametrize(("precision", "digits"), [("bf16", 1), ("fp16", 2)])
def test_half_precision_stays_within_its_measured_bound(tiny, precision, digits):
    """On 120 other pictures no similarity is off by more than the bound that 16 generated pictures gave."""
    encoder = HalfEncoder(tiny.reference.visual, tiny.reference.preparation, precision=precision, device="cpu")

    bound = measure(encoder, tiny.reference, tiny.text)

    assert 0 < bound.largest < 10**-digits
    assert bound.checked == 0
    assert errors_beyond(encoder, tiny, bound.value) == 0


def test_halves_are_copied_tensor_by_tensor(tiny):
    """The copy shares nothing with the reference and has no fp32 left in it."""
    encoder = HalfEncoder(tiny.reference.visual, tiny.reference.preparation, precision="bf16", device="cpu")
    kinds = {tensor.dtype for tensor in encoder._visual.state_dict().values()}
    shared = {part.data_ptr() for part in tiny.reference.visual.parameters()} & {
        part.data_ptr() for part in encoder._visual.parameters()
    }
    assert kinds == {torch.bfloat16}
    assert shared == set()
